//! What becomes of requests where not everything is possible, as on Windows, in simulated networks under virtual time.

use traceroute::{ErrorCode, Mode, Protocol, RequestBuilder, TcpMethod};
use traceroute_packets::Backend;
use traceroute_testnet::sim::{Router, TcpService, Topology};

use crate::lab::{Lab, addresses, one_run};

/// A chain whose routers are not heard, as behind the firewall of Windows.
fn silent() -> Topology {
    let silent = |router: &mut Router| router.answers.silent = true;
    Topology::chain(2).with_router(1, silent).with_router(2, silent)
}

/// What a request fails with, before anything is sent.
async fn refused(lab: &Lab, request: RequestBuilder) -> String {
    let trace = lab.tracer.start(request.build().expect("a valid request")).expect("room");
    let error = trace.finish().await.expect_err("that is not possible");
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
    assert_eq!(lab.recorder.outline(), "", "nothing is sent");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_possible_is_refused_with_what_is() {
    let lab = Lab::of(Backend::EchoRequests, Topology::chain(2)).await;
    for (request, words) in [
        (one_run(2, Protocol::Udp), ["UDP over IPv4", "--proto icmp"]),
        (one_run(2, Protocol::Tcp), ["TCP SYN over IPv4", "--proto icmp"]),
        (one_run(2, Protocol::Icmp).tos(8), ["type of service", "--dscp"]),
        (one_run(2, Protocol::Udp).traceroute_queries(3).e2e_queries(5), ["UDP over IPv4", "--proto icmp"]),
    ] {
        let said = refused(&lab, request).await;
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

/// Neither of the two methods is possible, so that there is nothing to fall back to.
#[tokio::test(start_paused = true)]
async fn a_run_falls_back_once() {
    let lab = Lab::of(Backend::EchoRequests, Topology::chain(2)).await;
    let said = refused(&lab, one_run(2, Protocol::Tcp).tcp_method(TcpMethod::PreferSack)).await;
    assert!(said.contains("TCP SYN over IPv4"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn without_sack_a_run_that_would_rather_have_it_goes_by_syn() {
    let topology = Topology::chain(2).with_target(|target| target.services.tcp = TcpService::Closed);
    let lab = Lab::of(Backend::RawSockets, topology).await;
    let (results, _) = lab.trace(one_run(2, Protocol::Tcp).tcp_method(TcpMethod::PreferSack)).await;
    assert_eq!(addresses(&results, 0), ["10.71.0.2", "10.71.1.2", "10.71.2.2"]);
    let runs = results.traceroute.runs.as_ref().expect("there are runs");
    assert_eq!(runs[0].method, Some(TcpMethod::Syn));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_without_privileges_says_so() {
    for (backend, protocol, mode) in [
        (Backend::EchoRequests, Protocol::Icmp, Some(Mode::Unprivileged)),
        (Backend::RawSockets, Protocol::Udp, None),
    ] {
        let lab = Lab::of(backend, Topology::chain(2)).await;
        let (results, _) = lab.trace(one_run(2, protocol)).await;
        let runs = results.traceroute.runs.as_ref().expect("there are runs");
        assert_eq!(runs[0].mode, mode, "{backend:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn routers_that_nobody_hears_are_explained_where_a_firewall_may_be_why() {
    for (backend, topology, warned) in [
        (Backend::RawSockets, silent(), true),
        (Backend::RawSockets, Topology::chain(2), false),
        (Backend::PacketSocket, silent(), false),
    ] {
        let lab = Lab::of(backend, topology).await;
        // On Windows ICMP would go by the system's own echo requests, and not through this network.
        let (results, _) = lab.trace(one_run(2, Protocol::Udp)).await;
        let said =
            results.warnings.iter().any(|warning| warning.contains("netsh advfirewall firewall add rule"));
        assert_eq!(said, warned, "{backend:?}: {:?}", results.warnings);
    }
}
