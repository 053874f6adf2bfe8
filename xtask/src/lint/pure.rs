//! The pure crates: no operating system, no clock, no runtime, no `unsafe`. The compiler checks that where the crate
//! says `no_std` and forbids `unsafe`; here we check that it says so and that what it uses is known to be pure.

use std::collections::BTreeMap;
use std::fs;

use crate::crates::PURE;
use crate::failure::Failure;
use crate::metadata::Metadata;

const ATTRIBUTES: &[&str] = &["#![no_std]", "#![forbid(unsafe_code)]"];

/// The crates from elsewhere that a pure crate may use outside its tests.
const EXTERNAL: &[&str] = &["etherparse", "hashbrown", "serde", "thiserror"];

/// The text of `lib.rs` of each pure crate that is there.
pub(super) type Libraries = BTreeMap<String, String>;

pub(super) fn read_libraries(metadata: &Metadata) -> Result<Libraries, Failure> {
    let mut libraries = Libraries::new();
    for package in metadata.packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        if let Some(path) = package.library() {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::CannotRead { path: path.clone(), error })?;
            libraries.insert(package.name.clone(), text);
        }
    }
    Ok(libraries)
}

/// One line for each attribute that is missing and each crate that a pure crate may not use.
pub(super) fn violations(metadata: &Metadata, libraries: &Libraries) -> Vec<String> {
    let mut lines = Vec::new();
    for package in metadata.packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let name = &package.name;
        let text = libraries.get(name).map_or("", String::as_str);
        for attribute in ATTRIBUTES.iter().filter(|attribute| !text.lines().any(|line| line == **attribute)) {
            lines.push(format!("{name} is pure: its lib.rs has to say {attribute}"));
        }
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if !dependency.is_for_tests() && !metadata.has(used) && !EXTERNAL.contains(&used) {
                let allowed = EXTERNAL.join(", ");
                lines.push(format!("{name} is pure: it may not depend on {used}; allowed: {allowed}"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::workspace;

    const LIBRARY: &str = "//! A crate.\n#![no_std]\n#![forbid(unsafe_code)]\n\nextern crate alloc;\n";

    fn found(name: &str, dependencies: &[&str], library: &str) -> Vec<String> {
        let metadata = workspace(&[(name, dependencies), ("traceroute-wire-2", &[])]);
        violations(&metadata, &Libraries::from([(name.to_owned(), library.to_owned())]))
    }

    #[test]
    fn pure_crates_have_no_violation() {
        for name in PURE {
            let dependencies = ["serde", "hashbrown", "traceroute-wire-2", "dev:proptest"];
            assert_eq!(found(name, &dependencies, LIBRARY), [""; 0]);
        }
        assert_eq!(found("traceroute-packets", &["libc"], "//! Sockets.\n"), [""; 0]);
    }

    #[test]
    fn a_missing_attribute_is_found() {
        for (attribute, instead) in [
            ("#![no_std]", ""),
            ("#![no_std]", "// #![no_std]"),
            ("#![no_std]", "#![cfg_attr(not(test), no_std)]"),
            ("#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"),
        ] {
            assert_eq!(
                found("traceroute-udp", &[], &LIBRARY.replace(attribute, instead)),
                [format!("traceroute-udp is pure: its lib.rs has to say {attribute}")]
            );
        }
        assert_eq!(violations(&workspace(&[("traceroute-udp", &[])]), &Libraries::new()).len(), 2);
    }

    #[test]
    fn an_impure_dependency_is_found() {
        assert_eq!(
            found("traceroute-core", &["serde", "tokio"], LIBRARY),
            [
                "traceroute-core is pure: it may not depend on tokio; allowed: etherparse, hashbrown, serde, thiserror"
            ]
        );
    }
}
