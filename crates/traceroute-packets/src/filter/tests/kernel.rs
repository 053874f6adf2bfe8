//! The interpreter that the filter's tests trust, compared with the kernel.
//!
//! A filter on a Unix datagram socket sees the datagram sent to it, and what it returns cuts the datagram
//! (`sk_filter_trim_cap` in `net/core/filter.c`), so that the answer can be read from how much arrives.

use std::cell::Cell;
use std::io::{ErrorKind, Read};

use proptest::prelude::*;
use proptest::sample::select;
use socket2::{Domain, SockFilter, Socket, Type};
use traceroute_wire::bpf::{
    Alu, Ancillary, Field, Instruction, InvalidProgram, Operand, Operation, Program, Size,
};

use super::{admitted, refused, spec};
use crate::filter::capture_filter;

/// A pair of sockets, of which the receiver takes filters.
struct Kernel {
    sender: Socket,
    receiver: Socket,
}

impl Kernel {
    fn new() -> Self {
        let (sender, receiver) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        receiver.set_nonblocking(true).unwrap();
        Self { sender, receiver }
    }

    fn accepts(&self, instructions: &[Instruction]) -> bool {
        let filter = |raw: &Instruction| SockFilter::new(raw.code, raw.jt, raw.jf, raw.k);
        let filter: Vec<SockFilter> = instructions.iter().map(filter).collect();
        match self.receiver.attach_filter(&filter) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::InvalidInput => false,
            Err(error) => panic!("cannot attach: {error}"),
        }
    }

    /// How much of the packet the filter attached last leaves; `None` when it drops the packet.
    fn kept(&self, packet: &[u8]) -> Option<usize> {
        let mut buffer = [0; 4096];
        self.sender.send(packet).unwrap();
        match (&self.receiver).read(&mut buffer) {
            Ok(length) => Some(length),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

/// What [`Kernel::kept`] should be; a Unix socket's packets have neither protocol nor addressee.
fn interpreted(program: &Program, packet: &[u8]) -> Option<usize> {
    match program.run(packet, Ancillary::default()) {
        0 => None,
        kept => Some(packet.len().min(kept as usize)),
    }
}

/// Any instruction, mostly with a known code and numbers near the limits.
fn any_instruction() -> impl Strategy<Value = Instruction> {
    let code = |code| Instruction { code, jt: 0, jf: 0, k: 0 };
    let known: Vec<u16> = (0..=0xff).filter(|&number| code(number).operation().is_some()).collect();
    let code = prop_oneof![60 => select(known), 1 => any::<u16>()];
    let k = prop_oneof![
        20 => 0..17_u32,
        2 => 30..34_u32,
        1 => select(&[0xffff_f000_u32, 0xffff_f004, 0x7fff_ffff, u32::MAX][..]),
        1 => any::<u32>(),
    ];
    (code, 0..5_u8, 0..5_u8, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

#[test]
fn the_kernel_takes_the_filter_and_agrees_on_packets_of_any_length() {
    let kernel = Kernel::new();
    let filter = capture_filter(&spec());
    for case in admitted().into_iter().chain(refused()) {
        // The socket knows neither field, so the program is told instead.
        let told = filter.instructions().iter().map(|&instruction| match instruction.operation().unwrap() {
            Operation::LoadField(Field::Protocol) => {
                Operation::LoadImmediate(case.ancillary.protocol.into()).into()
            }
            Operation::LoadField(Field::PacketType) => {
                Operation::LoadImmediate(case.ancillary.packet_type.into()).into()
            }
            _ => instruction,
        });
        let program = Program::new(told.collect()).unwrap();
        assert!(kernel.accepts(program.instructions()));
        for length in 0..=case.packet.len() {
            let packet = &case.packet[..length];
            assert_eq!(kernel.kept(packet), interpreted(&program, packet), "{}, {length}", case.name);
        }
    }
}

#[test]
fn the_kernel_takes_the_filter_unchanged() {
    assert!(Kernel::new().accepts(capture_filter(&spec()).instructions()));
}

#[test]
fn the_kernel_agrees_on_what_programs_meet_rarely() {
    let kernel = Kernel::new();
    let x = |alu| Operation::Alu(alu, Operand::X);
    let numbers = |a, x| vec![Operation::LoadXImmediate(x), Operation::LoadImmediate(a)];
    let cases = [
        (numbers(4, 33), x(Alu::ShiftLeft)),
        (numbers(4, 33), x(Alu::ShiftRight)),
        (numbers(4, 32), x(Alu::ShiftLeft)),
        (numbers(4, 0), x(Alu::Divide)),
        (numbers(4, 0), x(Alu::Modulo)),
        (numbers(0xffff_fffe, 0x3333_3333), x(Alu::Divide)),
        (numbers(0x8000_0003, 3), x(Alu::Multiply)),
        (numbers(0xffff_fffd, 0), Operation::Negate),
        (numbers(0, 10), Operation::LoadIndirect(Size::Byte, u32::MAX - 4)),
        (numbers(0, 10), Operation::LoadIndirect(Size::Byte, u32::MAX - 10)),
        (numbers(0, 0), Operation::LoadIndirect(Size::Word, 0x7fff_ffff)),
        (numbers(0, 0), Operation::LoadAbsolute(Size::Half, 15)),
    ];
    for (mut operations, last) in cases {
        operations.extend([last, Operation::ReturnAccumulator]);
        let program = Program::new(operations.into_iter().map(Instruction::from).collect()).unwrap();
        assert!(kernel.accepts(program.instructions()));
        let packet = [7; 16];
        assert_eq!(kernel.kept(&packet), interpreted(&program, &packet), "\n{program}");
    }
}

#[test]
fn the_kernel_agrees_on_any_program() {
    let kernel = Kernel::new();
    let program = proptest::collection::vec(any_instruction(), 0..12);
    let packet = proptest::collection::vec(any::<u8>(), 0..40);
    let (dropped, kept) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(program, any::<bool>(), packet), |(mut instructions, accumulator, packet)| {
            let end = if accumulator { Operation::ReturnAccumulator } else { Operation::ReturnConstant(9) };
            instructions.push(end.into());
            let accepted = kernel.accepts(&instructions);
            match Program::new(instructions) {
                Ok(program) => {
                    prop_assert!(accepted, "only we accept\n{program}");
                    let length = interpreted(&program, &packet);
                    prop_assert_eq!(kernel.kept(&packet), length, "\n{}", program);
                    let outcome = if length.is_some() { &kept } else { &dropped };
                    outcome.set(outcome.get() + 1);
                }
                // Linux knows more offsets than we do.
                Err(InvalidProgram::UnknownField { .. }) => {}
                Err(invalid) => prop_assert!(!accepted, "only the kernel accepts: {invalid}"),
            }
            Ok(())
        })
        .unwrap();
    let (dropped, kept) = (dropped.get(), kept.get());
    assert!(dropped > 200 && kept > 200, "too few valid programs: {dropped} dropped, {kept} kept");
}
