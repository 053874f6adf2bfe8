//! What is measured.

mod accuracy;
mod at_once;
mod live;
mod one_trace;
mod tax;

use std::rc::Rc;

use crate::bed::{Bed, Kernels};
use crate::error::Error;
use crate::experiment::Experiment;
use crate::tool::Tool;

/// All experiments, for the product at its path.
pub(crate) fn all(ours: &Tool) -> Result<Vec<Experiment>, Error> {
    let kernels = Rc::new(Kernels::new(&[])?);
    let bed = Rc::new(Bed::Kernels(Rc::clone(&kernels)));
    let silent = Rc::new(Bed::Kernels(Rc::new(Kernels::new(&[3, 4])?)));
    let simulated = Rc::new(Bed::simulated()?);
    let mut all = one_trace::experiments(ours, &bed, &simulated, &silent);
    all.extend(accuracy::experiments(ours, &bed, &kernels));
    all.extend(at_once::experiments(&kernels)?);
    all.extend(live::experiments()?);
    all.push(tax::experiment()?);
    Ok(all)
}
