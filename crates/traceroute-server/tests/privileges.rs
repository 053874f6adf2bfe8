//! What the service may do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::process::Command;

use common::{PROGRAM, Server, refusal};
use traceroute_testnet::kernel::Namespace;

/// The number of `CAP_NET_RAW` as a set (capabilities(7)).
const NET_RAW: u64 = 1 << 13;

/// Every thread, since capabilities are a thread's; and what the service does still works, at a port that needed more.
#[test]
fn every_thread_keeps_the_capability_for_raw_sockets_and_no_other() {
    let namespace = Namespace::new().unwrap();
    namespace.sysctl(&[("net.ipv4.ip_unprivileged_port_start", "3766")]).unwrap();
    let server = Server::start(&namespace, &["--addr", "127.0.0.1:3765"]);
    let result = server.get("/traceroute?target=127.0.0.1&e2e-queries=1").result();
    assert_eq!(result["traceroute"]["runs"].as_array().unwrap().len(), 3);
    for thread in fs::read_dir(server.proc().join("task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        for (set, capabilities) in [
            ("CapEff:", NET_RAW),
            ("CapPrm:", NET_RAW),
            ("CapBnd:", NET_RAW),
            ("CapInh:", 0),
            ("CapAmb:", 0),
            ("NoNewPrivs:", 1),
        ] {
            assert_eq!(field(set), capabilities, "{set} of {status}");
        }
    }
}

/// The capture holds the answers of a thousand traces, whatever the limit of the host: that takes a capability which the
/// service has given up by the time it captures.
#[test]
fn the_captures_buffer_is_as_large_as_it_is_to_be() {
    let namespace = Namespace::new().unwrap();
    let server = Server::start(&namespace, &[]);
    let mut command: Command = namespace.command("ss");
    let sockets = command.args(["--packet", "--memory", "--numeric"]).output().unwrap();
    let sockets = String::from_utf8(sockets.stdout).unwrap();
    let buffer = sockets.split("skmem:").nth(1).and_then(|memory| memory.split("rb").nth(1));
    let bytes = buffer.and_then(|buffer| buffer.split(',').next()?.parse::<u32>().ok());
    assert_eq!(bytes, Some(2 * (8 << 20)), "{sockets}");
    assert!(!server.log().contains("buffer is small"), "{}", server.log());
}

#[test]
fn where_it_may_not_trace_it_says_what_grants_the_permission_to_it() {
    let namespace = Namespace::new().unwrap();
    let mut command = namespace.command("setpriv");
    command.args(["--bounding-set", "-net_raw", PROGRAM]);
    let (status, said) = refusal(command);
    assert_eq!((status, said.lines().count()), (Some(1), 1), "{said}");
    let grant = format!("`sudo setcap cap_net_raw+ep '{PROGRAM}'`");
    for part in ["not permitted", "CAP_NET_RAW", &grant] {
        assert!(said.contains(part), "{said}");
    }
}
