//! What cargo says about the workspace.

use std::path::PathBuf;

use serde::Deserialize;

use crate::failure::Failure;
use crate::process;

/// The part of `cargo metadata` that the checks need.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) workspace_root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target_directory: PathBuf,
    /// The workspace's own packages.
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// A dependency as a manifest declares it, whatever platform or feature it is for.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's own name, even where the manifest calls it otherwise.
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for a normal one.
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

impl Metadata {
    pub(crate) fn load() -> Result<Self, Failure> {
        let json = process::output(&mut process::cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
        serde_json::from_slice(&json).map_err(Failure::Metadata)
    }

    pub(crate) fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|other| other.name == package)
    }
}

impl Package {
    /// Where the source of its library begins.
    pub(crate) fn library(&self) -> Option<&PathBuf> {
        let library = |target: &&Target| target.kind.iter().any(|kind| kind == "lib");
        self.targets.iter().find(library).map(|target| &target.src_path)
    }
}

impl Dependency {
    pub(crate) fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// A workspace for tests: packages with their dependencies, those that begin with `dev:` for tests.
#[cfg(test)]
pub(crate) fn workspace(packages: &[(&str, &[&str])]) -> Metadata {
    let dependency = |name: &&str| match name.strip_prefix("dev:") {
        Some(name) => Dependency { name: name.into(), kind: Some("dev".into()) },
        None => Dependency { name: (*name).into(), kind: None },
    };
    let package = |&(name, dependencies): &(&str, &[&str])| Package {
        name: name.into(),
        version: "0.0.0".into(),
        dependencies: dependencies.iter().map(dependency).collect(),
        targets: Vec::new(),
    };
    Metadata {
        workspace_root: "/".into(),
        target_directory: "/target".into(),
        packages: packages.iter().map(package).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_prints() {
        let metadata = Metadata::load().unwrap();
        let own = metadata.packages.iter().find(|package| package.name == "xtask").unwrap();
        let json = own.dependencies.iter().find(|dependency| dependency.name == "serde_json").unwrap();
        assert!(!json.is_for_tests());
        assert_eq!(own.library(), None);
        assert!(metadata.has("traceroute-wire") && !metadata.has("serde_json"));
        let wire = metadata.packages.iter().find(|package| package.name == "traceroute-wire").unwrap();
        let proptest = wire.dependencies.iter().find(|dependency| dependency.name == "proptest").unwrap();
        assert!(proptest.is_for_tests());
        assert_eq!(wire.library(), Some(&metadata.workspace_root.join("crates/traceroute-wire/src/lib.rs")));
    }
}
