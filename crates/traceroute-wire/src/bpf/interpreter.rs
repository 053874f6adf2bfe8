//! The machine that runs programs.

use core::ops::ControlFlow;

use super::operation::{Alu, Field, Operand, Operation, Size, Test};
use super::program::{MEMORY_CELLS, Program};

/// What the kernel knows about a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ancillary {
    /// The `EtherType`: [`Field::Protocol`].
    pub protocol: u16,
    /// To whom the packet is addressed: [`Field::PacketType`].
    pub packet_type: u8,
}

impl Program {
    /// Runs the program over a packet and returns how many bytes of it to keep, 0 to drop it.
    ///
    /// The number may exceed the packet's length. A load from beyond the packet and a division by zero drop it. What
    /// Linux would find at wrapped indirect offsets, in front of the packet, counts as beyond it here.
    #[must_use]
    pub fn run(&self, packet: &[u8], ancillary: Ancillary) -> u32 {
        let mut machine = Machine { packet, ancillary, a: 0, x: 0, memory: [0; MEMORY_CELLS] };
        let mut at = 0;
        loop {
            let operation = self.instructions().get(at).and_then(|instruction| instruction.operation());
            match operation.and_then(|operation| machine.step(operation)) {
                Some(ControlFlow::Continue(skipped)) => at += 1 + skipped as usize,
                Some(ControlFlow::Break(kept)) => return kept,
                None => return 0,
            }
        }
    }
}

struct Machine<'a> {
    packet: &'a [u8],
    ancillary: Ancillary,
    a: u32,
    x: u32,
    memory: [u32; MEMORY_CELLS],
}

impl Machine<'_> {
    /// How many instructions to skip or how much to keep; `None` when the packet is to be dropped.
    fn step(&mut self, operation: Operation) -> Option<ControlFlow<u32, u32>> {
        match operation {
            Operation::LoadAbsolute(size, offset) => self.a = self.load(size, offset)?,
            Operation::LoadIndirect(size, offset) => self.a = self.load(size, self.x.wrapping_add(offset))?,
            Operation::LoadField(Field::Protocol) => self.a = self.ancillary.protocol.into(),
            Operation::LoadField(Field::PacketType) => self.a = self.ancillary.packet_type.into(),
            Operation::LoadImmediate(k) => self.a = k,
            Operation::LoadLength => self.a = self.packet_length(),
            Operation::LoadMemory(cell) => self.a = *self.memory.get(cell as usize)?,
            Operation::LoadXImmediate(k) => self.x = k,
            Operation::LoadXLength => self.x = self.packet_length(),
            Operation::LoadXMemory(cell) => self.x = *self.memory.get(cell as usize)?,
            Operation::LoadXHeaderLength(offset) => self.x = 4 * (self.load(Size::Byte, offset)? & 0xf),
            Operation::Store(cell) => *self.memory.get_mut(cell as usize)? = self.a,
            Operation::StoreX(cell) => *self.memory.get_mut(cell as usize)? = self.x,
            Operation::Alu(alu, operand) => self.a = calculate(self.a, alu, self.value(operand))?,
            Operation::Negate => self.a = self.a.wrapping_neg(),
            Operation::Jump(skipped) => return Some(ControlFlow::Continue(skipped)),
            Operation::JumpIf { test, operand, then, otherwise } => {
                let skipped = if holds(self.a, test, self.value(operand)) { then } else { otherwise };
                return Some(ControlFlow::Continue(skipped.into()));
            }
            Operation::ReturnConstant(kept) => return Some(ControlFlow::Break(kept)),
            Operation::ReturnAccumulator => return Some(ControlFlow::Break(self.a)),
            Operation::CopyToX => self.x = self.a,
            Operation::CopyFromX => self.a = self.x,
        }
        Some(ControlFlow::Continue(0))
    }

    fn load(&self, size: Size, offset: u32) -> Option<u32> {
        let bytes = self.packet.get(offset as usize..)?;
        Some(match size {
            Size::Word => u32::from_be_bytes(*bytes.first_chunk()?),
            Size::Half => u16::from_be_bytes(*bytes.first_chunk()?).into(),
            Size::Byte => (*bytes.first()?).into(),
        })
    }

    fn packet_length(&self) -> u32 {
        u32::try_from(self.packet.len()).unwrap_or(u32::MAX)
    }

    fn value(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(k) => k,
            Operand::X => self.x,
        }
    }
}

/// `None` for a division by zero.
fn calculate(a: u32, alu: Alu, b: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(b),
        Alu::Subtract => a.wrapping_sub(b),
        Alu::Multiply => a.wrapping_mul(b),
        Alu::Divide => a.checked_div(b)?,
        Alu::Modulo => a.checked_rem(b)?,
        Alu::And => a & b,
        Alu::Or => a | b,
        Alu::Xor => a ^ b,
        Alu::ShiftLeft => a.wrapping_shl(b),
        Alu::ShiftRight => a.wrapping_shr(b),
    })
}

fn holds(a: u32, test: Test, b: u32) -> bool {
    match test {
        Test::Equal => a == b,
        Test::Greater => a > b,
        Test::GreaterOrEqual => a >= b,
        Test::AnyBit => a & b != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::test_programs::{any_program, run_operations};
    use super::*;

    const PACKET: [u8; 6] = [0x4f, 0x01, 0x82, 0x03, 0x84, 0x05];
    const RETURN: Operation = Operation::ReturnAccumulator;

    fn run(operations: &[Operation]) -> u32 {
        run_operations(operations, &PACKET, Ancillary { protocol: 0x86dd, packet_type: 4 })
    }

    #[test]
    fn loads_big_endian_numbers() {
        assert_eq!(run(&[Operation::LoadAbsolute(Size::Word, 2), RETURN]), 0x8203_8405);
        assert_eq!(run(&[Operation::LoadAbsolute(Size::Half, 2), RETURN]), 0x8203);
        assert_eq!(run(&[Operation::LoadAbsolute(Size::Byte, 2), RETURN]), 0x82);
        assert_eq!(
            run(&[Operation::LoadXImmediate(3), Operation::LoadIndirect(Size::Half, 1), RETURN]),
            0x8405
        );
        assert_eq!(
            run(&[Operation::LoadXImmediate(3), Operation::LoadIndirect(Size::Byte, u32::MAX), RETURN]),
            0x82
        );
    }

    #[test]
    fn drops_what_is_too_short_for_a_load() {
        let then_keep = |load| run(&[Operation::LoadXImmediate(1), load, Operation::ReturnConstant(9)]);
        for (size, last) in [(Size::Word, 2), (Size::Half, 4), (Size::Byte, 5)] {
            assert_eq!(then_keep(Operation::LoadAbsolute(size, last)), 9);
            assert_eq!(then_keep(Operation::LoadAbsolute(size, last + 1)), 0);
            assert_eq!(then_keep(Operation::LoadAbsolute(size, 0x7fff_ffff)), 0);
            assert_eq!(then_keep(Operation::LoadIndirect(size, last - 1)), 9);
            assert_eq!(then_keep(Operation::LoadIndirect(size, last)), 0);
            assert_eq!(then_keep(Operation::LoadIndirect(size, u32::MAX - 1)), 0);
        }
        assert_eq!(then_keep(Operation::LoadXHeaderLength(5)), 9);
        assert_eq!(then_keep(Operation::LoadXHeaderLength(6)), 0);
    }

    #[test]
    fn loads_fields_lengths_and_numbers() {
        assert_eq!(run(&[Operation::LoadField(Field::Protocol), RETURN]), 0x86dd);
        assert_eq!(run(&[Operation::LoadField(Field::PacketType), RETURN]), 4);
        assert_eq!(run(&[Operation::LoadLength, RETURN]), 6);
        assert_eq!(run(&[Operation::LoadXLength, Operation::CopyFromX, RETURN]), 6);
        assert_eq!(run(&[Operation::LoadImmediate(77), RETURN]), 77);
        assert_eq!(run(&[Operation::LoadXHeaderLength(0), Operation::CopyFromX, RETURN]), 60);
    }

    #[test]
    fn registers_are_zero_at_start() {
        assert_eq!(run(&[RETURN]), 0);
        assert_eq!(run(&[Operation::LoadImmediate(5), Operation::CopyFromX, RETURN]), 0);
    }

    #[test]
    fn memory_keeps_what_was_stored() {
        assert_eq!(
            run(&[
                Operation::LoadImmediate(5),
                Operation::Store(0),
                Operation::LoadXImmediate(6),
                Operation::StoreX(15),
                Operation::LoadImmediate(0),
                Operation::LoadXMemory(0),
                Operation::LoadMemory(15),
                Operation::Alu(Alu::Multiply, Operand::X),
                RETURN,
            ]),
            30
        );
    }

    #[test]
    fn calculates_in_32_bits() {
        let calculate = |a, alu, b| {
            let constant =
                run(&[Operation::LoadImmediate(a), Operation::Alu(alu, Operand::Constant(b)), RETURN]);
            let load = [Operation::LoadXImmediate(b), Operation::LoadImmediate(a)];
            let register = run(&[load[0], load[1], Operation::Alu(alu, Operand::X), RETURN]);
            assert_eq!(constant, register, "{alu:?}");
            register
        };
        assert_eq!(calculate(u32::MAX, Alu::Add, 3), 2);
        assert_eq!(calculate(2, Alu::Subtract, 3), u32::MAX);
        assert_eq!(calculate(0x8000_0001, Alu::Multiply, 2), 2);
        assert_eq!(calculate(0xffff_fffe, Alu::Divide, 3), 0x5555_5554);
        assert_eq!(calculate(0xffff_fffe, Alu::Modulo, 3), 2);
        assert_eq!(calculate(0b1100, Alu::And, 0b1010), 0b1000);
        assert_eq!(calculate(0b1100, Alu::Or, 0b1010), 0b1110);
        assert_eq!(calculate(0b1100, Alu::Xor, 0b1010), 0b0110);
        assert_eq!(calculate(0x8000_0001, Alu::ShiftLeft, 1), 2);
        assert_eq!(calculate(0x8000_0001, Alu::ShiftRight, 31), 1);
        assert_eq!(run(&[Operation::LoadImmediate(1), Operation::Negate, RETURN]), u32::MAX);
    }

    #[test]
    fn shifts_by_the_lowest_five_bits() {
        for (alu, expected) in [(Alu::ShiftLeft, 0x20), (Alu::ShiftRight, 0x08)] {
            let shift = Operation::Alu(alu, Operand::X);
            let load = [Operation::LoadXImmediate(33), Operation::LoadImmediate(0x10)];
            assert_eq!(run(&[load[0], load[1], shift, RETURN]), expected);
        }
    }

    #[test]
    fn division_by_zero_drops() {
        for alu in [Alu::Divide, Alu::Modulo] {
            let divide = Operation::Alu(alu, Operand::X);
            assert_eq!(run(&[Operation::LoadImmediate(7), divide, Operation::ReturnConstant(9)]), 0);
        }
    }

    #[test]
    fn jumps_by_unsigned_comparison() {
        let test = |a, test, b| {
            let outcome = |operand| {
                let jump = Operation::JumpIf { test, operand, then: 1, otherwise: 0 };
                let load = [Operation::LoadXImmediate(b), Operation::LoadImmediate(a)];
                run(&[load[0], load[1], jump, Operation::ReturnConstant(0), Operation::ReturnConstant(1)])
                    == 1
            };
            assert_eq!(outcome(Operand::Constant(b)), outcome(Operand::X));
            outcome(Operand::X)
        };
        assert!(test(5, Test::Equal, 5) && !test(5, Test::Equal, 4));
        assert!(test(0x8000_0000, Test::Greater, 5) && !test(5, Test::Greater, 5));
        assert!(test(5, Test::GreaterOrEqual, 5) && !test(5, Test::GreaterOrEqual, 6));
        assert!(test(0b0110, Test::AnyBit, 0b1100) && !test(0b0110, Test::AnyBit, 0b1001));
        assert_eq!(run(&[Operation::Jump(1), Operation::ReturnConstant(1), Operation::ReturnConstant(2)]), 2);
    }

    proptest! {
        #[test]
        fn every_valid_program_ends_on_every_packet(
            program in any_program(),
            packet in proptest::collection::vec(any::<u8>(), 0..80),
            (protocol, packet_type) in any::<(u16, u8)>(),
        ) {
            let ancillary = Ancillary { protocol, packet_type };
            let kept = program.run(&packet, ancillary);
            prop_assert_eq!(program.run(&packet, ancillary), kept);
        }
    }
}
