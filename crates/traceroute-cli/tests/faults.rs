//! Networks that do not do what they should: silence, refusals, translation.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use common::{METHODS, addresses, cases, hops, path, silent_at, targets, trace};
use traceroute_testnet::kernel::{Chain, Reject};
use traceroute_testnet::{AddressPlan, Capture};

#[test]
fn silent_routers_are_blank_and_cost_no_time_out() {
    let chain = Chain::builder().build().unwrap();
    for router in [3, 4] {
        chain.router(router).silence().unwrap();
    }
    for (method, target) in cases(&chain) {
        let arguments = ["-P", method, "-q2", "-Q0", "--timeout", "20000", &target.to_string()];
        let outcome = trace(chain.client(), &arguments);
        outcome.report().assert_reached(2, &silent_at(path(&chain, target), &[3, 4]));
        // A silent hop is given 200 ms where round trips take less than 20, as they do here unless the machine is busy.
        assert!(outcome.took < Duration::from_secs(10), "{method} to {target}: {:?}", outcome.took);
    }
}

#[test]
fn a_dead_target_is_not_reached_and_the_routers_are_there() {
    let chain = Chain::builder().routers(4).build().unwrap();
    chain.target().blackhole().unwrap();
    for (method, target) in cases(&chain) {
        let arguments = ["-P", method, "-q2", "-Q2", "-m7", "--timeout", "300", &target.to_string()];
        let outcome = trace(chain.client(), &arguments);
        let report = outcome.report();
        let mut path = path(&chain, target);
        path.splice(4.., [const { String::new() }; 3]);
        for run in report.runs() {
            assert_eq!(addresses(run), path, "{method} to {target}");
            assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"max_ttl".into()));
        }
        report.assert_end_to_end(2, 0);
        assert!(outcome.took < Duration::from_secs(3), "{method} to {target}: {:?}", outcome.took);
    }
}

#[test]
fn a_path_longer_than_the_last_ttl_ends_there_without_waiting() {
    let chain = Chain::builder().build().unwrap();
    for (method, target) in cases(&chain) {
        let outcome = trace(chain.client(), &["-P", method, "-q2", "-Q0", "-m3", &target.to_string()]);
        let report = outcome.report();
        for run in report.runs() {
            assert_eq!(addresses(run), path(&chain, target)[..3], "{method} to {target}");
            assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"max_ttl".into()));
        }
        assert!(outcome.took < Duration::from_secs(1), "{method} to {target}: {:?}", outcome.took);
    }
}

#[test]
fn a_router_that_rejects_is_the_last_hop_and_nothing_goes_beyond_it() {
    for (reject, reason) in
        [(Reject::AdminProhibited, "admin_prohibited"), (Reject::Host, "host"), (Reject::Network, "net")]
    {
        let chain = Chain::builder().build().unwrap();
        chain.router(5).reject(reject).unwrap();
        for (method, target) in cases(&chain) {
            let capture = Capture::start(chain.client(), "right").unwrap();
            let outcome = trace(chain.client(), &["-P", method, "-q1", "-Q0", &target.to_string()]);
            let sent = wire::probes(&capture.stop().unwrap(), target);
            let report = outcome.report();
            let run = report.run();
            // What ends at router 5 is answered with time exceeded; what it should forward is rejected.
            let path = path(&chain, target);
            assert_eq!(addresses(run), [&path[..5], &path[4..5]].concat(), "{method} to {target}");
            assert_eq!((&run["reached"], &run["end_reason"]), (&false.into(), &"unreachable".into()));
            let reasons: Vec<_> = hops(run).iter().map(|hop| hop.get("unreachable")).collect();
            assert_eq!(reasons, [None, None, None, None, None, Some(&reason.into())], "{method} to {target}");
            let beyond = sent.iter().skip(1).filter(|probe| probe.ttl > 6).count();
            assert!(beyond <= 1, "{method} to {target}: {sent:?}");
            assert!(outcome.took < Duration::from_secs(1), "{method} to {target}: {:?}", outcome.took);
        }
    }
}

#[test]
fn a_port_unreachable_of_a_firewall_ends_the_run_but_is_not_the_destination() {
    let chain = Chain::builder().routers(4).build().unwrap();
    chain.router(2).reject(Reject::Port).unwrap();
    for target in targets(&chain) {
        let report = trace(chain.client(), &["-q1", "-Q1", "--timeout", "500", &target.to_string()]).report();
        let run = report.run();
        assert_eq!(run["reached"], false, "{run}");
        assert_eq!(run["end_reason"], "unreachable");
        assert_eq!(hops(run).last().unwrap()["unreachable"], "port");
        report.assert_end_to_end(1, 0);
    }
}

#[test]
fn a_path_behind_destination_nat_is_not_cut_at_the_translators_answer() {
    let chain = Chain::builder().build().unwrap();
    let public: [IpAddr; 2] = ["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for (public, target) in public.into_iter().zip(targets(&chain)) {
        chain.router(4).dnat(public, target).unwrap();
        // The translator and all behind it answer in the name of the public address, with time exceeded.
        let mut path = path(&chain, target);
        path[3..].fill(public.to_string());
        for method in METHODS {
            let report = trace(chain.client(), &["-P", method, "-q3", "-Q1", &public.to_string()]).report();
            report.assert_reached(3, &path);
            report.assert_end_to_end(1, 1);
        }
    }
}

#[test]
fn a_masquerading_router_hides_nothing_of_the_path() {
    let chain = Chain::builder().build().unwrap();
    chain.router(2).masquerade().unwrap();
    for (method, target) in cases(&chain) {
        let report = trace(chain.client(), &["-P", method, "-q3", "-Q1", &target.to_string()]).report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(1, 1);
    }
}

/// Sends from addresses that nobody knows the way back to, and translates them on the way out.
fn masqueraded_client() -> Chain {
    let chain = Chain::builder().build().unwrap();
    let router = chain.router(1).addresses();
    let script = format!(
        "address add 192.0.2.1/32 dev lo\naddress add 2001:db8:ffff::1/128 dev lo nodad\n\
         route replace default via {} src 192.0.2.1\nroute replace default via {} src 2001:db8:ffff::1\n",
        router.v4, router.v6
    );
    chain.client().ip(&script).unwrap();
    chain.client().masquerade().unwrap();
    chain
}

#[test]
fn udp_probes_that_the_own_host_masquerades_find_the_path() {
    let chain = masqueraded_client();
    for (target, source) in targets(&chain).into_iter().zip(["192.0.2.1", "2001:db8:ffff::1"]) {
        let report = trace(chain.client(), &["-q3", "-Q1", &target.to_string()]).report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(1, 1);
        assert_eq!(report.runs()[0]["source"]["ip_address"], source);
    }
}

#[test]
fn echo_requests_that_the_own_host_masquerades_find_the_path() {
    let chain = masqueraded_client();
    for target in targets(&chain) {
        let report = trace(chain.client(), &["-P", "icmp", "-q3", "-Q1", &target.to_string()]).report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(1, 1);
    }
}

#[test]
fn udp_answers_to_probes_that_the_own_host_masquerades_are_the_destination() {
    let chain = masqueraded_client();
    for target in targets(&chain) {
        answer_on(&chain, target, |_| b"hello".to_vec());
        let report = trace(chain.client(), &["-q1", "-Q1", &target.to_string()]).report();
        report.assert_reached(1, &path(&chain, target));
        report.assert_end_to_end(1, 1);
    }
}

/// Answers every datagram that arrives on the target's port 33434, as long as the test runs.
fn answer_on(chain: &Chain, address: IpAddr, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    let socket = chain.target().run(|| UdpSocket::bind(SocketAddr::new(address, 33434))).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&answer(&buffer[..length]), from).unwrap();
        }
    });
}

#[test]
fn a_target_that_answers_in_udp_is_the_destination() {
    for (what, answer) in [
        ("something", (|_: &[u8]| b"hello".to_vec()) as fn(&[u8]) -> Vec<u8>),
        ("nothing", |_| Vec::new()),
        ("an echo", <[u8]>::to_vec),
    ] {
        let chain = Chain::builder().build().unwrap();
        for target in targets(&chain) {
            answer_on(&chain, target, answer);
            let outcome = trace(chain.client(), &["-q1", "-Q1", &target.to_string()]);
            let report = outcome.report();
            report.assert_reached(1, &path(&chain, target));
            report.assert_end_to_end(1, 1);
            assert!(outcome.took < Duration::from_secs(1), "{what} from {target}: {:?}", outcome.took);
        }
    }
}

#[test]
fn three_runs_to_a_target_that_answers_in_udp_have_one_path() {
    let chain = Chain::builder().addresses(AddressPlan::Public).build().unwrap();
    for target in targets(&chain) {
        answer_on(&chain, target, |_| b"hello".to_vec());
        let report = trace(chain.client(), &["-q3", "-Q2", &target.to_string()]).report();
        report.assert_reached(3, &path(&chain, target));
        report.assert_end_to_end(2, 2);
    }
}
