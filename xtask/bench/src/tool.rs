//! The programs that are compared, and their command lines.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::Error;

const PEER: &str = "traceroute";

/// A program that traces.
#[derive(Clone, Debug)]
pub(crate) enum Tool {
    /// `datadog-traceroute`, at this path.
    Ours(PathBuf),
    /// Debian's `traceroute`.
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Udp,
    Icmp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Tool {
    /// The command line of one trace with one probe for each TTL, without names and end-to-end probes.
    pub(crate) fn trace(&self, method: Method, family: Family, target: IpAddr) -> Vec<OsString> {
        let (program, options) = match self {
            Self::Ours(path) => (path.into(), ours(method)),
            Self::Peer => (PEER.into(), peer(method, family)),
        };
        let options = options.iter().map(OsString::from);
        [program].into_iter().chain(options).chain([target.to_string().into()]).collect()
    }

    /// The command line that only says which version this is.
    pub(crate) fn version(&self) -> [OsString; 2] {
        match self {
            Self::Ours(path) => [path.into(), "version".into()],
            Self::Peer => [PEER.into(), "--version".into()],
        }
    }

    /// The first line of what that says.
    pub(crate) fn name_and_version(&self) -> Result<String, Error> {
        let [program, argument] = self.version();
        let output = Command::new(&program).arg(argument).stdin(Stdio::null()).output();
        let Output { status, stdout, stderr } =
            output.map_err(|source| Error::CannotStart { program: program.display().to_string(), source })?;
        // Debian's says it on standard error.
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            let program = program.display().to_string();
            return Err(Error::Failed { program, status, stderr: said.into_owned() });
        }
        Ok(said.lines().next().unwrap_or_default().trim().to_owned())
    }
}

fn ours(method: Method) -> Vec<&'static str> {
    let method = match method {
        Method::Udp => "udp",
        Method::Icmp => "icmp",
    };
    vec!["-q", "1", "-Q", "0", "-P", method]
}

fn peer(method: Method, family: Family) -> Vec<&'static str> {
    let mut options = vec!["-n", "-q", "1"];
    options.extend((method == Method::Icmp).then_some("-I"));
    options.extend((family == Family::V6).then_some("-6"));
    options
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Installs the peer if it is missing.
pub(crate) fn ensure_peer() -> Result<(), Error> {
    if is_installed() {
        return Ok(());
    }
    eprintln!("bench: Debian's traceroute is missing: installing it with apt-get");
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // Standard output is the table's.
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.stdout(io::stderr()).status()
    };
    // A fresh system knows no packages; should this fail, they may be known already.
    let _ = apt_get(&["update"]);
    let reason = match apt_get(&["install", "--yes", "--no-install-recommends", PEER]) {
        Err(error) => format!("cannot start apt-get: {error}"),
        Ok(status) if !status.success() => status.to_string(),
        Ok(_) if is_installed() => return Ok(()),
        Ok(_) => "another program of that name is before it in PATH".to_owned(),
    };
    Err(Error::NoPeer { reason })
}

/// Whether `traceroute` is the one that Debian calls so, not that of inetutils or busybox.
fn is_installed() -> bool {
    Tool::Peer.name_and_version().is_ok_and(|name| name.starts_with("Modern traceroute for Linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: &Tool, method: Method, family: Family) -> String {
        let target = match family {
            Family::V4 => "192.0.2.1",
            Family::V6 => "2001:db8::1",
        };
        let words = tool.trace(method, family, target.parse().unwrap());
        words.join(&OsString::from(" ")).into_string().unwrap()
    }

    #[test]
    fn both_send_one_probe_for_each_ttl_and_look_up_no_names() {
        let ours = Tool::Ours("/bin/ours".into());
        assert_eq!(line(&ours, Method::Udp, Family::V4), "/bin/ours -q 1 -Q 0 -P udp 192.0.2.1");
        assert_eq!(line(&ours, Method::Icmp, Family::V6), "/bin/ours -q 1 -Q 0 -P icmp 2001:db8::1");
        assert_eq!(line(&Tool::Peer, Method::Udp, Family::V4), "traceroute -n -q 1 192.0.2.1");
        assert_eq!(line(&Tool::Peer, Method::Icmp, Family::V6), "traceroute -n -q 1 -I -6 2001:db8::1");
    }
}
