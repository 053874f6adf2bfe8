//! Programs as text, in the style of `tcpdump -d`.

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::operation::{Alu, Field, Operand, Operation, Size, Test};
use super::program::Program;

/// A listing with one line for each instruction. Jumps name the number of the instruction they lead to.
///
/// Loads of fields are written as `ld #proto` and `ld #pkttype`, the rest as `tcpdump -d` does (`bpf_image.c` of
/// libpcap), numbers without sign.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end_of_line = "";
        for (at, instruction) in self.instructions().iter().enumerate() {
            f.write_str(end_of_line)?;
            end_of_line = "\n";
            match instruction.operation() {
                Some(operation) => list(f, at, operation)?,
                None => write!(f, "({at:03}) unknown  {:#04x}", instruction.code)?,
            }
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, at: usize, operation: Operation) -> fmt::Result {
    let (name, operand) = match operation {
        Operation::LoadAbsolute(size, offset) => (load(size), format!("[{offset}]")),
        Operation::LoadIndirect(size, offset) => (load(size), format!("[x + {offset}]")),
        Operation::LoadField(Field::Protocol) => ("ld", "#proto".into()),
        Operation::LoadField(Field::PacketType) => ("ld", "#pkttype".into()),
        Operation::LoadImmediate(k) => ("ld", format!("#{k:#x}")),
        Operation::LoadLength => ("ld", "#pktlen".into()),
        Operation::LoadMemory(cell) => ("ld", format!("M[{cell}]")),
        Operation::LoadXImmediate(k) => ("ldx", format!("#{k:#x}")),
        Operation::LoadXLength => ("ldx", "#pktlen".into()),
        Operation::LoadXMemory(cell) => ("ldx", format!("M[{cell}]")),
        Operation::LoadXHeaderLength(offset) => ("ldxb", format!("4*([{offset}]&0xf)")),
        Operation::Store(cell) => ("st", format!("M[{cell}]")),
        Operation::StoreX(cell) => ("stx", format!("M[{cell}]")),
        Operation::Alu(alu, operand) => calculation(alu, operand),
        Operation::Negate => ("neg", String::new()),
        Operation::Jump(skipped) => ("ja", format!("{}", at + 1 + skipped as usize)),
        Operation::JumpIf { test, operand, then, otherwise } => {
            let (name, operand) = comparison(test, operand);
            let (then, otherwise) = (at + 1 + usize::from(then), at + 1 + usize::from(otherwise));
            return write!(f, "({at:03}) {name:<8} {operand:<16} jt {then}\tjf {otherwise}");
        }
        Operation::ReturnConstant(k) => ("ret", format!("#{k}")),
        Operation::ReturnAccumulator => ("ret", "a".into()),
        Operation::CopyToX => ("tax", String::new()),
        Operation::CopyFromX => ("txa", String::new()),
    };
    if operand.is_empty() {
        write!(f, "({at:03}) {name}")
    } else {
        write!(f, "({at:03}) {name:<8} {operand}")
    }
}

fn load(size: Size) -> &'static str {
    match size {
        Size::Word => "ld",
        Size::Half => "ldh",
        Size::Byte => "ldb",
    }
}

fn calculation(alu: Alu, operand: Operand) -> (&'static str, String) {
    let (name, hexadecimal) = match alu {
        Alu::Add => ("add", false),
        Alu::Subtract => ("sub", false),
        Alu::Multiply => ("mul", false),
        Alu::Divide => ("div", false),
        Alu::Modulo => ("mod", false),
        Alu::And => ("and", true),
        Alu::Or => ("or", true),
        Alu::Xor => ("xor", true),
        Alu::ShiftLeft => ("lsh", false),
        Alu::ShiftRight => ("rsh", false),
    };
    match operand {
        Operand::Constant(k) if hexadecimal => (name, format!("#{k:#x}")),
        Operand::Constant(k) => (name, format!("#{k}")),
        Operand::X => (name, "x".into()),
    }
}

fn comparison(test: Test, operand: Operand) -> (&'static str, String) {
    let name = match test {
        Test::Equal => "jeq",
        Test::Greater => "jgt",
        Test::GreaterOrEqual => "jge",
        Test::AnyBit => "jset",
    };
    match operand {
        Operand::Constant(k) => (name, format!("#{k:#x}")),
        Operand::X => (name, "x".into()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::super::Instruction;
    use super::*;

    /// One program in two outputs of tcpdump 4.99 with libpcap 1.10, link type RAW: `tcp port 80 and ip[6:2]&0x1fff=0
    /// and len > 5 and ip[0]&0xf != 5 and ip[2:2]-((ip[0]&0xf)<<2) >= tcp[12]*4/3|5 and not (ip[ip[0]&3]%7=ip[8]^9)`
    const NUMBERS: &str = include_str!("testdata/tcpdump-ddd.txt");
    const LISTING: &str = include_str!("testdata/tcpdump-d.txt");

    fn instruction(line: &str) -> Instruction {
        let numbers: Vec<u32> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        Instruction {
            code: numbers[0].try_into().unwrap(),
            jt: numbers[1].try_into().unwrap(),
            jf: numbers[2].try_into().unwrap(),
            k: numbers[3],
        }
    }

    #[test]
    fn lists_like_tcpdump() {
        let program = Program::new(NUMBERS.lines().map(instruction).collect()).unwrap();
        assert_eq!(program.to_string(), LISTING.trim_end());
    }

    #[test]
    fn lists_what_tcpdump_had_no_use_for() {
        let program = [
            Operation::LoadField(Field::Protocol),
            Operation::LoadField(Field::PacketType),
            Operation::LoadAbsolute(Size::Word, 4),
            Operation::LoadIndirect(Size::Word, 4),
            Operation::LoadImmediate(16),
            Operation::LoadXImmediate(16),
            Operation::LoadXLength,
            Operation::StoreX(3),
            Operation::LoadXMemory(3),
            Operation::Alu(Alu::Add, Operand::Constant(16)),
            Operation::Alu(Alu::Subtract, Operand::Constant(16)),
            Operation::Alu(Alu::ShiftRight, Operand::Constant(16)),
            Operation::Negate,
            Operation::CopyFromX,
            Operation::Jump(0),
            Operation::ReturnAccumulator,
        ];
        let program = Program::new(program.map(Instruction::from).to_vec()).unwrap();
        let expected = "\
(000) ld       #proto
(001) ld       #pkttype
(002) ld       [4]
(003) ld       [x + 4]
(004) ld       #0x10
(005) ldx      #0x10
(006) ldx      #pktlen
(007) stx      M[3]
(008) ldx      M[3]
(009) add      #16
(010) sub      #16
(011) rsh      #16
(012) neg
(013) txa
(014) ja       15
(015) ret      a";
        assert_eq!(program.to_string(), expected);
    }
}
