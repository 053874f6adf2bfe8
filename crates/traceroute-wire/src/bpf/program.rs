//! Programs that the kernel accepts.

use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use super::instruction::Instruction;
use super::operation::{Alu, Operand, Operation};

/// The most instructions a program has (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The number of memory cells (`BPF_MEMWORDS`).
pub(super) const MEMORY_CELLS: usize = 16;

/// From here on an absolute offset means something else than the packet's bytes to Linux: offsets from the link or
/// network header (`SKF_LL_OFF`, `SKF_NET_OFF`), fields, or nothing.
const NEGATIVE_OFFSETS: u32 = 0x8000_0000;

/// A program that the kernel accepts: it ends, and it reads nothing that was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    /// Checks `instructions` by the rules of the kernel (`bpf_check_classic` in `net/core/filter.c`).
    ///
    /// One rule is stricter: absolute loads whose offset has its highest bit set must be those of a known
    /// [`Field`](super::Field).
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, InvalidProgram> {
        let length = instructions.len();
        if length > MAX_INSTRUCTIONS {
            return Err(InvalidProgram::TooLong { length });
        }
        let operations = decode(&instructions)?;
        for (at, &operation) in operations.iter().enumerate() {
            check_operation(at, operation, length - at - 1)?;
        }
        match operations.last() {
            Some(Operation::ReturnConstant(_) | Operation::ReturnAccumulator) => {}
            _ => return Err(InvalidProgram::NoReturn),
        }
        check_memory(&operations)?;
        Ok(Self { instructions })
    }

    /// The instructions, as the kernel takes them.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

fn decode(instructions: &[Instruction]) -> Result<Vec<Operation>, InvalidProgram> {
    let decode = |(at, instruction): (usize, &Instruction)| {
        instruction.operation().ok_or(InvalidProgram::UnknownCode { at, code: instruction.code })
    };
    instructions.iter().enumerate().map(decode).collect()
}

/// Checks an operation that `following` others follow.
fn check_operation(at: usize, operation: Operation, following: usize) -> Result<(), InvalidProgram> {
    let lands = |skipped: usize| skipped < following;
    match operation {
        Operation::LoadAbsolute(_, offset) if offset >= NEGATIVE_OFFSETS => {
            Err(InvalidProgram::UnknownField { at, offset })
        }
        Operation::LoadMemory(cell)
        | Operation::LoadXMemory(cell)
        | Operation::Store(cell)
        | Operation::StoreX(cell)
            if cell as usize >= MEMORY_CELLS =>
        {
            Err(InvalidProgram::NoSuchCell { at, cell })
        }
        Operation::Alu(Alu::Divide | Alu::Modulo, Operand::Constant(0)) => {
            Err(InvalidProgram::DivisionByZero { at })
        }
        Operation::Alu(Alu::ShiftLeft | Alu::ShiftRight, Operand::Constant(bits)) if bits >= u32::BITS => {
            Err(InvalidProgram::ShiftTooFar { at, bits })
        }
        Operation::Jump(skipped) if !lands(skipped as usize) => Err(InvalidProgram::JumpTooFar { at }),
        Operation::JumpIf { then, otherwise, .. } if !(lands(then.into()) && lands(otherwise.into())) => {
            Err(InvalidProgram::JumpTooFar { at })
        }
        _ => Ok(()),
    }
}

/// Checks that on no way through the program a memory cell is read before it is written (`check_load_and_stores`).
///
/// Jumps must have been checked.
fn check_memory(operations: &[Operation]) -> Result<(), InvalidProgram> {
    const ALL_WRITTEN: u16 = u16::MAX;
    // One bit for each cell: those that every way to an instruction has written.
    let mut written_by_jumps = vec![ALL_WRITTEN; operations.len()];
    let mut written = 0;
    for (at, &operation) in operations.iter().enumerate() {
        written &= written_by_jumps[at];
        match operation {
            Operation::Store(cell) | Operation::StoreX(cell) => written |= 1 << cell,
            Operation::LoadMemory(cell) | Operation::LoadXMemory(cell) if written & (1 << cell) == 0 => {
                return Err(InvalidProgram::CellNotWritten { at, cell });
            }
            Operation::Jump(skipped) => {
                written_by_jumps[at + 1 + skipped as usize] &= written;
                written = ALL_WRITTEN;
            }
            Operation::JumpIf { then, otherwise, .. } => {
                written_by_jumps[at + 1 + usize::from(then)] &= written;
                written_by_jumps[at + 1 + usize::from(otherwise)] &= written;
                written = ALL_WRITTEN;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why instructions are not a [`Program`]. `at` is the index of the instruction at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidProgram {
    /// There are more than [`MAX_INSTRUCTIONS`].
    TooLong {
        /// How many there are.
        length: usize,
    },
    /// The kernel knows no such code.
    UnknownCode {
        /// Where it is.
        at: usize,
        /// The code.
        code: u16,
    },
    /// An absolute load is neither of the packet's bytes nor of a known [`Field`](super::Field).
    UnknownField {
        /// Where it is.
        at: usize,
        /// The offset it loads from.
        offset: u32,
    },
    /// There are sixteen memory cells.
    NoSuchCell {
        /// Where it is used.
        at: usize,
        /// The cell.
        cell: u32,
    },
    /// A memory cell is read that some way through the program has not written.
    CellNotWritten {
        /// Where it is read.
        at: usize,
        /// The cell.
        cell: u32,
    },
    /// A division, or its remainder, by the number zero.
    DivisionByZero {
        /// Where it is.
        at: usize,
    },
    /// A shift by 32 bits or more.
    ShiftTooFar {
        /// Where it is.
        at: usize,
        /// By how many.
        bits: u32,
    },
    /// A jump leaves the program.
    JumpTooFar {
        /// Where it is.
        at: usize,
    },
    /// The last instruction does not return, or there is none.
    NoReturn,
}

impl fmt::Display for InvalidProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { length } => write!(f, "{length} instructions, the limit is {MAX_INSTRUCTIONS}"),
            Self::UnknownCode { at, code } => write!(f, "instruction {at}: unknown code {code:#04x}"),
            Self::UnknownField { at, offset } => {
                write!(f, "instruction {at}: nothing we know is at offset {offset:#x}")
            }
            Self::NoSuchCell { at, cell } => write!(f, "instruction {at}: no memory cell {cell}"),
            Self::CellNotWritten { at, cell } => {
                write!(f, "instruction {at}: memory cell {cell} may not have been written")
            }
            Self::DivisionByZero { at } => write!(f, "instruction {at}: division by zero"),
            Self::ShiftTooFar { at, bits } => write!(f, "instruction {at}: shift by {bits} bits"),
            Self::JumpTooFar { at } => write!(f, "instruction {at}: jump beyond the end"),
            Self::NoReturn => f.write_str("the last instruction does not return"),
        }
    }
}

impl Error for InvalidProgram {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::super::operation::{Field, Size, Test};
    use super::super::test_programs::any_instruction;
    use super::*;

    const RETURN: Operation = Operation::ReturnConstant(1);

    fn program(operations: &[Operation]) -> Result<Program, InvalidProgram> {
        Program::new(operations.iter().copied().map(Instruction::from).collect())
    }

    fn jump_if(then: u8, otherwise: u8) -> Operation {
        Operation::JumpIf { test: Test::Equal, operand: Operand::Constant(1), then, otherwise }
    }

    #[test]
    fn ends_with_a_return() {
        assert_eq!(program(&[]), Err(InvalidProgram::NoReturn));
        assert_eq!(program(&[RETURN, Operation::LoadLength]), Err(InvalidProgram::NoReturn));
        assert!(program(&[RETURN]).is_ok());
        assert!(program(&[Operation::LoadLength, Operation::ReturnAccumulator]).is_ok());
    }

    #[test]
    fn has_at_most_4096_instructions() {
        assert!(program(&vec![RETURN; 4096]).is_ok());
        assert_eq!(program(&vec![RETURN; 4097]), Err(InvalidProgram::TooLong { length: 4097 }));
    }

    #[test]
    fn consists_of_known_codes() {
        let unknown = Instruction { code: 0x0e, ..Instruction::default() };
        let invalid = Program::new(vec![RETURN.into(), unknown, RETURN.into()]).unwrap_err();
        assert_eq!(invalid, InvalidProgram::UnknownCode { at: 1, code: 0x0e });
        assert_eq!(invalid.to_string(), "instruction 1: unknown code 0x0e");
    }

    #[test]
    fn loads_known_fields_only() {
        let absolute = |offset| program(&[Operation::LoadAbsolute(Size::Half, offset), RETURN]);
        assert!(absolute(0x7fff_ffff).is_ok());
        assert!(absolute(Field::Protocol as u32).is_ok());
        for offset in [0x8000_0000, 0xffff_f008, u32::MAX] {
            assert_eq!(absolute(offset), Err(InvalidProgram::UnknownField { at: 0, offset }));
        }
    }

    #[test]
    fn jumps_within_itself() {
        assert!(program(&[Operation::Jump(1), RETURN, RETURN]).is_ok());
        assert!(program(&[jump_if(1, 0), RETURN, RETURN]).is_ok());
        assert!(program(&[jump_if(0, 1), RETURN, RETURN]).is_ok());
        for jump in [Operation::Jump(2), Operation::Jump(u32::MAX), jump_if(2, 0), jump_if(0, 2)] {
            assert_eq!(program(&[jump, RETURN, RETURN]), Err(InvalidProgram::JumpTooFar { at: 0 }));
        }
    }

    #[test]
    fn divides_by_no_constant_zero_and_shifts_by_less_than_32() {
        let alu = |alu, k| program(&[Operation::Alu(alu, Operand::Constant(k)), RETURN]);
        for division in [Alu::Divide, Alu::Modulo] {
            assert_eq!(alu(division, 0), Err(InvalidProgram::DivisionByZero { at: 0 }));
            assert!(alu(division, 1).is_ok());
        }
        for shift in [Alu::ShiftLeft, Alu::ShiftRight] {
            assert_eq!(alu(shift, 32), Err(InvalidProgram::ShiftTooFar { at: 0, bits: 32 }));
            assert!(alu(shift, 31).is_ok());
        }
        assert!(program(&[Operation::Alu(Alu::Divide, Operand::X), RETURN]).is_ok());
    }

    #[test]
    fn has_sixteen_memory_cells() {
        for (write, read) in [
            (Operation::Store as fn(u32) -> Operation, Operation::LoadMemory as fn(u32) -> Operation),
            (Operation::StoreX, Operation::LoadXMemory),
        ] {
            assert!(program(&[write(15), read(15), RETURN]).is_ok());
            assert_eq!(program(&[write(16), RETURN]), Err(InvalidProgram::NoSuchCell { at: 0, cell: 16 }));
            assert_eq!(program(&[read(16), RETURN]), Err(InvalidProgram::NoSuchCell { at: 0, cell: 16 }));
        }
    }

    #[test]
    fn reads_only_memory_that_every_way_has_written() {
        let (write, read) = (Operation::Store(3), Operation::LoadMemory(3));
        let not_written = |at| Err(InvalidProgram::CellNotWritten { at, cell: 3 });
        assert_eq!(program(&[read, RETURN]), not_written(0));
        assert_eq!(program(&[Operation::Store(2), read, RETURN]), not_written(1));
        assert!(program(&[write, jump_if(1, 0), RETURN, read, RETURN]).is_ok());
        assert_eq!(program(&[jump_if(1, 0), write, read, RETURN]), not_written(2));
        assert_eq!(program(&[jump_if(0, 1), write, read, RETURN]), not_written(2));
        assert_eq!(program(&[Operation::Jump(1), write, read, RETURN]), not_written(2));
        assert!(program(&[jump_if(2, 0), write, Operation::Jump(1), write, read, RETURN]).is_ok());
    }

    proptest! {
        #[test]
        fn checking_never_panics(instructions in proptest::collection::vec(any_instruction(), 0..40)) {
            let _ = Program::new(instructions);
        }
    }
}
