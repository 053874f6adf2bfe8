//! Classic BPF, the language of packet filters, as values: write a [`Program`] with an [`Assembler`], read its listing,
//! run it over bytes, hand its [`Instruction`]s to the kernel.
//!
//! The machine has an accumulator `A`, an index register `X` and sixteen memory cells, all of 32 bits and zero at
//! start. A program jumps only forwards, so it always ends; what it returns is the number of bytes of the packet to
//! keep, 0 to drop it. The rules are those of Linux (`net/core/filter.c`; `Documentation/networking/filter.rst`);
//! the loads of [`Field`]s, which BSD does not have, are Linux's too.

mod assembler;
mod instruction;
mod interpreter;
mod listing;
mod operation;
mod program;
#[cfg(test)]
mod test_programs;

pub use assembler::{AssembleError, Assembler, Target};
pub use instruction::Instruction;
pub use interpreter::Ancillary;
pub use operation::{Alu, Field, Operand, Operation, Size, Test};
pub use program::{InvalidProgram, MAX_INSTRUCTIONS, Program};
