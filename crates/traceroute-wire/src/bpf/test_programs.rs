//! Programs for tests.

use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;

use super::{Ancillary, Instruction, Program};

/// Runs operations, which must make a valid program.
pub(super) fn run_operations(operations: &[super::Operation], packet: &[u8], ancillary: Ancillary) -> u32 {
    let instructions = operations.iter().copied().map(Instruction::from).collect();
    Program::new(instructions).unwrap().run(packet, ancillary)
}

/// Any instruction, mostly with a known code and numbers near the limits.
pub(super) fn any_instruction() -> impl Strategy<Value = Instruction> {
    let known: Vec<u16> = (0..=0xff).filter(|&code| instruction(code).operation().is_some()).collect();
    let code = prop_oneof![30 => select(known), 1 => any::<u16>()];
    let k = prop_oneof![
        8 => 0..40_u32,
        2 => select(&[0xffff_f000_u32, 0xffff_f004, 0x7fff_ffff, 0x8000_0000, u32::MAX][..]),
        1 => any::<u32>(),
    ];
    (code, 0..12_u8, 0..12_u8, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

/// Any valid program of up to 60 instructions.
pub(super) fn any_program() -> impl Strategy<Value = Program> {
    proptest::collection::vec(any_instruction(), 0..40).prop_map(|instructions| {
        const STORE: u16 = 0x02;
        const RETURN_ACCUMULATOR: u16 = 0x16;
        let stores = (0..16).map(|cell| Instruction { k: cell, ..instruction(STORE) });
        let length = instructions.len();
        let body = instructions.into_iter().enumerate().map(|(at, raw)| repaired(raw, length - at));
        Program::new(stores.chain(body).chain([instruction(RETURN_ACCUMULATOR)]).collect()).unwrap()
    })
}

/// The instruction, changed so that it is valid where `following` instructions follow it and all memory is written.
fn repaired(raw: Instruction, following: usize) -> Instruction {
    let within = |count: u8| u8::try_from(usize::from(count) % following).unwrap();
    let mut repaired = Instruction { jt: within(raw.jt), jf: within(raw.jf), ..raw };
    for k in [raw.k, raw.k % 16 + 1, 0] {
        repaired.k = k;
        // Alone with as many returns as follow it, an instruction is judged by itself, but for unwritten memory.
        let alone = core::iter::once(repaired).chain(core::iter::repeat_n(instruction(0x06), following));
        match Program::new(alone.collect()) {
            Ok(_) | Err(super::InvalidProgram::CellNotWritten { .. }) => return repaired,
            Err(_) => {}
        }
    }
    instruction(0x07)
}

fn instruction(code: u16) -> Instruction {
    Instruction { code, ..Instruction::default() }
}
