//! `cargo xtask cross`: the other platforms, linted, linked and tested from Linux.
//!
//! | module | subject |
//! |---|---|
//! | `plan` | which steps there are, and in which order |
//! | `target` | the platforms |
//! | `workshop` | where things are, and how Debian's cargo is called |
//! | `builds` | what is compiled: lints, programs, tests of the pure crates |
//! | `empty_root` | the static program without any other file |
//! | `tools` | what has to be there: Debian packages, standard libraries, zig |
//! | `wine` | Windows programs |
//! | `router` | a network of three namespaces |

mod builds;
mod empty_root;
mod plan;
mod router;
mod target;
mod tools;
mod wine;
mod workshop;

use std::ffi::OsString;
use std::time::Instant;

use crate::Command;
use crate::failure::Failure;
use crate::metadata::Metadata;

use plan::{Extent, Step};
use workshop::Workshop;

pub(crate) const COMMAND: Command = Command {
    name: "cross",
    about: "Lint, link and test for Windows and macOS, with --all for every platform; needs Debian 12 and root",
    run: cross,
};

fn cross(arguments: &[OsString]) -> Result<(), Failure> {
    let extent = extent(arguments)?;
    let workshop = Workshop::new(&Metadata::load()?);
    let steps = plan::steps(extent);
    let started = Instant::now();
    for (number, step) in (1..).zip(&steps) {
        eprintln!("\n--- {number} of {}: {}", steps.len(), step.title());
        let begun = Instant::now();
        let done = step.carry_out(extent, &workshop);
        done.map_err(|failure| Failure::Step {
            title: step.title(),
            failure: Box::new(failure),
            remedy: step.remedy(),
        })?;
        eprintln!("--- ok, took {} s", begun.elapsed().as_secs());
    }
    eprintln!("\nall {} steps passed in {} s", steps.len(), started.elapsed().as_secs());
    Ok(())
}

fn extent(arguments: &[OsString]) -> Result<Extent, Failure> {
    match arguments {
        [] => Ok(Extent::Usual),
        [all] if all == "--all" => Ok(Extent::All),
        _ => Err(Failure::Arguments(arguments.into())),
    }
}

impl Step {
    fn carry_out(self, extent: Extent, workshop: &Workshop) -> Result<(), Failure> {
        match self {
            Self::Packages => tools::install_packages(extent),
            Self::StandardLibrary(target) => tools::build_standard_library(workshop, target),
            Self::Zig => tools::install_zig(workshop),
            Self::Lint(target) => builds::lint(workshop, target),
            Self::Link(target) => builds::link(workshop, target),
            Self::EmulatedTests => builds::test_pure_crates_emulated(workshop),
            Self::EmptyRoot => empty_root::trace(workshop),
            Self::WinePrefix => wine::make_prefix(workshop),
            Self::WineTests => wine::test(workshop),
            Self::WinePrograms => wine::run_programs(workshop),
            Self::WineService => wine::serve(workshop),
            Self::WineTrace => wine::trace(workshop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_argument_is_all() {
        let extent = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
            super::extent(&arguments).ok()
        };
        assert_eq!(extent(&[]), Some(Extent::Usual));
        assert_eq!(extent(&["--all"]), Some(Extent::All));
        assert_eq!(extent(&["--none"]), None);
        assert_eq!(extent(&["--all", "--all"]), None);
    }
}
