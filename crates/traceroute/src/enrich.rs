//! What a request says beyond what the probes have learnt.

pub(crate) mod private;
