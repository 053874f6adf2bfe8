//! Which steps there are, and in which order.

use super::target::Target;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What every commit has to pass.
    Usual,
    /// What a release has to pass, too.
    All,
}

/// Something that is done and timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Packages,
    StandardLibrary(Target),
    Zig,
    Lint(Target),
    Link(Target),
    EmulatedTests,
    EmptyRoot,
    WinePrefix,
    WineTests,
    WinePrograms,
    WineService,
    WineTrace,
}

impl Extent {
    pub(super) fn targets(self) -> &'static [Target] {
        match self {
            Self::Usual => Target::USUAL,
            Self::All => Target::ALL,
        }
    }
}

/// What is needed first, then everything that can be said without running, since it is said soonest.
pub(super) fn steps(extent: Extent) -> Vec<Step> {
    let targets = extent.targets();
    let mut steps = vec![Step::Packages];
    steps.extend(targets.iter().copied().map(Step::StandardLibrary));
    if targets.iter().any(|target| target.is_built_by_zig()) {
        steps.push(Step::Zig);
    }
    steps.extend(targets.iter().copied().map(Step::Lint));
    for target in targets {
        match target {
            Target::Windows => steps.extend([
                Step::Link(Target::Windows),
                Step::WinePrefix,
                Step::WineTests,
                Step::WinePrograms,
                Step::WineService,
                Step::WineTrace,
            ]),
            Target::LinuxArm => steps.push(Step::EmulatedTests),
            Target::LinuxStatic => steps.extend([Step::Link(Target::LinuxStatic), Step::EmptyRoot]),
            Target::MacArm | Target::MacIntel => {}
        }
    }
    steps
}

impl Step {
    pub(super) fn title(self) -> String {
        match self {
            Self::Packages => "the Debian packages".into(),
            Self::StandardLibrary(target) => format!("the standard library for {}", target.triple()),
            Self::Zig => "zig and cargo-zigbuild".into(),
            Self::Lint(target) => format!("clippy for {}", target.triple()),
            Self::Link(target) => format!("the programs for {}", target.triple()),
            Self::EmulatedTests => "the tests of the pure crates on an emulated arm64".into(),
            Self::EmptyRoot => "a trace by the static program in an empty root directory".into(),
            Self::WinePrefix => "a Windows of Wine's".into(),
            Self::WineTests => "the tests under Wine".into(),
            Self::WinePrograms => "the programs under Wine".into(),
            Self::WineService => "the service under Wine".into(),
            Self::WineTrace => "a trace through a router under Wine".into(),
        }
    }

    /// What to do when it fails.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Packages => {
                "run it as root on Debian 12, which alone has rustc-web, after `apt-get update`"
            }
            Self::StandardLibrary(_) => {
                "the packages rustc-web, cargo-web and rust-web-src must be of one version: `apt-get upgrade` them together"
            }
            Self::Zig => "it is fetched from PyPI; remove target/cross/zig to have it made anew",
            Self::Lint(_) => {
                "correct the code; tests that need Linux begin with `#![cfg(target_os = \"linux\")]`"
            }
            Self::Link(_) => "correct what the linker names; remove target/cross to begin anew",
            Self::EmulatedTests => "correct what differs on arm64",
            Self::EmptyRoot => "it takes root; what the program opens, `strace -f` shows",
            Self::WinePrefix => "remove target/cross/wine to have it made anew",
            Self::WineTests | Self::WinePrograms | Self::WineService | Self::WineTrace => {
                "WINEPREFIX=$PWD/target/cross/wine runs a program by hand: `wine target/cross/x86_64-pc-windows-gnu/debug/NAME.exe`"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(steps: &[Step], step: Step) -> usize {
        steps.iter().position(|other| *other == step).unwrap_or_else(|| panic!("{step:?} is missing"))
    }

    #[test]
    fn every_commit_is_linted_for_windows_and_macos_and_runs_under_wine() {
        let expected = [
            "the Debian packages",
            "the standard library for x86_64-pc-windows-gnu",
            "the standard library for aarch64-apple-darwin",
            "clippy for x86_64-pc-windows-gnu",
            "clippy for aarch64-apple-darwin",
            "the programs for x86_64-pc-windows-gnu",
            "a Windows of Wine's",
            "the tests under Wine",
            "the programs under Wine",
            "the service under Wine",
            "a trace through a router under Wine",
        ];
        assert_eq!(steps(Extent::Usual).into_iter().map(Step::title).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn all_is_more_than_the_usual() {
        let all = steps(Extent::All);
        for step in steps(Extent::Usual) {
            place(&all, step);
        }
        for target in Target::ALL {
            let needed = place(&all, Step::StandardLibrary(*target));
            assert!(needed < place(&all, Step::Lint(*target)));
        }
    }

    #[test]
    fn what_a_step_needs_comes_before_it() {
        let all = steps(Extent::All);
        for (first, second) in [
            (Step::Packages, Step::StandardLibrary(Target::Windows)),
            (Step::Zig, Step::Lint(Target::LinuxStatic)),
            (Step::Zig, Step::Link(Target::LinuxStatic)),
            (Step::Link(Target::LinuxStatic), Step::EmptyRoot),
            (Step::Link(Target::Windows), Step::WinePrograms),
            (Step::WinePrefix, Step::WineTests),
            (Step::WinePrefix, Step::WinePrograms),
            (Step::Link(Target::Windows), Step::WineService),
            (Step::Link(Target::Windows), Step::WineTrace),
        ] {
            assert!(place(&all, first) < place(&all, second), "{first:?} {second:?}");
        }
    }
}
