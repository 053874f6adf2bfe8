//! The programs that are compared, and their command lines.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A program that traces.
#[derive(Clone, Debug)]
pub(crate) enum Tool {
    /// `datadog-traceroute`, at this path.
    Ours(PathBuf),
    /// Modern traceroute for Linux, which Debian calls `traceroute`.
    Traceroute,
    Mtr,
    Scamper,
}

/// The peers: each program with the Debian package that has it, and what it calls itself.
pub(crate) const PEERS: [(Tool, &str, &str); 3] = [
    (Tool::Traceroute, "traceroute", "Modern traceroute for Linux"),
    (Tool::Mtr, "mtr-tiny", "mtr "),
    (Tool::Scamper, "scamper", "scamper version"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    Udp,
    Icmp,
    TcpSyn,
    /// Peers have nothing like it and send SYN instead.
    TcpSack,
    /// SACK, or SYN where that does not work.
    TcpPreferSack,
}

/// The port that TCP probes go to, which is open wherever nothing else is said.
pub(crate) const TCP_PORT: u16 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Tool {
    /// The command line of one trace with one probe for each TTL, without names and end-to-end probes.
    pub(crate) fn trace(&self, method: Method, family: Family, target: IpAddr) -> Vec<OsString> {
        let target = target.to_string();
        let options = match self {
            Self::Ours(_) => ours(method),
            Self::Traceroute => traceroute(method, family),
            Self::Mtr => mtr(method, family),
            Self::Scamper => return self.scamper(method, target),
        };
        let options = options.iter().map(OsString::from);
        [self.program()].into_iter().chain(options).chain([target.into()]).collect()
    }

    fn scamper(&self, method: Method, target: String) -> Vec<OsString> {
        // It writes TCP probes to the link itself otherwise, and asks for the neighbour's hardware address first.
        let (raw, trace): (&[_], _) = match method {
            Method::Udp => (&[], "trace -P udp-paris -q 1"),
            Method::Icmp => (&[], "trace -P icmp-paris -q 1"),
            Method::TcpSyn | Method::TcpSack | Method::TcpPreferSack => {
                (&["-O", "rawtcp"], "trace -P tcp -d 80 -q 1")
            }
        };
        // It paces itself to 20 probes a second otherwise.
        let options = [&["-p", "10000"], raw, &["-c", trace, "-i"]].concat();
        let options = options.into_iter().map(OsString::from);
        [self.program()].into_iter().chain(options).chain([target.into()]).collect()
    }

    fn program(&self) -> OsString {
        match self {
            Self::Ours(path) => path.into(),
            Self::Traceroute => "traceroute".into(),
            Self::Mtr => "mtr".into(),
            Self::Scamper => "scamper".into(),
        }
    }

    /// The command line that only says which version this is.
    pub(crate) fn version(&self) -> [OsString; 2] {
        let argument = match self {
            Self::Ours(_) => "version",
            Self::Traceroute | Self::Mtr => "--version",
            Self::Scamper => "-v",
        };
        [self.program(), argument.into()]
    }

    /// The first line of what that says.
    pub(crate) fn name_and_version(&self) -> Result<String, Error> {
        let [program, argument] = self.version();
        let output = Command::new(&program).arg(argument).stdin(Stdio::null()).output();
        let Output { status, stdout, stderr } =
            output.map_err(|source| Error::CannotStart { program: program.display().to_string(), source })?;
        // Some say it on standard error, and scamper fails when it has said it.
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said);
        match said.lines().next() {
            Some(line) => Ok(line.trim().to_owned()),
            None => {
                Err(Error::Failed { program: program.display().to_string(), status, stderr: String::new() })
            }
        }
    }
}

fn ours(method: Method) -> Vec<&'static str> {
    let method: &[_] = match method {
        Method::Udp => &["udp"],
        Method::Icmp => &["icmp"],
        Method::TcpSyn => &["tcp", "-p", "80"],
        Method::TcpSack => &["tcp", "--tcp-method", "sack", "-p", "80"],
        Method::TcpPreferSack => &["tcp", "--tcp-method", "prefer_sack", "-p", "80"],
    };
    [&["-q", "1", "-Q", "0", "-P"], method].concat()
}

fn traceroute(method: Method, family: Family) -> Vec<&'static str> {
    let mut options = vec!["-n", "-q", "1"];
    options.extend_from_slice(match method {
        Method::Udp => &[],
        Method::Icmp => &["-I"],
        Method::TcpSyn | Method::TcpSack | Method::TcpPreferSack => &["-T", "-p", "80"],
    });
    options.extend((family == Family::V6).then_some("-6"));
    options
}

/// One report of one round, which waits for late answers for a tenth of a second instead of five.
fn mtr(method: Method, family: Family) -> Vec<&'static str> {
    let mut options = vec!["-n", "-r", "-c", "1", "-G", "0.1"];
    options.extend_from_slice(match method {
        Method::Udp => &["-u"],
        Method::Icmp => &[],
        Method::TcpSyn | Method::TcpSack | Method::TcpPreferSack => &["-T", "-P", "80"],
    });
    options.push(match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    });
    options
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Icmp => "ICMP",
            Self::TcpSyn => "TCP SYN",
            Self::TcpSack => "TCP SACK",
            Self::TcpPreferSack => "TCP prefer_sack",
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

/// Installs the peers that are missing.
pub(crate) fn ensure_peers() -> Result<(), Error> {
    PEERS.iter().try_for_each(|(tool, package, name)| ensure(package, || tool.is_called(name)))?;
    ensure("tcpdump", || Command::new("tcpdump").arg("--version").output().is_ok())
}

/// Installs a Debian package if what it has is not `there`.
fn ensure(package: &'static str, there: impl Fn() -> bool) -> Result<(), Error> {
    if there() {
        return Ok(());
    }
    eprintln!("bench: Debian's {package} is missing: installing it with apt-get");
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // Standard output is the table's.
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command.stdout(io::stderr()).status()
    };
    // A fresh system knows no packages; should this fail, they may be known already.
    let _ = apt_get(&["update"]);
    let reason = match apt_get(&["install", "--yes", "--no-install-recommends", package]) {
        Err(error) => format!("cannot start apt-get: {error}"),
        Ok(status) if !status.success() => status.to_string(),
        Ok(_) if there() => return Ok(()),
        Ok(_) => "another program of that name is before it in PATH".to_owned(),
    };
    Err(Error::NoPeer { package, reason })
}

impl Tool {
    /// Whether this is the program that is meant: there is a `traceroute` of inetutils and one of busybox too.
    fn is_called(&self, name: &str) -> bool {
        self.name_and_version().is_ok_and(|said| said.starts_with(name))
    }
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
    fn all_send_one_probe_for_each_ttl_and_look_up_no_names() {
        let ours = Tool::Ours("/bin/ours".into());
        for (tool, method, family, expected) in [
            (&ours, Method::Udp, Family::V4, "/bin/ours -q 1 -Q 0 -P udp 192.0.2.1"),
            (&ours, Method::Icmp, Family::V6, "/bin/ours -q 1 -Q 0 -P icmp 2001:db8::1"),
            (&Tool::Traceroute, Method::Udp, Family::V4, "traceroute -n -q 1 192.0.2.1"),
            (&Tool::Traceroute, Method::Icmp, Family::V6, "traceroute -n -q 1 -I -6 2001:db8::1"),
            (&Tool::Mtr, Method::Udp, Family::V4, "mtr -n -r -c 1 -G 0.1 -u -4 192.0.2.1"),
            (&Tool::Mtr, Method::Icmp, Family::V6, "mtr -n -r -c 1 -G 0.1 -6 2001:db8::1"),
            (
                &Tool::Scamper,
                Method::Icmp,
                Family::V4,
                "scamper -p 10000 -c trace -P icmp-paris -q 1 -i 192.0.2.1",
            ),
            (&ours, Method::TcpSyn, Family::V6, "/bin/ours -q 1 -Q 0 -P tcp -p 80 2001:db8::1"),
            (
                &ours,
                Method::TcpSack,
                Family::V4,
                "/bin/ours -q 1 -Q 0 -P tcp --tcp-method sack -p 80 192.0.2.1",
            ),
            (
                &ours,
                Method::TcpPreferSack,
                Family::V6,
                "/bin/ours -q 1 -Q 0 -P tcp --tcp-method prefer_sack -p 80 2001:db8::1",
            ),
            (&Tool::Traceroute, Method::TcpSyn, Family::V6, "traceroute -n -q 1 -T -p 80 -6 2001:db8::1"),
            (&Tool::Mtr, Method::TcpSyn, Family::V4, "mtr -n -r -c 1 -G 0.1 -T -P 80 -4 192.0.2.1"),
            (
                &Tool::Scamper,
                Method::TcpSyn,
                Family::V4,
                "scamper -p 10000 -O rawtcp -c trace -P tcp -d 80 -q 1 -i 192.0.2.1",
            ),
        ] {
            assert_eq!(line(tool, method, family), expected);
        }
    }

    #[test]
    fn sack_is_compared_with_what_comes_next_to_it() {
        for family in [Family::V4, Family::V6] {
            for peer in [Tool::Traceroute, Tool::Mtr, Tool::Scamper] {
                for method in [Method::TcpSack, Method::TcpPreferSack] {
                    assert_eq!(line(&peer, method, family), line(&peer, Method::TcpSyn, family));
                }
            }
        }
    }

    #[test]
    fn every_tcp_probe_goes_to_the_port() {
        let port = TCP_PORT.to_string();
        for tool in [Tool::Ours("ours".into()), Tool::Traceroute, Tool::Mtr, Tool::Scamper] {
            for method in [Method::TcpSyn, Method::TcpSack, Method::TcpPreferSack] {
                let line = line(&tool, method, Family::V4);
                assert!(line.split(' ').any(|word| word == port), "{line}");
            }
        }
    }
}
