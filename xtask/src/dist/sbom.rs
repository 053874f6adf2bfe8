//! The parts list of the programs, as `CycloneDX` 1.5 (<https://cyclonedx.org/docs/1.5/json/>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::process::{cargo, output};

/// The part of `cargo metadata` that a list needs.
#[derive(Debug, Deserialize)]
struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Where it is from; nothing for the workspace's own.
    source: Option<String>,
    targets: Vec<Target>,
}

/// What is built of a package.
#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Package {
    /// Whether it runs when others are compiled, as macros that derive something do.
    fn is_for_the_compiler(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing for what goes into the program.
    kind: Option<String>,
}

/// What goes into some packages when they are built for a target: without what only tests, build scripts and the compiler use.
pub(super) fn describe<const N: usize>(
    metadata: &Metadata,
    target: &str,
    roots: [&str; N],
) -> Result<Vec<u8>, Failure> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let graph = output(&mut cargo(arguments))?;
    let graph: Graph = serde_json::from_slice(&graph).map_err(Failure::Metadata)?;
    let path = metadata.workspace_root.join("Cargo.lock");
    let lock = fs::read_to_string(&path).map_err(|error| Failure::CannotRead { path, error })?;
    let list = list(&graph, &checksums(&lock), roots, target);
    serde_json::to_vec_pretty(&list).map_err(Failure::Metadata)
}

fn list<const N: usize>(
    graph: &Graph,
    checksums: &BTreeMap<(&str, &str), &str>,
    roots: [&str; N],
    target: &str,
) -> Value {
    let packages: BTreeMap<&str, &Package> =
        graph.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let linked = |id: &&str| !packages[id].is_for_the_compiler();
    let nodes = graph.resolve.nodes.iter();
    let uses: BTreeMap<&str, Vec<&str>> =
        nodes.map(|node| (node.id.as_str(), parts(node).into_iter().filter(linked).collect())).collect();
    let is_root = |package: &&Package| package.source.is_none() && roots.contains(&package.name.as_str());
    let mut waiting: Vec<&str> =
        graph.packages.iter().filter(is_root).map(|package| package.id.as_str()).collect();
    let version = waiting.first().map(|id| packages[id].version.as_str()).unwrap_or_default();
    let programs: BTreeSet<String> = waiting.iter().map(|id| reference(packages[id])).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            waiting.extend(&uses[id]);
        }
    }
    let mut parts: Vec<&Package> = found.iter().map(|id| packages[id]).collect();
    parts.sort_by_key(|package| (&package.name, &package.version));
    let component = |package: &&Package| {
        let key = (package.name.as_str(), package.version.as_str());
        let mut component = json!({
            "type": "library",
            "bom-ref": reference(package),
            "name": package.name,
            "version": package.version,
        });
        if let Some(license) = &package.license {
            // Of old, `/` was cargo's OR.
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if package.source.is_some() {
            component["purl"] = reference(package).into();
        }
        if let Some(checksum) = checksums.get(&key) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    };
    let dependency = |package: &&Package| {
        let uses = uses[package.id.as_str()].iter();
        let uses: BTreeSet<String> = uses.map(|id| reference(packages[id])).collect();
        json!({ "ref": reference(package), "dependsOn": uses })
    };
    let whole = json!({ "ref": "datadog-traceroute", "dependsOn": programs });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "datadog-traceroute",
                "name": "datadog-traceroute",
                "version": version,
            },
            "properties": [{ "name": "target", "value": target }],
        },
        "components": parts.iter().map(component).collect::<Vec<_>>(),
        "dependencies": std::iter::once(whole).chain(parts.iter().map(dependency)).collect::<Vec<_>>(),
    })
}

/// The packages that become part of what uses this one.
fn parts(node: &Node) -> Vec<&str> {
    let is_part = |edge: &&Edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(is_part).map(|edge| edge.pkg.as_str()).collect()
}

/// A package URL (<https://github.com/package-url/purl-spec>).
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// The SHA-256 of each package by name and version, as `Cargo.lock` has them.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let entry = |text| {
        let value = |key: &str| {
            let mut lines = str::lines(text);
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            value.and_then(|value| value.strip_suffix('"'))
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    lock.split("[[package]]").filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = r#"{
        "packages": [
            {"id": "own", "name": "program", "version": "1.0.0", "license": "Apache-2.0", "source": null, "targets": [{"kind": ["bin"]}]},
            {"id": "a", "name": "a", "version": "2.0.0", "license": "MIT/Apache-2.0", "source": "registry",
             "targets": [{"kind": ["lib"]}]},
            {"id": "b", "name": "b", "version": "3.0.0", "license": null, "source": "registry", "targets": [{"kind": ["lib"]}]},
            {"id": "test", "name": "test", "version": "4.0.0", "license": "MIT", "source": "registry", "targets": []},
            {"id": "macro", "name": "macro", "version": "5.0.0", "license": "MIT", "source": "registry",
             "targets": [{"kind": ["proc-macro"]}]}
        ],
        "resolve": {"nodes": [
            {"id": "own", "deps": [
                {"pkg": "a", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                {"pkg": "test", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}
            ]},
            {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}, {"pkg": "macro", "dep_kinds": [{"kind": null}]}]},
            {"id": "macro", "deps": [{"pkg": "test", "dep_kinds": [{"kind": null}]}]},
            {"id": "b", "deps": []},
            {"id": "test", "deps": []}
        ]}
    }"#;
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\nsource = \"registry\"\nchecksum = \"00ff\"\n\
                        \n[[package]]\nname = \"program\"\nversion = \"1.0.0\"\n";

    #[test]
    fn what_goes_into_the_program_is_listed_and_nothing_else() {
        let graph: Graph = serde_json::from_str(GRAPH).unwrap();
        let list = list(&graph, &checksums(LOCK), ["program"], "some-target");
        let names: Vec<_> = list["components"].as_array().unwrap().iter().map(|part| &part["name"]).collect();
        assert_eq!(names, ["a", "b", "program"]);
        let a = &list["components"][0];
        assert_eq!(a["purl"], "pkg:cargo/a@2.0.0");
        assert_eq!(a["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(a["hashes"][0]["content"], "00ff");
        assert_eq!(list["components"][2].get("purl"), None);
        assert_eq!(list["dependencies"][0]["dependsOn"], json!(["pkg:cargo/program@1.0.0"]));
        assert_eq!(list["dependencies"][1]["dependsOn"], json!(["pkg:cargo/b@3.0.0"]));
        assert_eq!(list["metadata"]["component"]["version"], "1.0.0");
    }
}
