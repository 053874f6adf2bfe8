//! Writing programs with labels instead of counts of instructions.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::ops::RangeInclusive;

use super::instruction::Instruction;
use super::operation::{Operand, Operation, Test};
use super::program::{InvalidProgram, Program};

/// Where a conditional jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the next instruction.
    Next,
    /// To a place that [`Assembler::label`] names later.
    Label(&'static str),
}

impl From<&'static str> for Target {
    fn from(label: &'static str) -> Self {
        Self::Label(label)
    }
}

/// Writes a [`Program`] instruction by instruction; jumps lead to labels, which are placed after them.
///
/// ```
/// use traceroute_wire::bpf::{Ancillary, Assembler, Field, Operation, Target, Test};
///
/// let mut arp = Assembler::new();
/// arp.push(Operation::LoadField(Field::Protocol));
/// arp.jump_if(Test::Equal, 0x0806, "keep", Target::Next);
/// arp.push(Operation::ReturnConstant(0));
/// arp.label("keep");
/// arp.push(Operation::ReturnConstant(64));
/// let arp = arp.finish()?;
///
/// assert_eq!(arp.run(&[], Ancillary { protocol: 0x0806, packet_type: 0 }), 64);
/// # Ok::<(), traceroute_wire::bpf::AssembleError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    instructions: Vec<Instruction>,
    labels: BTreeMap<&'static str, usize>,
    jumps: Vec<Jump>,
    placed_twice: Option<&'static str>,
}

/// A jump whose distance is not known yet.
#[derive(Clone, Copy, Debug)]
struct Jump {
    at: usize,
    arm: Arm,
    label: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Arm {
    Always,
    Then,
    Otherwise,
}

impl Assembler {
    /// An assembler that has written nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an operation.
    pub fn push(&mut self, operation: Operation) {
        self.instructions.push(operation.into());
    }

    /// Names the place of the next instruction.
    pub fn label(&mut self, label: &'static str) {
        if self.labels.insert(label, self.instructions.len()).is_some() {
            self.placed_twice.get_or_insert(label);
        }
    }

    /// Jumps to `label`, however far that is.
    pub fn jump(&mut self, label: &'static str) {
        self.resolve_later(Arm::Always, Target::Label(label));
        self.push(Operation::Jump(0));
    }

    /// Compares `A` with `constant` and jumps to `then` when the test holds, to `otherwise` when it does not.
    ///
    /// A label can be at most 255 instructions away.
    pub fn jump_if(
        &mut self,
        test: Test,
        constant: u32,
        then: impl Into<Target>,
        otherwise: impl Into<Target>,
    ) {
        self.resolve_later(Arm::Then, then.into());
        self.resolve_later(Arm::Otherwise, otherwise.into());
        self.push(Operation::JumpIf { test, operand: Operand::Constant(constant), then: 0, otherwise: 0 });
    }

    /// Jumps to the label beside the number that `A` equals, to `otherwise` when it equals none.
    pub fn switch(&mut self, cases: &[(u32, &'static str)], otherwise: impl Into<Target>) {
        let otherwise = otherwise.into();
        match cases {
            [] => {
                if let Target::Label(label) = otherwise {
                    self.jump(label);
                }
            }
            &[(number, label)] => self.jump_if(Test::Equal, number, label, otherwise),
            &[(number, label), ref others @ ..] => {
                self.jump_if(Test::Equal, number, label, Target::Next);
                self.switch(others, otherwise);
            }
        }
    }

    /// Jumps to `then` when `A` lies in `range`, to `otherwise` when it does not.
    pub fn jump_if_within(
        &mut self,
        range: &RangeInclusive<u32>,
        then: impl Into<Target>,
        otherwise: impl Into<Target>,
    ) {
        let otherwise = otherwise.into();
        // What comes next for our caller comes after the second comparison.
        let skipped = u8::from(otherwise == Target::Next);
        let start = Operand::Constant(*range.start());
        self.resolve_later(Arm::Otherwise, otherwise);
        self.push(Operation::JumpIf {
            test: Test::GreaterOrEqual,
            operand: start,
            then: 0,
            otherwise: skipped,
        });
        self.jump_if(Test::Greater, *range.end(), otherwise, then);
    }

    /// The program, once every label has its place.
    pub fn finish(mut self) -> Result<Program, AssembleError> {
        if let Some(label) = self.placed_twice {
            return Err(AssembleError::PlacedTwice { label });
        }
        for Jump { at, arm, label } in self.jumps {
            let &place = self.labels.get(label).ok_or(AssembleError::NotPlaced { label })?;
            let skipped = place.checked_sub(at + 1).ok_or(AssembleError::Backwards { label })?;
            let too_far = AssembleError::TooFar { label, skipped };
            let instruction = &mut self.instructions[at];
            match arm {
                Arm::Always => instruction.k = u32::try_from(skipped).map_err(|_| too_far)?,
                Arm::Then => instruction.jt = u8::try_from(skipped).map_err(|_| too_far)?,
                Arm::Otherwise => instruction.jf = u8::try_from(skipped).map_err(|_| too_far)?,
            }
        }
        Program::new(self.instructions).map_err(AssembleError::Invalid)
    }

    fn resolve_later(&mut self, arm: Arm, target: Target) {
        if let Target::Label(label) = target {
            self.jumps.push(Jump { at: self.instructions.len(), arm, label });
        }
    }
}

/// Why what was written is not a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssembleError {
    /// A jump leads to a label that has no place.
    NotPlaced {
        /// The label.
        label: &'static str,
    },
    /// A label names two places.
    PlacedTwice {
        /// The label.
        label: &'static str,
    },
    /// A jump leads to a label placed before it.
    Backwards {
        /// The label.
        label: &'static str,
    },
    /// A jump leads to a label farther away than it can reach.
    TooFar {
        /// The label.
        label: &'static str,
        /// How many instructions lie between; a conditional jump can skip 255.
        skipped: usize,
    },
    /// The kernel would refuse the program.
    Invalid(InvalidProgram),
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlaced { label } => write!(f, "label `{label}` has no place"),
            Self::PlacedTwice { label } => write!(f, "label `{label}` names two places"),
            Self::Backwards { label } => write!(f, "a jump to label `{label}` would lead backwards"),
            Self::TooFar { label, skipped } => {
                write!(f, "label `{label}` is too far from a jump to it: {skipped} instructions")
            }
            Self::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl Error for AssembleError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::super::Ancillary;
    use super::super::operation::Size;
    use super::*;

    fn byte_at_0() -> Assembler {
        let mut assembler = Assembler::new();
        assembler.push(Operation::LoadAbsolute(Size::Byte, 0));
        assembler
    }

    /// Ends the program: labels `one` and `two` return 1 and 2, what falls through returns 3.
    fn outcomes(mut assembler: Assembler) -> impl Fn(u8) -> u32 {
        assembler.push(Operation::ReturnConstant(3));
        assembler.label("one");
        assembler.push(Operation::ReturnConstant(1));
        assembler.label("two");
        assembler.push(Operation::ReturnConstant(2));
        let program = assembler.finish().unwrap();
        move |byte| program.run(&[byte], Ancillary::default())
    }

    #[test]
    fn conditional_jumps_lead_to_their_labels() {
        let mut assembler = byte_at_0();
        assembler.jump_if(Test::Greater, 5, "one", Target::Next);
        assembler.jump_if(Test::Equal, 4, Target::Next, "two");
        let run = outcomes(assembler);
        assert_eq!((run(6), run(5), run(4)), (1, 2, 3));
    }

    #[test]
    fn switches_choose_by_number() {
        for (otherwise, fallen) in [(Target::Next, 3), (Target::Label("two"), 2)] {
            for cases in [&[(7, "one"), (8, "two"), (9, "one")][..], &[(9, "one")], &[]] {
                let mut assembler = byte_at_0();
                assembler.switch(cases, otherwise);
                let run = outcomes(assembler);
                for number in 0..=12 {
                    let case = cases.iter().find(|case| case.0 == u32::from(number));
                    let expected = case.map_or(fallen, |case| if case.1 == "one" { 1 } else { 2 });
                    assert_eq!(run(number), expected, "{number} {cases:?} {otherwise:?}");
                }
            }
        }
    }

    #[test]
    fn ranges_are_inclusive() {
        let targets = [(Target::Label("one"), 1), (Target::Label("two"), 2), (Target::Next, 3)];
        for (then, inside) in targets {
            for (otherwise, outside) in targets {
                for (start, end) in [(10, 12), (11, 11), (0, 255), (12, 10)] {
                    let range = start..=end;
                    let mut assembler = byte_at_0();
                    assembler.jump_if_within(&range, then, otherwise);
                    let run = outcomes(assembler);
                    for number in [0, 9, 10, 11, 12, 13, 255] {
                        let expected = if range.contains(&u32::from(number)) { inside } else { outside };
                        assert_eq!(run(number), expected, "{number} in {range:?}: {then:?}, {otherwise:?}");
                    }
                }
            }
        }
    }

    /// A jump over `count` instructions to the label `end`.
    fn jump_over(count: usize, jump: impl Fn(&mut Assembler)) -> Result<Program, AssembleError> {
        let mut assembler = Assembler::new();
        jump(&mut assembler);
        for _ in 0..count {
            assembler.push(Operation::Negate);
        }
        assembler.label("end");
        assembler.push(Operation::ReturnConstant(1));
        assembler.finish()
    }

    #[test]
    fn conditional_jumps_reach_255_instructions() {
        let too_far = AssembleError::TooFar { label: "end", skipped: 256 };
        let then = |assembler: &mut Assembler| assembler.jump_if(Test::Equal, 0, "end", Target::Next);
        assert_eq!(jump_over(255, then).unwrap().instructions()[0].jt, 255);
        assert_eq!(jump_over(256, then), Err(too_far));
        let otherwise = |assembler: &mut Assembler| assembler.jump_if(Test::Equal, 0, Target::Next, "end");
        assert_eq!(jump_over(255, otherwise).unwrap().instructions()[0].jf, 255);
        assert_eq!(jump_over(256, otherwise), Err(too_far));
        assert_eq!(too_far.to_string(), "label `end` is too far from a jump to it: 256 instructions");
    }

    #[test]
    fn unconditional_jumps_reach_everywhere() {
        let program = jump_over(4000, |assembler| assembler.jump("end")).unwrap();
        assert_eq!(program.instructions()[0].k, 4000);
    }

    #[test]
    fn labels_need_one_place_after_their_jumps() {
        let mut assembler = Assembler::new();
        assembler.jump("nowhere");
        assembler.push(Operation::ReturnConstant(1));
        assert_eq!(assembler.finish(), Err(AssembleError::NotPlaced { label: "nowhere" }));

        let mut assembler = Assembler::new();
        assembler.label("start");
        assembler.push(Operation::LoadLength);
        assembler.jump("start");
        assembler.push(Operation::ReturnConstant(1));
        assert_eq!(assembler.finish(), Err(AssembleError::Backwards { label: "start" }));

        let mut assembler = Assembler::new();
        for _ in 0..2 {
            assembler.label("here");
            assembler.push(Operation::ReturnConstant(1));
        }
        assert_eq!(assembler.finish(), Err(AssembleError::PlacedTwice { label: "here" }));
    }

    #[test]
    fn what_is_finished_is_valid() {
        let mut assembler = Assembler::new();
        assembler.push(Operation::LoadLength);
        assert_eq!(assembler.clone().finish(), Err(AssembleError::Invalid(InvalidProgram::NoReturn)));
        assembler.push(Operation::ReturnAccumulator);
        let written = vec![Operation::LoadLength.into(), Operation::ReturnAccumulator.into()];
        assert_eq!(assembler.finish().unwrap().instructions(), written);
    }
}
