//! Vocabulary, results and the run state machine of a path trace. Pure: no I/O, no clock, no runtime.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod packet_io;

pub use error::{ErrorCode, Operation, TracerouteError};
pub use packet_io::{Captured, Destination, Direction, Sink, Source};
