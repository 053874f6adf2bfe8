//! The system's file of names and addresses.

use std::collections::HashMap;
use std::net::IpAddr;
#[cfg(windows)]
use std::path::Path;
use std::path::PathBuf;

/// The names of addresses, in the order and the spelling of the file. Those of several labels end in the dot of the root, as
/// those from name servers do; single labels as `localhost` are local, and do not.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<IpAddr, Vec<String>>);

impl Hosts {
    /// Reads the system's file; without one there are no names in it.
    pub(super) fn of_system() -> Self {
        std::fs::read(path())
            .map_or_else(|_| Self::default(), |text| Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads lines of an address and its names; a `#` begins a comment (hosts(5)).
    fn parse(text: &str) -> Self {
        let mut hosts = HashMap::<IpAddr, Vec<String>>::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next().and_then(|address| address.split('%').next()?.parse::<IpAddr>().ok());
            let Some(address) = address else { continue };
            let names = hosts.entry(address.to_canonical()).or_default();
            for name in words.map(rooted) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Self(hosts)
    }

    /// All names of an address.
    pub(super) fn names(&self, address: IpAddr) -> Option<&[String]> {
        self.0.get(&address.to_canonical()).map(Vec::as_slice).filter(|names| !names.is_empty())
    }
}

/// A name of several labels with the dot of the root.
fn rooted(name: &str) -> String {
    let dot = if name.contains('.') && !name.ends_with('.') { "." } else { "" };
    format!("{name}{dot}")
}

#[cfg(windows)]
fn path() -> PathBuf {
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    Path::new(&root).join(r"System32\drivers\etc\hosts")
}

#[cfg(not(windows))]
fn path() -> PathBuf {
    "/etc/hosts".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_an_address_and_its_names() {
        let hosts = Hosts::parse(
            "# a comment\n\n192.0.2.1\trouter.example. Router router.example # of the lab\n\
             \t192.0.2.2 \tb #c\r\n192.0.2.1 again\n192.0.2.3\nnonsense here\n2001:DB8::1 six\n\
             fe80::1%lo0 link\n::ffff:192.0.2.4 mapped\n256.0.0.1 none\n#192.0.2.5 hidden",
        );
        let names =
            |address: &str| hosts.names(address.parse().expect("an address")).unwrap_or_default().join(" ");
        assert_eq!(names("192.0.2.1"), "router.example. Router again");
        assert_eq!(names("192.0.2.2"), "b");
        assert_eq!(names("2001:db8::1"), "six");
        assert_eq!(names("fe80::1"), "link");
        assert_eq!(names("192.0.2.4"), "mapped");
        for without in ["192.0.2.3", "192.0.2.5", "192.0.2.9"] {
            assert!(hosts.names(without.parse().expect("an address")).is_none(), "{without}");
        }
    }
}
