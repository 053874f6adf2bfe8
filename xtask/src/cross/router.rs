//! A network of three namespaces: a client, one router, a target.

use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::process::run;

/// The router's address toward the client, and the target's.
pub(super) const ROUTER: &str = "10.77.0.1";
pub(super) const TARGET: &str = "10.77.1.2";

/// It is there as long as this value.
pub(super) struct Network {
    names: [String; 3],
}

impl Network {
    pub(super) fn make() -> Result<Self, Failure> {
        let name = |role: &str| format!("cross-{role}-{}", std::process::id());
        let network = Self { names: ["client", "router", "target"].map(name) };
        for line in network.script().lines() {
            run(Command::new("ip").args(line.split(' ')))?;
        }
        let forward = ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"];
        run(Command::new("ip").args(["netns", "exec", &network.names[1]]).args(forward))?;
        Ok(network)
    }

    /// A command inside the client.
    pub(super) fn client(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[0], program]);
        command
    }

    /// What `ip` has to do, a line each.
    fn script(&self) -> String {
        let [client, router, target] = &self.names;
        format!(
            "netns add {client}\n\
             netns add {router}\n\
             netns add {target}\n\
             link add right netns {client} type veth peer name left netns {router}\n\
             link add right netns {router} type veth peer name left netns {target}\n\
             -n {client} link set lo up\n\
             -n {client} address add 10.77.0.2/24 dev right\n\
             -n {client} link set right up\n\
             -n {router} address add {ROUTER}/24 dev left\n\
             -n {router} link set left up\n\
             -n {router} address add 10.77.1.1/24 dev right\n\
             -n {router} link set right up\n\
             -n {target} address add {TARGET}/24 dev left\n\
             -n {target} link set left up\n\
             -n {client} route add default via {ROUTER}\n\
             -n {target} route add default via 10.77.1.1\n"
        )
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was never made cannot be removed, which is as good.
            let _ = Command::new("ip").args(["netns", "delete", name]).stderr(Stdio::null()).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_is_made_before_it_is_used() {
        let names = ["a", "b", "c"].map(str::to_owned);
        // Nothing of it is there to be removed in the end.
        let network = std::mem::ManuallyDrop::new(Network { names });
        let script = network.script();
        let mut made = Vec::new();
        for line in script.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words.iter().all(|word| !word.is_empty()), "{line:?}");
            if let ["netns", "add", name] = words[..] {
                made.push(name);
            }
            if let ["-n", name, ..] = words[..] {
                assert!(made.contains(&name), "{line}");
            }
        }
        assert_eq!(made, ["a", "b", "c"]);
    }
}
