//! What a request may choose about how its probes leave: address, interface, ports, type of service, size.

use std::num::NonZeroU16;

use traceroute::{Family, Protocol, RequestBuilder, Results, TcpMethod, Tracer};
use traceroute_core::Direction;
use traceroute_testnet::kernel::{Chain, TcpServer};
use traceroute_testnet::{Capture, CapturedPacket};

use crate::{addresses, hops, one_run};

const PROTOCOLS: [Protocol; 3] = [Protocol::Udp, Protocol::Icmp, Protocol::Tcp];

async fn tracer(chain: &Chain) -> Tracer {
    Tracer::builder().network_namespace(chain.client().path()).build().await.expect("root")
}

async fn trace(tracer: &Tracer, request: RequestBuilder) -> Results {
    tracer.start(request.build().expect("valid")).expect("room").finish().await.expect("a result")
}

async fn error(tracer: &Tracer, request: RequestBuilder) -> String {
    let trace = tracer.start(request.build().expect("valid")).expect("room");
    trace.finish().await.expect_err("it cannot be done").to_string()
}

/// What left for an IPv4 address of the target's network, or an IPv6 one.
fn sent(packets: &[CapturedPacket], ipv6: bool) -> Vec<&[u8]> {
    let version = if ipv6 { 6 } else { 4 };
    let sent = packets.iter().filter(|packet| packet.direction == Direction::Sent);
    let sent = sent.map(|packet| packet.datagram.as_slice()).filter(|datagram| datagram[0] >> 4 == version);
    // Neither neighbour discovery nor what the kernel sends of its own.
    sent.filter(|datagram| !ipv6 || !(datagram[6] == 58 && datagram[40] != 128) && datagram[24] == 0xfd)
        .collect()
}

/// Traffic class or type of service.
fn class(datagram: &[u8]) -> u8 {
    if datagram[0] >> 4 == 6 { (datagram[0] << 4) | (datagram[1] >> 4) } else { datagram[1] }
}

/// A second uplink of the client, to the same first router.
fn second_uplink(chain: &Chain) {
    let router = chain.router(1);
    router
        .ip(&format!("link add second type veth peer name other netns {}", chain.client().path().display()))
        .expect("root");
    router.ip("address add 10.72.0.2/24 dev second\nlink set second up\n").expect("root");
    let client = chain.client();
    client.ip("address add 10.72.0.1/24 dev other\nlink set other up\n").expect("root");
    client
        .ip("route add default via 10.72.0.2 table 100\nrule add from 10.72.0.1 lookup 100\n")
        .expect("root");
    client.ip("route add default via 10.72.0.2 dev other metric 1000\n").expect("root");
    chain.router(2).ip("route add 10.72.0.0/24 via 10.71.1.1\n").expect("root");
    chain.target().ip("route add 10.72.0.0/24 via 10.71.2.1\n").expect("root");
    let ping =
        client.command("ping").args(["-n", "-c1", "-i0.01", "-w5", "10.72.0.2"]).output().expect("ping");
    assert!(ping.status.success(), "{ping:?}");
}

/// Checks that the only run went from `source` by the first hop `first`, by the method that was asked for.
#[track_caller]
fn assert_went(results: &Results, source: &str, first: &str, protocol: Protocol) {
    assert_eq!(addresses(hops(results)), [first, "10.71.1.2", "10.71.2.2"], "{protocol} from {source}");
    let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
    assert_eq!((run.source.ip_address.to_string().as_str(), run.method), (source, None), "{protocol}");
}

#[tokio::test]
async fn the_source_address_may_be_chosen_and_rules_go_by_it() {
    let chain = Chain::builder().routers(2).build().expect("root");
    let _server = TcpServer::listen(chain.target(), 33_434).expect("a free port");
    second_uplink(&chain);
    let tracer = tracer(&chain).await;
    let target = chain.target().addresses().v4;
    for protocol in PROTOCOLS {
        for (source, first) in [("10.71.0.1", "10.71.0.2"), ("10.72.0.1", "10.72.0.2")] {
            let request = one_run(target, protocol).source(source.parse().expect("an address"));
            let request = request.tcp_method(TcpMethod::PreferSack).e2e_queries(1);
            let results = trace(&tracer, request).await;
            assert_went(&results, source, first, protocol);
            assert_eq!(results.e2e_probe.packets_received, 1);
        }
        let foreign = one_run(target, protocol).source([10, 99, 0, 1].into());
        let reason = error(&tracer, foreign).await;
        assert_eq!(reason, "this host has no address 10.99.0.1 to send from");
    }
}

#[tokio::test]
async fn the_address_of_all_hosts_of_a_network_is_nobodys() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let tracer = tracer(&chain).await;
    for protocol in PROTOCOLS {
        let request = one_run(chain.target().addresses().v4, protocol).source([10, 71, 0, 255].into());
        let reason = error(&tracer, request.tcp_method(TcpMethod::Sack)).await;
        assert!(reason.starts_with("this host has no address 10.71.0.255 to send from"), "{reason}");
    }
}

#[tokio::test]
async fn the_interface_may_be_chosen() {
    let chain = Chain::builder().routers(2).build().expect("root");
    let _server = TcpServer::listen(chain.target(), 33_434).expect("a free port");
    second_uplink(&chain);
    let tracer = tracer(&chain).await;
    let target = chain.target().addresses().v4;
    for protocol in PROTOCOLS {
        for (interface, source, first) in
            [("right", "10.71.0.1", "10.71.0.2"), ("other", "10.72.0.1", "10.72.0.2")]
        {
            let request = one_run(target, protocol).interface(interface).tcp_method(TcpMethod::PreferSack);
            let results = trace(&tracer, request).await;
            assert_went(&results, source, first, protocol);
        }
        let reason = error(&tracer, one_run(target, protocol).interface("nowhere")).await;
        assert_eq!(reason, "there is no interface \"nowhere\"");
    }
    let elsewhere = error(&tracer, one_run("fe80::1%other", Protocol::Udp).interface("right")).await;
    assert_eq!(elsewhere, "interface right: fe80::1%other is reached through another one");
    let v6 = chain.target().addresses().v6;
    for protocol in PROTOCOLS {
        let request = one_run(v6, protocol).interface("right").tcp_method(TcpMethod::PreferSack);
        assert_eq!(hops(&trace(&tracer, request).await).len(), 3, "{protocol}");
    }
}

#[tokio::test]
async fn type_of_service_and_size_are_those_of_every_probe() {
    let chain = Chain::builder().routers(2).build().expect("root");
    let tracer = tracer(&chain).await;
    let targets = chain.target().addresses();
    for (target, ipv6) in [(targets.v4.to_string(), false), (targets.v6.to_string(), true)] {
        for protocol in PROTOCOLS {
            let sizes: &[u16] = if protocol == Protocol::Tcp { &[0] } else { &[66, 67, 1000, 1500] };
            for size in sizes {
                let capture = Capture::start(chain.client(), "right").expect("root");
                let request = one_run(&target, protocol).e2e_queries(1).tos(0xb8).size(*size);
                let results = trace(&tracer, request).await;
                let packets = capture.stop().expect("a capture");
                assert_eq!(hops(&results).len(), 3, "{protocol} of {size} bytes to {target}");
                assert!(hops(&results).iter().all(|hop| hop.reachable));
                assert_eq!(results.e2e_probe.packets_received, 1);
                let sent = sent(&packets, ipv6);
                assert!(sent.len() >= 4, "{} probes", sent.len());
                for datagram in sent {
                    assert_eq!(class(datagram), 0xb8, "{protocol} to {target}");
                    assert!(
                        *size == 0 || datagram.len() == usize::from(*size),
                        "{protocol}: {}",
                        datagram.len()
                    );
                }
            }
        }
        let reason = error(&tracer, one_run(&target, Protocol::Udp).size(1501)).await;
        assert!(reason.contains("a probe of 1501 bytes") && reason.contains("MTU"), "{reason}");
    }
}

/// By what the kernel has learnt the first time, it would refuse the second's probes.
#[tokio::test]
async fn a_size_that_does_not_fit_shows_the_mtu_every_time() {
    let chain = Chain::builder().routers(2).build().expect("root");
    chain.router(1).ip("link set right mtu 1400").expect("root");
    chain.router(2).ip("link set left mtu 1400").expect("root");
    let tracer = tracer(&chain).await;
    let targets = chain.target().addresses();
    for target in [targets.v4.to_string(), targets.v6.to_string()] {
        for protocol in [Protocol::Udp, Protocol::Icmp] {
            for time in 1..=3 {
                let request = one_run(&target, protocol).size(1500).e2e_queries(time - 1);
                let results = trace(&tracer, request).await;
                let hop = hops(&results).last().expect("the router answers");
                assert_eq!(hop.mtu, Some(1400), "{protocol} to {target}, time {time}: {hop:?}");
                assert_eq!(results.warnings, [""; 0], "{protocol} to {target}, time {time}");
            }
        }
    }
}

/// The kernel's own segments too: those that make the connection and end it.
#[tokio::test]
async fn a_connection_has_the_type_of_service_of_its_probes() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let _server = TcpServer::listen(chain.target(), 33_434).expect("a free port");
    let tracer = tracer(&chain).await;
    let targets = chain.target().addresses();
    for (target, ipv6) in [(targets.v4.to_string(), false), (targets.v6.to_string(), true)] {
        let capture = Capture::start(chain.client(), "right").expect("root");
        let request = one_run(&target, Protocol::Tcp).tcp_method(TcpMethod::Sack).dscp(46);
        let results = trace(&tracer, request).await;
        let packets = capture.stop().expect("a capture");
        assert_eq!(hops(&results).len(), 2);
        let sent = sent(&packets, ipv6);
        // SYN, ACK, two probes at least, RST.
        assert!(sent.len() >= 5, "{} segments", sent.len());
        for datagram in sent {
            assert_eq!(class(datagram), 0xb8, "to {target}: {datagram:x?}");
        }
    }
}

#[tokio::test]
async fn the_first_port_may_be_chosen() {
    let chain = Chain::builder().routers(1).build().expect("root");
    let builder = Tracer::builder().network_namespace(chain.client().path());
    let port = NonZeroU16::new(40_000).expect("not zero");
    let tracer = builder.first_port(port).build().await.expect("root");
    let request = one_run(chain.target().addresses().v4, Protocol::Udp).traceroute_queries(3).e2e_queries(0);
    let results = trace(&tracer, request).await;
    let mut ports: Vec<u16> =
        results.traceroute.runs.expect("there are runs").iter().map(|run| run.source.port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [40_000, 40_001, 40_002]);
}

#[tokio::test]
async fn an_address_of_the_other_family_is_refused() {
    for (target, family, wanted) in [("192.0.2.1", Family::V6, "IPv6"), ("2001:db8::1", Family::V4, "IPv4")] {
        let error = one_run(target, Protocol::Udp).family(family).build().expect_err("the other family");
        assert_eq!(error.to_string(), format!("invalid target {target:?}: an {wanted} address is wanted"));
        let source = if family == Family::V6 { "2001:db8::9" } else { "192.0.2.9" };
        let error = one_run(target, Protocol::Udp).source(source.parse().expect("an address"));
        let error = error.build().expect_err("the other family").to_string();
        assert!(error.starts_with(&format!("source {source}: the target is to be reached over ")), "{error}");
    }
}
