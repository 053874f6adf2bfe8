//! Hosts that cannot send as they should: no permission, no route, no address, no interface.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::time::Duration;

use common::{METHODS, Outcome, PROGRAM, cases, installed, path, program, start, targets, trace};
use traceroute_testnet::kernel::{Chain, Namespace, Scratch, TcpServer};

/// Every failure here is known before the first of the end-to-end probes, which would take 49 s, is over.
#[track_caller]
fn assert_fails_at_once(outcome: &Outcome, parts: &[&str]) {
    outcome.error_naming(parts);
    assert!(outcome.took < Duration::from_secs(1), "{:?}", outcome.took);
}

#[test]
fn a_firewall_of_the_own_host_is_named() {
    let chain = Chain::builder().routers(1).build().unwrap();
    for (method, target) in cases(&chain) {
        let rule = "table inet test {\nchain out {\ntype filter hook output priority 0\nudp dport 33434 drop\ntcp dport 33434 drop\n\
                    icmp type echo-request drop\nicmpv6 type echo-request drop\n}\n}\n";
        chain.client().nft(&format!("add table inet test\ndelete table inet test\n{rule}")).unwrap();
        let outcome = trace(chain.client(), &["-P", method, &target.to_string()]);
        assert_fails_at_once(&outcome, &["failed to run traceroute", "firewall", &target.to_string()]);
    }
}

#[test]
fn no_route_is_named() {
    let namespace = Namespace::new().unwrap();
    for method in METHODS {
        for target in ["203.0.113.9", "2001:db8::9"] {
            let outcome = trace(&namespace, &["-P", method, target]);
            assert_fails_at_once(&outcome, &["no route", target, "network is unreachable"]);
        }
    }
}

#[test]
fn a_route_that_says_unreachable_or_prohibited_is_named() {
    let namespace = Namespace::new().unwrap();
    namespace
        .ip("route add unreachable 203.0.113.1\nroute add prohibit 203.0.113.2\n\
             route add unreachable 2001:db8::1\nroute add prohibit 2001:db8::2\n")
        .unwrap();
    for method in METHODS {
        for (target, reason) in [
            ("203.0.113.1", "host is unreachable"),
            ("2001:db8::1", "host is unreachable"),
            ("203.0.113.2", "not permitted"),
            ("2001:db8::2", "not permitted"),
        ] {
            assert_fails_at_once(&trace(&namespace, &["-P", method, target]), &[target, reason]);
        }
    }
}

#[test]
fn a_host_without_ipv6_addresses_says_so_and_traces_ipv4() {
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.client().sysctl(&[("net.ipv6.conf.all.disable_ipv6", "1")]).unwrap();
    let [v4, v6] = targets(&chain);
    for method in METHODS {
        let outcome = trace(chain.client(), &["-P", method, &v6.to_string()]);
        outcome.error_naming(&[&v6.to_string()]);
        let reason = outcome.error();
        assert!(reason.contains("no route") || reason.contains("no IPv6 address"), "{reason}");
        assert!(outcome.took < Duration::from_secs(1));
        trace(chain.client(), &["-P", method, "-Q1", &v4.to_string()])
            .report()
            .assert_reached(3, &path(&chain, v4));
    }
}

#[test]
fn an_interface_without_ipv6_is_no_way_to_ipv6_targets() {
    let chain = Chain::builder().routers(1).build().unwrap();
    chain.client().sysctl(&[("net.ipv6.conf.right.disable_ipv6", "1")]).unwrap();
    let [v4, v6] = targets(&chain);
    for method in METHODS {
        let outcome = trace(chain.client(), &["-P", method, &v6.to_string()]);
        assert_fails_at_once(&outcome, &["no route", &v6.to_string()]);
        trace(chain.client(), &["-P", method, "-Q1", &v4.to_string()])
            .report()
            .assert_reached(3, &path(&chain, v4));
    }
}

#[test]
fn a_host_without_loopback_traces_all_the_same() {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.client().ip("link set lo down").unwrap();
    for (method, target) in cases(&chain) {
        let report = trace(chain.client(), &["-P", method, "-Q1", &target.to_string()]).report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(1, 1);
    }
}

#[test]
fn where_loopback_never_was_up_its_address_is_no_target() {
    let namespace = Namespace::new().unwrap();
    for method in METHODS {
        for (target, reason) in [("127.0.0.1", "no route"), ("::1", "no IPv6 address")] {
            let mut command = namespace.command("unshare");
            command.args(["--net", PROGRAM, "-P", method, target]);
            assert_fails_at_once(&start(&mut command).wait(), &[target, reason]);
        }
    }
}

const NOBODY: [&str; 6] = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"];

#[test]
fn without_the_capability_the_way_to_grant_it_is_said() {
    let (namespace, scratch) = (Namespace::new().unwrap(), Scratch::new("nobody"));
    for arguments in [["-Pudp", "127.0.0.1"], ["-Picmp", "127.0.0.1"], ["-Pudp", "::1"], ["-Picmp", "::1"]] {
        let mut command = namespace.command("setpriv");
        command.args(NOBODY).arg("--inh-caps=-all").arg(installed(&scratch)).args(arguments);
        let outcome = start(&mut command).wait();
        assert_fails_at_once(&outcome, &["CAP_NET_RAW", "setcap cap_net_raw+ep", "root"]);
    }
}

#[test]
fn the_one_capability_that_is_asked_for_is_enough() {
    let (chain, scratch) = (Chain::builder().routers(1).build().unwrap(), Scratch::new("capable"));
    for (method, target) in cases(&chain) {
        let mut command = chain.client().command("setpriv");
        command.args(NOBODY).args(["--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw"]);
        command.arg(installed(&scratch)).args(["-P", method, "-Q1", &target.to_string()]);
        start(&mut command).wait().report().assert_reached(3, &path(&chain, target));
    }
}

/// The target's address as its hardware address makes it (RFC 4291, appendix A).
const LINK_LOCAL: &str = "fe80::ff:fe00:2";

/// A client and a target that has its link-local address, which it takes a moment after the link is up.
fn link_local_neighbours() -> Chain {
    let chain = Chain::builder().routers(0).build().unwrap();
    let mut ping = chain.client().command("ping");
    let ping = ping.args(["-n", "-c1", "-i0.01", "-w5", &format!("{LINK_LOCAL}%right")]).output().unwrap();
    assert!(ping.status.success(), "{ping:?}");
    chain
}

#[test]
fn a_link_local_target_is_traced_through_its_interface() {
    let chain = link_local_neighbours();
    for method in METHODS {
        for target in [format!("{LINK_LOCAL}%right"), format!("[{LINK_LOCAL}%right]:33434")] {
            let report = trace(chain.client(), &["-P", method, "-Q1", &target]).report();
            report.assert_reached(3, &[LINK_LOCAL.to_owned()]);
            report.assert_end_to_end(1, 1);
            assert_eq!(report.0["destination"]["hostname"], target);
        }
    }
}

#[test]
fn a_link_local_target_without_its_interface_is_refused_with_the_reason() {
    let chain = link_local_neighbours();
    for method in METHODS {
        let outcome = trace(chain.client(), &["-P", method, LINK_LOCAL]);
        assert_fails_at_once(&outcome, &[LINK_LOCAL, "link-local", "interface", "%"]);
        let outcome = trace(chain.client(), &["-P", method, &format!("{LINK_LOCAL}%nowhere")]);
        assert_fails_at_once(&outcome, &["invalid target", "no interface", "nowhere"]);
    }
}

#[test]
fn a_link_local_target_may_name_its_interface_by_number_and_an_unknown_number_is_named() {
    let chain = link_local_neighbours();
    let index = chain.client().run(|| fs::read_to_string("/proc/thread-self/net/dev_snmp6/right")).unwrap();
    let index = index.lines().find_map(|line| line.strip_prefix("ifIndex")).unwrap().trim();
    for method in METHODS {
        let arguments = ["-P", method, "-q1", "-Q0", &format!("{LINK_LOCAL}%{index}")];
        trace(chain.client(), &arguments).report().assert_reached(1, &[LINK_LOCAL.to_owned()]);
        for unknown in ["4711", "0"] {
            let outcome = trace(chain.client(), &["-P", method, &format!("{LINK_LOCAL}%{unknown}")]);
            assert_fails_at_once(&outcome, &["no interface", unknown]);
        }
    }
}

#[test]
fn exhausted_descriptors_are_an_error_and_never_a_panic() {
    let namespace = Namespace::new().unwrap();
    for limit in 4..=12 {
        let mut command = namespace.command("prlimit");
        let limit = format!("--nofile={limit}:{limit}");
        command.args([&limit, "--", PROGRAM, "-q1", "-Q0", "127.0.0.1"]);
        assert_fails_at_once(&start(&mut command).wait(), &["ulimit -n"]);
    }
    let mut command = namespace.command("prlimit");
    command.args(["--nofile=60:60", "--", PROGRAM, "-q200", "-Q0", "127.0.0.1"]);
    let report = start(&mut command).wait().report();
    let warnings = report.0["warnings"].to_string();
    assert!(warnings.contains("of 200 runs failed") && warnings.contains("ulimit -n"), "{warnings}");
}

#[test]
fn a_broadcast_address_is_no_host() {
    let chain = Chain::builder().routers(1).build().unwrap();
    for method in METHODS {
        let outcome = trace(chain.client(), &["-P", method, "10.71.0.255"]);
        assert_fails_at_once(&outcome, &["10.71.0.255 is a broadcast address"]);
    }
}

#[test]
fn without_runs_a_refused_probe_fails_the_request_at_once() {
    let namespace = Namespace::new().unwrap();
    namespace
        .nft("table ip t { chain c { type filter hook output priority 0; ip daddr 127.0.0.5 drop; }; }")
        .unwrap();
    let mut command = program(&namespace, &["-q0", "-Q50", "127.0.0.5"]);
    assert_fails_at_once(&start(&mut command).wait(), &["127.0.0.5", "firewall"]);
}

#[test]
fn the_source_address_is_that_of_the_protocol_and_port() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let router = chain.router(1).addresses().v4;
    // Probes to port 33434, or 443, go by a table of their own, with a source of its own.
    let script = format!(
        "address add 10.71.0.9/24 dev right\nrule add ipproto udp dport 33434 lookup 100\n\
         rule add ipproto tcp dport 443 lookup 100\nroute add default via {router} src 10.71.0.9 table 100\n"
    );
    chain.client().ip(&script).unwrap();
    let source = |arguments: &[&str]| {
        let target = chain.target().addresses().v4.to_string();
        let report = trace(chain.client(), &[arguments, &["-q1", "-Q0", &target]].concat()).report();
        report.runs()[0]["source"]["ip_address"].clone()
    };
    assert_eq!(source(&[]), "10.71.0.9");
    assert_eq!(source(&["-p", "33435"]), "10.71.0.1");
    assert_eq!(source(&["-P", "icmp"]), "10.71.0.1");
    assert_eq!(source(&["-P", "tcp", "-p", "443"]), "10.71.0.9");
    assert_eq!(source(&["-P", "tcp", "-p", "444"]), "10.71.0.1");
    let _server = TcpServer::listen(chain.target(), 443).unwrap();
    assert_eq!(source(&["-P", "tcp", "-p", "443", "--tcp-method", "sack"]), "10.71.0.9");
}
