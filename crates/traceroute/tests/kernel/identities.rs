//! Processes that were given the same echo ids and ports do not take each other's answers.

use std::pin::pin;

use traceroute::{Blocks, Protocol, Tracer};
use traceroute_testnet::kernel::{Chain, Namespace};

use crate::{addresses, hops, one_run};

/// A tracer like that of a process of its own, with one echo id and few ports.
async fn process(namespace: &Namespace) -> Tracer {
    let blocks = Blocks { ports: 62_000..=62_063, echo_ids: 4_242..=4_242, in_order: false };
    Tracer::builder().network_namespace(namespace.path()).blocks(blocks).build().await.expect("root")
}

fn path(routers: u8) -> Vec<String> {
    (0..=routers).map(|link| format!("10.71.{link}.2")).collect()
}

#[tokio::test]
async fn two_processes_toward_one_target_do_not_mix() {
    let chain = Chain::builder().routers(4).build().expect("root");
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let (a, b) = (process(chain.client()).await, process(chain.client()).await);
        for _ in 0..20 {
            let request = one_run(chain.target().addresses().v4, protocol).build().expect("valid");
            let (of_a, of_b) = tokio::join!(
                a.start(request.clone()).expect("room").finish(),
                b.start(request).expect("room").finish()
            );
            for results in [of_a.expect("a result"), of_b.expect("a result")] {
                let run = &results.traceroute.runs.as_ref().expect("there are runs")[0];
                assert_eq!(addresses(&run.hops), path(4), "{protocol}");
                assert_eq!((run.duplicates, run.late), (0, 0), "{protocol}: no answer of the other process");
            }
        }
    }
}

#[tokio::test]
async fn a_dead_target_does_not_come_alive_by_anothers_answers() {
    let chain = Chain::builder().routers(4).build().expect("root");
    let alive = chain.target().addresses().v4;
    // An address behind the last router where nobody is.
    let dead = "10.71.4.77";
    chain
        .router(4)
        .nft("table ip t { chain c { type filter hook forward priority 0; ip daddr 10.71.4.77 drop; }; }")
        .expect("nftables");
    for protocol in [Protocol::Udp, Protocol::Icmp, Protocol::Tcp] {
        let (a, b) = (process(chain.client()).await, process(chain.client()).await);
        // A ping of the very id, to the living target, as long as the other two trace.
        let mut ping = chain
            .client()
            .command("ping")
            .args(["-n", "-q", "-e", "4242", "-i", "0.002", "-w", "20", &alive.to_string()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("iputils-ping is installed");
        let to_dead = one_run(dead, protocol).max_ttl(8).timeout_ms(500).build().expect("valid");
        let to_alive = one_run(alive, protocol).build().expect("valid");
        let mut of_dead = pin!(a.start(to_dead).expect("room").finish());
        // As long as the one traces the dead target, the other traces the living one again and again.
        let of_dead = loop {
            let of_alive = b.start(to_alive.clone()).expect("room").finish();
            tokio::select! {
                of_dead = &mut of_dead => break of_dead.expect("a result"),
                of_alive = of_alive => {
                    assert_eq!(addresses(hops(&of_alive.expect("a result"))), path(4), "{protocol}");
                }
            }
        };
        ping.kill().expect("it still runs");
        ping.wait().expect("it was killed");

        let mut expected = path(3);
        expected.resize(8, String::new());
        assert_eq!(addresses(hops(&of_dead)), expected, "{protocol}");
        let run = &of_dead.traceroute.runs.as_ref().expect("there are runs")[0];
        assert_eq!((run.reached, run.duplicates, run.late), (false, 0, 0), "{protocol}");
    }
}
