//! What is measured.

mod accuracy;
mod at_once;
mod live;
mod one_trace;
mod service;
mod tax;

use std::path::Path;
use std::rc::Rc;

use crate::bed::{Bed, Kernels};
use crate::error::Error;
use crate::experiment::Experiment;
use crate::tool::Tool;

/// All experiments, for the product: the command, and the service's program.
pub(crate) fn all(ours: &Tool, server: &Path) -> Result<Vec<Experiment>, Error> {
    let kernels = Rc::new(Kernels::new(&[])?);
    let bed = Rc::new(Bed::Kernels(Rc::clone(&kernels)));
    let silent = Rc::new(Bed::Kernels(Rc::new(Kernels::new(&[3, 4])?)));
    let closed = Rc::new(Bed::Kernels(Rc::new(Kernels::closed()?)));
    let simulated = Rc::new(Bed::simulated()?);
    let mut all = one_trace::experiments(ours, &bed, &simulated, &silent, &closed);
    all.extend(accuracy::experiments(ours, &bed, &kernels));
    all.extend(at_once::experiments(&kernels)?);
    all.extend(live::experiments()?);
    all.push(tax::experiment()?);
    all.extend(service::experiments(&kernels, server)?);
    Ok(all)
}
