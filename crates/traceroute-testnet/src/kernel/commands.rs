//! Configuring a namespace: `ip`, `nft` and /proc/sys/net.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Stdio};

use super::Namespace;
use crate::error::Error;
use crate::sys::interface;

impl Namespace {
    /// Runs a script of iproute2 commands, one a line without the leading `ip`, in one process.
    pub fn ip(&self, script: &str) -> Result<(), Error> {
        self.start_ip(script.to_owned())?.wait()
    }

    /// Loads an nftables script, as `nft -f` reads it.
    pub fn nft(&self, script: &str) -> Result<(), Error> {
        self.start("nft", &["-f", "-"], script.to_owned())?.wait()
    }

    /// Sets kernel parameters of the namespace, named as sysctl(8) names them: `net.ipv4.ip_forward`.
    pub fn sysctl(&self, parameters: &[(&str, &str)]) -> Result<(), Error> {
        self.run(|| {
            parameters.iter().try_for_each(|(name, value)| {
                let path = Path::new("/proc/sys").join(name.replace('.', "/"));
                fs::write(&path, value)
                    .map_err(Error::system(format!("writing {value} to {}", path.display())))
            })
        })
    }

    /// Makes the kernel fill in transport checksums before a packet leaves through an interface.
    ///
    /// By default a veth device leaves them to hardware that it does not have, and captures, and routers' quotes, of
    /// what ordinary sockets send show unfinished ones. Raw sockets are not concerned.
    pub fn disable_checksum_offload(&self, interface: &str) -> Result<(), Error> {
        self.run(|| interface::disable_checksum_offload(interface))
            .map_err(Error::system(format!("switching checksum offload off on {interface}")))
    }

    /// Starts a script of iproute2 commands, so that several namespaces are configured at once.
    pub(super) fn start_ip(&self, script: String) -> Result<Script, Error> {
        self.start("ip", &["-batch", "-"], script)
    }

    fn start(&self, program: &'static str, arguments: &[&str], script: String) -> Result<Script, Error> {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::ProgramMissing { program: program.to_owned() },
                io::ErrorKind::PermissionDenied => {
                    Error::NotPermitted { action: "entering a network namespace" }
                }
                _ => Error::System { action: format!("starting {program}"), source: error },
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends early says why on standard error; the broken pipe is no news.
            let _ = stdin.write_all(script.as_bytes());
        }
        Ok(Script { program, input: script, child })
    }
}

/// A configuration script that is being executed.
pub(super) struct Script {
    program: &'static str,
    input: String,
    child: Child,
}

impl Script {
    pub(super) fn wait(self) -> Result<(), Error> {
        let output =
            self.child.wait_with_output().map_err(Error::system(format!("waiting for {}", self.program)))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::CommandFailed {
            program: self.program.to_owned(),
            input: self.input,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ip_and_nft_refuse_is_reported() {
        let namespace = Namespace::new().unwrap();
        let error = namespace.ip("link set nothing up").unwrap_err().to_string();
        assert!(error.contains("nothing") && error.contains("`ip` failed"), "{error}");
        let error = namespace.nft("bad").unwrap_err().to_string();
        assert!(error.contains("syntax error"), "{error}");
        let error = namespace.sysctl(&[("net.ipv4.no_such", "1")]).unwrap_err().to_string();
        assert!(error.contains("/proc/sys/net/ipv4/no_such"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let namespace = Namespace::new().unwrap();
        let Err(error) = namespace.start("no-such-program", &[], String::new()) else { panic!("it started") };
        assert!(error.to_string().contains("`no-such-program` was not found"), "{error}");
    }

    #[test]
    fn parameters_are_those_of_the_namespace() {
        let namespace = Namespace::new().unwrap();
        namespace.sysctl(&[("net.ipv4.ip_default_ttl", "77")]).unwrap();
        let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
        assert_eq!(namespace.run(read).trim(), "77");
        assert_ne!(read().trim(), "77");
    }
}
