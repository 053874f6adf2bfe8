//! What is measured.

mod accuracy;
mod at_once;
mod live;
mod one_trace;
mod tax;

use std::rc::Rc;

use crate::bed::{self, Bed};
use crate::error::Error;
use crate::experiment::Experiment;
use crate::tool::Tool;

/// All experiments, for the product at its path.
pub(crate) fn all(ours: &Tool) -> Result<Vec<Experiment>, Error> {
    let chain = Rc::new(bed::chain()?);
    let kernels = Rc::new(Bed::Kernels(Rc::clone(&chain)));
    let simulated = Rc::new(Bed::simulated()?);
    let mut all = one_trace::experiments(ours, &kernels, &simulated);
    all.extend(accuracy::experiments(ours, &kernels, &chain));
    all.extend(at_once::experiments(&chain)?);
    all.extend(live::experiments()?);
    all.push(tax::experiment()?);
    Ok(all)
}
