//! Several traces at one time: no answer of one appears in another.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::collections::HashSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use common::{Running, addresses, cases, path, program, silent_at, start, targets, trace};
use etherparse::{Icmpv4Type, PacketBuilder, PacketHeaders, TransportHeader};
use socket2::{Domain, Protocol, Socket, Type};
use traceroute_testnet::kernel::{Chain, Namespace};
use traceroute_testnet::{AddressPlan, Capture};

fn started(namespace: &Namespace, arguments: &[&str]) -> Running {
    start(&mut program(namespace, arguments))
}

#[test]
fn two_processes_with_one_target_find_the_same_path() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let arguments = ["-P", method, "-q3", "-Q2", &target.to_string()];
        let both = [(); 2].map(|()| started(chain.client(), &arguments));
        for outcome in both.map(Running::wait) {
            let report = outcome.report();
            report.assert_reached(3, &path(&chain, target));
            report.assert_end_to_end(2, 2);
        }
    }
}

#[test]
fn of_two_targets_the_dead_one_gets_nothing_of_the_other() {
    let chain = Chain::builder().build().unwrap();
    let dead = AddressPlan::default().host(8, 77);
    // Routers look for the way before they count hops: what is for the dead one, router 8 swallows at every TTL.
    chain
        .router(8)
        .ip(&format!("route add blackhole {}\nroute add blackhole {}\n", dead.v4, dead.v6))
        .unwrap();
    for (method, target) in cases(&chain) {
        let start_toward = |target: IpAddr| {
            let target = target.to_string();
            let arguments = ["-P", method, "-q3", "-Q1", "-m12", "--timeout", "700", &target];
            started(chain.client(), &arguments)
        };
        let both = [target, dead.of_family(target)].map(start_toward);
        let [alive, dead] = both.map(|running| running.wait().report());

        alive.assert_reached(3, &path(&chain, target));
        alive.assert_end_to_end(1, 1);
        let mut expected = path(&chain, target);
        expected.splice(7.., [const { String::new() }; 5]);
        for run in dead.runs() {
            assert_eq!(addresses(run), expected, "{method}");
            assert_eq!(run["reached"], false, "{run}");
        }
        dead.assert_end_to_end(1, 0);
    }
}

#[test]
fn twenty_processes_at_once_are_all_right() {
    let chain = Chain::builder().build().unwrap();
    let cases: Vec<_> = cases(&chain).cycle().take(20).collect();
    let all = cases
        .iter()
        .map(|(method, target)| started(chain.client(), &["-P", method, "-q3", "-Q1", &target.to_string()]));
    for (running, (_, target)) in all.collect::<Vec<_>>().into_iter().zip(&cases) {
        let report = running.wait().report();
        report.assert_reached(3, &path(&chain, *target));
        report.assert_end_to_end(1, 1);
    }
}

/// A second client, linked to the first router, whose translator gives both the same address.
fn second_client(chain: &Chain) -> Namespace {
    let client = Namespace::new().unwrap();
    let router = chain.router(1);
    router
        .ip(&format!("link add second type veth peer name right netns {}", client.path().display()))
        .unwrap();
    router
        .ip("address add 10.72.0.2/24 dev second\naddress add fd00:72::2/64 dev second nodad\nlink set second up\n")
        .unwrap();
    client
        .ip("address add 10.72.0.1/24 dev right\naddress add fd00:72::1/64 dev right nodad\nlink set right up\n\
             route add default via 10.72.0.2\nroute add default via fd00:72::2\n")
        .unwrap();
    // Neighbours and carrier are there once something has come back.
    for router in ["10.72.0.2", "fd00:72::2"] {
        let ping = client.command("ping").args(["-n", "-c1", "-i0.01", "-w5", router]).output().unwrap();
        assert!(ping.status.success(), "{ping:?}");
    }
    router.masquerade().unwrap();
    client
}

#[test]
fn two_hosts_with_the_same_ports_behind_one_translator_find_their_own_paths() {
    let chain = Chain::builder().build().unwrap();
    let second = second_client(&chain);
    let clients: [&Namespace; 2] = [chain.client(), &second];
    for client in clients {
        // Leaves two ports outside of the kernel's own range, so that both hosts take the same two.
        client.sysctl(&[("net.ipv4.ip_local_port_range", "1024 65533")]).unwrap();
    }
    for (method, target) in cases(&chain) {
        let behind = Capture::start(chain.router(1), "right").unwrap();
        let captures = clients.map(|client| Capture::start(client, "right").unwrap());
        let arguments = ["-P", method, "-q2", "-Q0", &target.to_string()];
        let both = clients.map(|client| started(client, &arguments));
        let paths = [path(&chain, target), {
            let mut path = path(&chain, target);
            path[0] = if target.is_ipv4() { "10.72.0.2" } else { "fd00:72::2" }.into();
            path
        }];
        let mut lost = HashSet::new();
        for (outcome, path) in both.map(Running::wait).iter().zip(paths) {
            let report = outcome.report();
            if method == "icmp" {
                report.assert_reached(2, &path);
                continue;
            }
            // Where two hosts' first packets from one port come at the same moment, Linux gives both the same translation and
            // drops one (`__nf_conntrack_confirm`; `nf_ct_resolve_clash` helps only where both are of one flow): the first
            // that leaves the translator, which ends at router 2.
            for run in report.runs() {
                let seen = addresses(run);
                let is_lost = seen[1].is_empty();
                assert!(!is_lost || lost.insert(run["source"]["port"].to_string()), "both are lost: {run}");
                let expected = silent_at(path.clone(), if is_lost { &[2] } else { &[] });
                assert_eq!(seen, expected, "{run}");
                assert_eq!(run["reached"], true, "{run}");
            }
        }
        let source_ports = |capture: Capture| -> HashSet<_> {
            let probes = wire::probes(&capture.stop().unwrap(), target);
            probes.into_iter().map(|probe| (probe.flow.source, probe.signature[..2].to_vec())).collect()
        };
        let [first, second] = captures.map(source_ports);
        if method == "udp" {
            let ports = |side: &HashSet<_>| -> HashSet<Vec<u8>> {
                side.iter().map(|(_, port): &(_, Vec<u8>)| port.clone()).collect()
            };
            assert_eq!(ports(&first), ports(&second), "the two hosts were to take the same ports");
            assert_eq!(source_ports(behind).len(), 4, "all from one address, which shows what is translated");
        }
    }
}

/// An echo request to the target that says it is `id` and `sequence`, as `ping` would send it.
fn foreign_ping(id: u16, sequence: u16, target: Ipv4Addr, socket: &Socket) {
    let mut datagram = Vec::new();
    PacketBuilder::ipv4([0; 4], target.octets(), 64)
        .icmpv4_echo_request(id, sequence)
        .write(&mut datagram, &[0x55; 56])
        .unwrap();
    socket.send_to(&datagram[20..], &SocketAddrV4::new(target, 0).into()).unwrap();
}

#[test]
fn answers_to_a_ping_with_the_same_id_and_sequence_are_not_ours() {
    let chain = Chain::builder().routers(3).build().unwrap();
    let target = chain.target().addresses().v4;
    // The target keeps its answers to us, 38 bytes long, to itself, and gives ping its own, 84 bytes long.
    chain
        .target()
        .nft(
            "table inet test {\nchain out {\ntype filter hook output priority 0\n\
              icmp type echo-reply meta length < 60 drop\n}\n}\n",
        )
        .unwrap();
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    let (mut at_target, mut at_client) = (chain.target().run(raw), chain.client().run(raw));

    let tracing = started(
        chain.client(),
        &["-P", "icmp", "-q1", "-Q0", "-m6", "--timeout", "1000", &target.to_string()],
    );
    // The first probe to arrive is the sounding; the run waits for its answer for a second from its last probe on.
    let (id, sequence) = next_echo(&mut at_target, |kind| matches!(kind, Icmpv4Type::EchoRequest(_)));
    foreign_ping(id, sequence, target, &at_client);
    let answered = next_echo(&mut at_client, |kind| matches!(kind, Icmpv4Type::EchoReply(_)));
    assert_eq!(answered, (id, sequence), "the foreign ping has its answer while the trace waits");
    let mut ping = chain.client().command("ping");
    ping.args(["-n", "-e", &id.to_string(), "-c1", "-W1", &target.to_string()]);
    let ping = ping.output().unwrap();

    let report = tracing.wait().report();
    let run = report.run();
    assert_eq!(run["source"]["port"], id);
    assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"max_ttl".into()), "{run}");
    let expected = ["10.71.0.2", "10.71.1.2", "10.71.2.2", "", "", ""];
    assert_eq!(addresses(run), expected);
    let ping = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!(ping.contains("icmp_seq=1 ttl="), "ping, too, has its answer: {ping}");
}

/// Id and sequence of the next echo message of a kind.
fn next_echo(socket: &mut Socket, wanted: fn(&Icmpv4Type) -> bool) -> (u16, u16) {
    let mut buffer = [0; 512];
    loop {
        let length = socket.read(&mut buffer).unwrap();
        let headers = PacketHeaders::from_ip_slice(&buffer[..length]).unwrap();
        if let Some(TransportHeader::Icmpv4(header)) = headers.transport
            && wanted(&header.icmp_type)
            && let Icmpv4Type::EchoRequest(echo) | Icmpv4Type::EchoReply(echo) = header.icmp_type
        {
            return (echo.id, echo.seq);
        }
    }
}

#[test]
fn a_ping_beside_a_trace_gets_its_own_answers_and_the_trace_its_own() {
    let chain = Chain::builder().build().unwrap();
    for target in targets(&chain) {
        let mut ping = chain.client().command("ping");
        ping.args(["-n", "-c40", "-i0.01", "-W1", &target.to_string()]);
        let ping = start(&mut ping);
        for _ in 0..3 {
            let report = trace(chain.client(), &["-P", "icmp", "-q3", "-Q1", &target.to_string()]).report();
            report.assert_reached(3, &path(&chain, target));
            report.assert_end_to_end(1, 1);
        }
        let ping = ping.wait().stdout;
        assert!(ping.contains("40 packets transmitted, 40 received") && !ping.contains("DUP"), "{ping}");
    }
}
