//! Chains of real routers, as Debian's own tools see them.
#![cfg(target_os = "linux")]

#[path = "common/debian.rs"]
mod debian;

use std::net::IpAddr;
use std::time::Duration;

use debian::traceroute;
use traceroute_testnet::AddressPlan;
use traceroute_testnet::kernel::{Chain, Reject};

fn hops(chain: &Chain, like: IpAddr) -> Vec<String> {
    let routers = (1..=chain.routers()).map(|i| chain.router(i));
    routers.chain([chain.target()]).map(|node| node.addresses().of_family(like).to_string()).collect()
}

#[test]
fn a_chain_is_ready_when_built_and_traced_in_every_way() {
    let chain = Chain::builder().routers(8).build().unwrap();

    let target = chain.target().addresses();
    for address in [IpAddr::from(target.v4), target.v6.into()] {
        let address_text = address.to_string();
        let ping = chain.client().command("ping").args(["-n", "-c1", "-W1", &address_text]).output().unwrap();
        assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
        for method in ["-U", "-I", "-T"] {
            // -N64: every probe at once, more than any rate limit lets through.
            let seen = traceroute(chain.client(), &[method, "-N64", "-w1", &address_text]);
            assert_eq!(seen, hops(&chain, address), "{method}");
        }
    }
}

#[test]
fn a_client_can_be_linked_to_its_target() {
    let chain = Chain::builder().routers(0).addresses(AddressPlan::Public).build().unwrap();
    assert_eq!(traceroute(chain.client(), &["198.18.0.2"]), ["198.18.0.2"]);
    assert_eq!(traceroute(chain.client(), &["2001:db8::2"]), ["2001:db8::2"]);
}

#[test]
fn routers_can_be_silent_and_targets_dead() {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.router(1).silence().unwrap();
    chain.target().blackhole().unwrap();
    for address in ["10.71.2.2", "fd00:71:2::2"] {
        let seen = traceroute(chain.client(), &["-m3", "-w0.3", address]);
        let second = if address.contains(':') { "fd00:71:1::2" } else { "10.71.1.2" };
        assert_eq!(seen, ["*", second, "*"]);
    }
}

#[test]
fn routers_can_reject() {
    for (reject, mark4, mark6) in
        [(Reject::AdminProhibited, "!X", "!X"), (Reject::Host, "!H", "!H"), (Reject::Network, "!N", "!N")]
    {
        let chain = Chain::builder().routers(2).build().unwrap();
        chain.router(1).reject(reject).unwrap();
        assert_eq!(
            traceroute(chain.client(), &["10.71.2.2"]),
            ["10.71.0.2".into(), format!("10.71.0.2 {mark4}")]
        );
        assert_eq!(
            traceroute(chain.client(), &["fd00:71:2::2"]),
            ["fd00:71::2".into(), format!("fd00:71::2 {mark6}")]
        );
    }
}

#[test]
fn behind_destination_nat_routers_answer_with_the_public_address() {
    let chain = Chain::builder().routers(3).build().unwrap();
    chain.router(2).dnat("203.0.113.1".parse().unwrap(), chain.target().addresses().v4.into()).unwrap();
    chain.router(2).dnat("2001:db8::1".parse().unwrap(), chain.target().addresses().v6.into()).unwrap();
    let seen = traceroute(chain.client(), &["-m2", "203.0.113.1"]);
    assert_eq!(seen, ["10.71.0.2", "203.0.113.1"]);
    let ping = chain.client().command("ping").args(["-c1", "-W1", "2001:db8::1"]).output().unwrap();
    assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
}

#[test]
fn a_masquerading_router_hides_the_client() {
    let chain = Chain::builder().routers(2).build().unwrap();
    chain.router(1).masquerade().unwrap();
    let bind = || std::net::UdpSocket::bind("0.0.0.0:4000").unwrap();
    let (client, target) = (chain.client().run(bind), chain.target().run(bind));
    client.send_to(b"x", "10.71.2.2:4000").unwrap();
    target.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let (_, from) = target.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from.ip(), IpAddr::from(chain.router(1).right_addresses().v4));
}

#[test]
fn rate_limits_are_off() {
    let chain = Chain::builder().routers(1).build().unwrap();
    for target in [IpAddr::from(chain.target().addresses().v4), chain.target().addresses().v6.into()] {
        let arguments = ["-n", "-q", "-c200", "-i0", "-t1", "-W1", &target.to_string()];
        let output = chain.client().command("ping").args(arguments).output().unwrap();
        let summary = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(summary.contains("200 packets transmitted, 0 received, +200 errors"), "{summary}");
    }
}

#[test]
fn the_kernels_rate_limits_can_stay_on() {
    let chain = Chain::builder().routers(1).kernel_rate_limits().build().unwrap();
    let arguments = ["-n", "-q10", "-N16", "-w0.3", "-f2", "10.71.1.2"];
    let output = chain.client().command("traceroute").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches(" ms").count(), 6, "{text}");
}
