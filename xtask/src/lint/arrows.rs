//! Who may depend on whom among the workspace's crates (`ARCHITECTURE.md`).

use std::collections::BTreeSet;

use crate::metadata::{Dependency, Metadata, Package};

/// Where [`ARROWS`] is.
const TABLE: &str = "xtask/src/lint/arrows.rs";

/// Each crate with those it may use; what these may use, it may use too.
const ARROWS: &[(&str, &[&str])] = &[
    ("traceroute-wire", &[]),
    ("traceroute-core", &["traceroute-wire"]),
    ("traceroute-icmp", &["traceroute-core"]),
    ("traceroute-udp", &["traceroute-core"]),
    ("traceroute-tcp", &["traceroute-core"]),
    ("traceroute-sack", &["traceroute-core"]),
    ("datadog-driver-sys", &[]),
    ("traceroute-packets", &["traceroute-core", "datadog-driver-sys"]),
    (
        "traceroute",
        &["traceroute-icmp", "traceroute-udp", "traceroute-tcp", "traceroute-sack", "traceroute-packets"],
    ),
    ("traceroute-server", &["traceroute"]),
    ("traceroute-cli", &["traceroute"]),
    (FOR_TESTS, &["traceroute-core"]),
];

/// Every crate may use this one, but only in its tests.
const FOR_TESTS: &str = "traceroute-testnet";

/// These may use every crate; no crate may use them.
const FREE: &[&str] = &["xtask", "xtask-bench", "xtask-soak", "tests", "fuzz"];

/// One line for each dependency that is not allowed and each crate that is not in the table.
pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let guarded = metadata.packages.iter().filter(|package| !FREE.contains(&package.name.as_str()));
    guarded.flat_map(|package| violations_of(package, metadata)).collect()
}

fn violations_of(package: &Package, metadata: &Metadata) -> Vec<String> {
    let name = &package.name;
    let Some(allowed) = allowed(name) else {
        return vec![format!("{name} is not in the table of arrows: add it to {TABLE}")];
    };
    let own = package.dependencies.iter().filter(|dependency| metadata.has(&dependency.name));
    let forbidden = own.filter(|dependency| !is_allowed(dependency, &allowed));
    forbidden
        .map(|Dependency { name: used, .. }| {
            let only_in_tests = if used == FOR_TESTS { " outside its tests" } else { "" };
            format!("{name} may not depend on {used}{only_in_tests}; allowed: {}", listed(&allowed))
        })
        .collect()
}

fn is_allowed(dependency: &Dependency, allowed: &BTreeSet<&str>) -> bool {
    allowed.contains(dependency.name.as_str()) || (dependency.name == FOR_TESTS && dependency.is_for_tests())
}

/// All that a crate may use, directly or not; `None` for a crate that the table does not know.
fn allowed(name: &str) -> Option<BTreeSet<&'static str>> {
    let (_, direct) = ARROWS.iter().find(|(known, _)| *known == name)?;
    let indirect = direct.iter().filter_map(|used| allowed(used)).flatten();
    Some(direct.iter().copied().chain(indirect).collect())
}

fn listed(names: &BTreeSet<&str>) -> String {
    if names.is_empty() {
        return "none of the workspace".into();
    }
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::workspace;

    const METHODS: [&str; 4] = ["traceroute-icmp", "traceroute-udp", "traceroute-tcp", "traceroute-sack"];

    /// The violations of one package in a workspace that has all crates.
    fn found(name: &str, dependencies: &[&str]) -> Vec<String> {
        let mut packages: Vec<(&str, &[&str])> = ARROWS.iter().map(|&(known, _)| (known, &[][..])).collect();
        packages.extend(FREE.iter().map(|&free| (free, &[][..])));
        packages.retain(|&(known, _)| known != name);
        packages.push((name, dependencies));
        violations(&workspace(&packages))
    }

    #[test]
    fn the_house_as_designed_has_no_violation() {
        for &(name, direct) in ARROWS {
            assert_eq!(found(name, direct), [""; 0]);
        }
        let everything =
            ["traceroute-wire", "traceroute-core", "traceroute-udp", "traceroute-packets", "serde_json"];
        assert_eq!(found("traceroute-cli", &everything), [""; 0]);
    }

    #[test]
    fn an_arrow_in_the_wrong_direction_is_found() {
        assert_eq!(
            found("traceroute-core", &["traceroute-wire", "traceroute-packets"]),
            ["traceroute-core may not depend on traceroute-packets; allowed: traceroute-wire"]
        );
        assert_eq!(
            found("traceroute-wire", &["traceroute-core"]),
            ["traceroute-wire may not depend on traceroute-core; allowed: none of the workspace"]
        );
        assert_eq!(found("traceroute-packets", &["traceroute", "traceroute-udp"]).len(), 2);
        assert_eq!(found("traceroute-server", &["traceroute-cli"]).len(), 1);
    }

    #[test]
    fn methods_do_not_know_each_other_even_in_tests() {
        for method in METHODS {
            for other in METHODS.into_iter().filter(|&other| other != method) {
                for dependency in [other.to_owned(), format!("dev:{other}")] {
                    assert_eq!(
                        found(method, &[&dependency]),
                        [format!(
                            "{method} may not depend on {other}; allowed: traceroute-core, traceroute-wire"
                        )]
                    );
                }
            }
        }
    }

    #[test]
    fn the_test_network_is_for_tests() {
        assert_eq!(found("traceroute-udp", &["dev:traceroute-testnet"]), [""; 0]);
        assert_eq!(
            found("traceroute-udp", &["traceroute-testnet"]),
            ["traceroute-udp may not depend on traceroute-testnet outside its tests; \
              allowed: traceroute-core, traceroute-wire"]
        );
        assert_eq!(found("traceroute-testnet", &["traceroute-packets"]).len(), 1);
    }

    #[test]
    fn developer_packages_use_any_crate_and_are_used_by_none() {
        for free in FREE.iter().copied() {
            assert_eq!(found(free, &["traceroute-testnet", "traceroute-udp", "traceroute-icmp"]), [""; 0]);
            assert_eq!(found("traceroute", &[free]).len(), 1);
            assert_eq!(found("traceroute", &[&format!("dev:{free}")]).len(), 1);
        }
    }

    #[test]
    fn an_unknown_crate_has_to_be_added() {
        assert_eq!(
            found("traceroute-quic", &["traceroute-core"]),
            ["traceroute-quic is not in the table of arrows: add it to xtask/src/lint/arrows.rs"]
        );
    }

    #[test]
    fn the_table_knows_every_crate_it_names() {
        for name in ARROWS.iter().flat_map(|(_, direct)| *direct) {
            assert!(allowed(name).is_some(), "{name}");
        }
    }
}
