//! Instructions in the kernel's encoding.

use super::operation::{Alu, Field, Operand, Operation, Size, Test};

/// One instruction as the kernel takes it: `struct sock_filter` of `linux/filter.h`, `struct bpf_insn` of BSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions a conditional jump skips when its test holds.
    pub jt: u8,
    /// How many instructions a conditional jump skips when its test does not hold.
    pub jf: u8,
    /// A number whose meaning depends on the code.
    pub k: u32,
}

// `linux/bpf_common.h`: a class in the lowest three bits, above it what that class distinguishes.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;

const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;

const NEG: u16 = 0x80;
const JA: u16 = 0x00;
const TAX: u16 = 0x00;
const TXA: u16 = 0x80;

/// Of arithmetic and jumps: the operand is `X`. In [`RET`] this bit and the next say what is returned, `A` is 0x10.
const X: u16 = 0x08;
const A: u16 = 0x10;

impl Instruction {
    /// What the instruction does; `None` when its code is not one of those the kernel knows (`chk_code_allowed`).
    ///
    /// Offsets and counts are not checked here, see [`Program::new`](super::Program::new).
    #[must_use]
    pub fn operation(self) -> Option<Operation> {
        const LOAD_LENGTH: u16 = LD | LEN;
        const LOAD_IMMEDIATE: u16 = LD | IMM;
        const LOAD_MEMORY: u16 = LD | MEM;
        const LOAD_X_IMMEDIATE: u16 = LDX | IMM;
        const LOAD_X_LENGTH: u16 = LDX | LEN;
        const LOAD_X_MEMORY: u16 = LDX | MEM;
        const LOAD_X_HEADER_LENGTH: u16 = LDX | Size::Byte as u16 | MSH;
        const NEGATE: u16 = ALU | NEG;
        const JUMP: u16 = JMP | JA;
        const RETURN_CONSTANT: u16 = RET;
        const RETURN_ACCUMULATOR: u16 = RET | A;
        const COPY_TO_X: u16 = MISC | TAX;
        const COPY_FROM_X: u16 = MISC | TXA;

        let k = self.k;
        Some(match self.code {
            LOAD_LENGTH => Operation::LoadLength,
            LOAD_IMMEDIATE => Operation::LoadImmediate(k),
            LOAD_MEMORY => Operation::LoadMemory(k),
            LOAD_X_IMMEDIATE => Operation::LoadXImmediate(k),
            LOAD_X_LENGTH => Operation::LoadXLength,
            LOAD_X_MEMORY => Operation::LoadXMemory(k),
            LOAD_X_HEADER_LENGTH => Operation::LoadXHeaderLength(k),
            ST => Operation::Store(k),
            STX => Operation::StoreX(k),
            NEGATE => Operation::Negate,
            JUMP => Operation::Jump(k),
            RETURN_CONSTANT => Operation::ReturnConstant(k),
            RETURN_ACCUMULATOR => Operation::ReturnAccumulator,
            COPY_TO_X => Operation::CopyToX,
            COPY_FROM_X => Operation::CopyFromX,
            _ => return self.packet_load().or_else(|| self.alu()).or_else(|| self.conditional_jump()),
        })
    }

    fn packet_load(self) -> Option<Operation> {
        let coded = |mode| Size::ALL.into_iter().find(|&size| self.code == LD | size as u16 | mode);
        if let Some(size) = coded(ABS) {
            // The kernel hands a field over whole, whatever size the load has (`convert_bpf_extensions`).
            let field = Field::ALL.into_iter().find(|&field| self.k == field as u32);
            return Some(field.map_or(Operation::LoadAbsolute(size, self.k), Operation::LoadField));
        }
        coded(IND).map(|size| Operation::LoadIndirect(size, self.k))
    }

    fn alu(self) -> Option<Operation> {
        let alu = Alu::ALL.into_iter().find(|&alu| self.code & !X == ALU | alu as u16)?;
        Some(Operation::Alu(alu, self.operand()))
    }

    fn conditional_jump(self) -> Option<Operation> {
        let test = Test::ALL.into_iter().find(|&test| self.code & !X == JMP | test as u16)?;
        Some(Operation::JumpIf { test, operand: self.operand(), then: self.jt, otherwise: self.jf })
    }

    fn operand(self) -> Operand {
        if self.code & X == 0 { Operand::Constant(self.k) } else { Operand::X }
    }
}

impl From<Operation> for Instruction {
    fn from(operation: Operation) -> Self {
        let plain = |code, k| Self { code, jt: 0, jf: 0, k };
        match operation {
            Operation::LoadAbsolute(size, offset) => plain(LD | size as u16 | ABS, offset),
            Operation::LoadIndirect(size, offset) => plain(LD | size as u16 | IND, offset),
            Operation::LoadField(field) => plain(LD | Size::Word as u16 | ABS, field as u32),
            Operation::LoadImmediate(k) => plain(LD | IMM, k),
            Operation::LoadLength => plain(LD | LEN, 0),
            Operation::LoadMemory(cell) => plain(LD | MEM, cell),
            Operation::LoadXImmediate(k) => plain(LDX | IMM, k),
            Operation::LoadXLength => plain(LDX | LEN, 0),
            Operation::LoadXMemory(cell) => plain(LDX | MEM, cell),
            Operation::LoadXHeaderLength(offset) => plain(LDX | Size::Byte as u16 | MSH, offset),
            Operation::Store(cell) => plain(ST, cell),
            Operation::StoreX(cell) => plain(STX, cell),
            Operation::Alu(alu, operand) => with_operand(ALU | alu as u16, operand),
            Operation::Negate => plain(ALU | NEG, 0),
            Operation::Jump(count) => plain(JMP | JA, count),
            Operation::JumpIf { test, operand, then, otherwise } => {
                Self { jt: then, jf: otherwise, ..with_operand(JMP | test as u16, operand) }
            }
            Operation::ReturnConstant(k) => plain(RET, k),
            Operation::ReturnAccumulator => plain(RET | A, 0),
            Operation::CopyToX => plain(MISC | TAX, 0),
            Operation::CopyFromX => plain(MISC | TXA, 0),
        }
    }
}

fn with_operand(code: u16, operand: Operand) -> Instruction {
    match operand {
        Operand::Constant(k) => Instruction { code, jt: 0, jf: 0, k },
        Operand::X => Instruction { code: code | X, jt: 0, jf: 0, k: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes that `chk_code_allowed` of `net/core/filter.c` lists, there by name, here by number.
    const KNOWN: [u16; 49] = [
        // ALU32: add, sub, mul, div, or, and, lsh, rsh, mod, xor by K and X; neg
        0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x94,
        0x9c, 0xa4, 0xac, 0x84, //
        // LD: abs, ind of w, h, b; imm, mem, len
        0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x00, 0x60, 0x80, //
        // LDX: imm, mem, len, msh
        0x01, 0x61, 0x81, 0xb1, //
        // ST, STX; tax, txa; ret K, ret A
        0x02, 0x03, 0x07, 0x87, 0x06, 0x16, //
        // ja; jeq, jgt, jge, jset by K and X
        0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d,
    ];

    #[test]
    fn knows_the_codes_of_the_kernel_and_no_other() {
        for code in 0..=u16::MAX {
            let known = Instruction { code, ..Instruction::default() }.operation().is_some();
            assert_eq!(known, KNOWN.contains(&code), "code {code:#04x}");
        }
    }

    #[test]
    fn encodes_what_it_decodes() {
        for code in KNOWN {
            let jump = code & 0x07 == JMP && code != JMP | JA;
            let operation = Instruction { code, jt: 3, jf: 4, k: 7 }.operation().unwrap();
            let again = Instruction::from(operation);
            assert_eq!((again.code, again.operation()), (code, Some(operation)));
            assert_eq!((again.jt, again.jf), if jump { (3, 4) } else { (0, 0) });
            assert!(again.k == 7 || again.k == 0, "{operation:?}");
        }
    }

    #[test]
    fn a_field_is_loaded_whole_by_loads_of_any_size() {
        for code in [0x20, 0x28, 0x30] {
            let load = |k| Instruction { code, jt: 0, jf: 0, k }.operation();
            assert_eq!(load(0xffff_f000), Some(Operation::LoadField(Field::Protocol)));
            assert_eq!(load(0xffff_f004), Some(Operation::LoadField(Field::PacketType)));
            assert!(matches!(load(0xffff_f008), Some(Operation::LoadAbsolute(..))));
        }
    }
}
