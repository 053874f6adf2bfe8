//! The public address from providers that are well, slow, broken, lying, silent or not there.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use traceroute::{Protocol, Proxy, PublicIpOptions, Request, Tracer, Trust};
use traceroute_testnet::kernel::Chain;
use traceroute_testnet::sim::Topology;

use crate::https::{Authority, HttpProxy, HttpsServer, Reply, SocksProxy, header};
use crate::lab::{Lab, one_run};
use crate::nobody::RefusingTcp;

const SECOND: Duration = Duration::from_secs(1);
const WELL: Reply = Reply::Status(200, "203.0.113.7\n");
const ADDRESS: &str = "203.0.113.7";

/// These providers, vouched for by `authority`, without a proxy.
fn asking(authority: &Authority, providers: &[String]) -> PublicIpOptions {
    PublicIpOptions {
        providers: providers.to_vec(),
        trust: Trust::Authorities(vec![authority.der.clone()]),
        proxy: Proxy::None,
        ..PublicIpOptions::default()
    }
}

async fn lab(options: PublicIpOptions) -> Lab {
    Lab::with(Topology::chain(1), |tracer| tracer.public_ip(options)).await
}

/// The address that a trace through one router finds out, and how long it took. That there is none is a warning.
async fn public_ip(options: PublicIpOptions) -> (String, Duration) {
    let request = one_run(1, Protocol::Udp).source_public_ip(true);
    let (results, took) = lab(options).await.trace(request).await;
    let address = results.source.public_ip;
    let warned = results.warnings.iter().filter(|warning| warning.starts_with("no public address: "));
    assert_eq!((results.warnings.len(), warned.count()), if address.is_empty() { (1, 1) } else { (0, 0) });
    (address, took)
}

/// Every kind of broken provider is followed by one that is well. Those that answer anything are done with at once, those
/// that do not are given their two seconds.
#[tokio::test]
async fn a_broken_provider_ends_in_the_next_ones_answer_within_its_time() {
    let authority = Authority::new();
    let url = |reply| HttpsServer::start(&authority, reply).url();
    let stranger = HttpsServer::start(&Authority::new(), Reply::Status(200, "203.0.113.66"));
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let refusing = RefusingTcp::new();
    let at_once = [
        ("404", url(Reply::Status(404, "203.0.113.66"))),
        ("500", url(Reply::Status(500, "203.0.113.66"))),
        ("redirection", url(Reply::Status(302, ""))),
        ("HTML", url(Reply::Status(200, "<html>203.0.113.66</html>"))),
        ("IPv6", url(Reply::Status(200, "2001:db8::66"))),
        ("private", url(Reply::Status(200, "192.168.1.1"))),
        ("nothing", url(Reply::Status(200, ""))),
        ("10 MB", url(Reply::Huge)),
        ("endless", url(Reply::Endless)),
        ("garbage", url(Reply::Garbage)),
        ("a stranger's certificate", stranger.url()),
        ("not https", format!("http://{}", refusing.address())),
        ("no URL", "no URL".into()),
    ];
    let after_its_time = [
        ("refused", format!("https://{}", refusing.address())),
        ("unknown name", "https://nowhere.invalid".into()),
        ("hangs up", url(Reply::HangUp)),
        ("silent", url(Reply::Silence)),
        ("stalled", url(Reply::Stalled)),
        ("no TLS at all", format!("https://{}", plain.local_addr().expect("bound"))),
    ];
    let mut cases = JoinSet::new();
    for ((what, broken), slow) in
        at_once.into_iter().map(|case| (case, false)).chain(after_its_time.map(|case| (case, true)))
    {
        let options = asking(&authority, &[broken, url(WELL)]);
        cases.spawn(async move { (what, slow, public_ip(options).await) });
    }
    while let Some(case) = cases.join_next().await {
        let (what, slow, (address, took)) = case.expect("no panic");
        assert_eq!(address, ADDRESS, "{what}");
        let (least, most) = if slow { (2 * SECOND, 4 * SECOND) } else { (Duration::ZERO, 2 * SECOND) };
        assert!(took >= least && took < most, "{what}: {took:?}");
    }
}

/// Each of five in turn is the first that is well; those after it are not asked.
#[tokio::test]
async fn the_providers_are_asked_in_their_order() {
    let authority = Authority::new();
    for well in 0..5 {
        let reply = |place| if place == well { WELL } else { Reply::Status(500, "broken") };
        let servers: Vec<_> = (0..5).map(|place| HttpsServer::start(&authority, reply(place))).collect();
        let urls: Vec<_> = servers.iter().map(HttpsServer::url).collect();
        let (address, _) = public_ip(asking(&authority, &urls)).await;
        assert_eq!(address, ADDRESS);
        let asked: Vec<_> = servers.iter().map(|server| server.hosts().len()).collect();
        assert_eq!(asked, (0..5).map(|place| usize::from(place <= well)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_provider_that_comes_back_is_asked_again() {
    let authority = Authority::new();
    let provider = RefusingTcp::new();
    let url = format!("https://{}", provider.address());
    let options = PublicIpOptions { patience: 10 * SECOND, ..asking(&authority, &[url]) };
    let lab = lab(options).await;
    let request = one_run(1, Protocol::Udp).source_public_ip(true).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    // By then it has been refused.
    while !matches!(trace.next_event().await, Some(traceroute::TraceEvent::RunFinished { .. })) {}
    let _server = HttpsServer::serve(provider.listen(), &authority, &["127.0.0.1"], |_| WELL);
    assert_eq!(trace.finish().await.expect("a result").source.public_ip, ADDRESS);
}

#[tokio::test]
async fn without_any_answer_the_address_is_empty_and_nothing_fails() {
    let authority = Authority::new();
    let broken = HttpsServer::start(&authority, Reply::Status(500, "broken")).url();
    for options in [
        asking(&authority, &[broken]),
        asking(&authority, &[]),
        PublicIpOptions {
            trust: Trust::Authorities(vec![b"no certificate".to_vec()]),
            ..PublicIpOptions::default()
        },
    ] {
        let (address, took) = public_ip(options).await;
        assert_eq!(address, "");
        assert!(took < 2 * SECOND, "{took:?}");
    }
}

#[tokio::test]
async fn the_address_is_kept_and_looked_up_once_at_a_time() {
    let authority = Authority::new();
    let server = HttpsServer::start(&authority, WELL);
    let lab = lab(asking(&authority, &[server.url()])).await;
    let (results, _) = lab.trace(one_run(1, Protocol::Udp)).await;
    assert_eq!((results.source.public_ip.as_str(), server.hosts().len()), ("", 0), "nobody has asked for it");
    let start = || {
        let request = one_run(1, Protocol::Udp).source_public_ip(true).build().expect("valid");
        lab.tracer.start(request).expect("room")
    };
    let traces: Vec<_> = (0..5).map(|_| start()).collect();
    for trace in traces.into_iter().chain([start()]) {
        assert_eq!(trace.finish().await.expect("a result").source.public_ip, ADDRESS);
    }
    assert_eq!(server.hosts(), [server.address.to_string()]);
}

#[tokio::test]
async fn a_request_that_is_stopped_does_not_wait_for_the_address() {
    let authority = Authority::new();
    let lab = lab(asking(&authority, &[HttpsServer::start(&authority, Reply::Silence).url()])).await;
    let request = one_run(1, Protocol::Udp).source_public_ip(true).build().expect("valid");
    let mut trace = lab.tracer.start(request).expect("room");
    while !matches!(trace.next_event().await, Some(traceroute::TraceEvent::RunFinished { .. })) {}
    let stopped = Instant::now();
    assert_eq!(trace.stop().await.expect("a result").source.public_ip, "");
    assert!(stopped.elapsed() < SECOND);
}

/// The provider's name is one that only the proxy knows.
#[tokio::test]
async fn a_proxy_is_gone_through_except_for_what_is_excepted() {
    let authority = Authority::new();
    let server = HttpsServer::start(&authority, WELL);
    let to = server.address;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = HttpProxy::serve(listener, move || TcpStream::connect(to).expect("it listens"));
    let through = |except: &str| Proxy::Through {
        url: format!("http://user:secret@{}", proxy.address),
        except: except.into(),
    };
    let options = |provider: &str, except| PublicIpOptions {
        proxy: through(except),
        ..asking(&authority, &[provider.to_owned()])
    };
    let (address, _) = public_ip(options("https://provider.test", "other.test")).await;
    assert_eq!(address, ADDRESS);
    let heads = proxy.heads();
    let [head] = &heads[..] else { panic!("one request was expected: {heads:?}") };
    assert!(head.starts_with("CONNECT provider.test:443 HTTP/1.1\r\n"), "{head}");
    // user:secret
    assert_eq!(header(head, "proxy-authorization").as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(server.hosts(), ["provider.test"]);

    let (address, _) = public_ip(options(&server.url(), "127.0.0.0/8")).await;
    assert_eq!((address.as_str(), proxy.heads().len()), (ADDRESS, 1));

    // What cannot be gone through is not gone around.
    let options = PublicIpOptions {
        proxy: Proxy::Through { url: "socks4://127.0.0.1:1".into(), except: String::new() },
        ..asking(&authority, &[server.url()])
    };
    assert_eq!(public_ip(options).await.0, "");
}

#[tokio::test]
async fn a_socks_proxy_is_gone_through_with_name_and_password() {
    let authority = Authority::new();
    let server = HttpsServer::start(&authority, WELL);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = SocksProxy::serve(listener, server.address);
    let through = |credentials: &str| PublicIpOptions {
        proxy: Proxy::Through {
            url: format!("socks5://{credentials}@{}", proxy.address),
            except: String::new(),
        },
        ..asking(&authority, &["https://provider.test".to_owned()])
    };
    assert_eq!(public_ip(through("user:secret")).await.0, ADDRESS);
    // It resolves the name, which nobody else knows.
    assert_eq!(proxy.asked(), [("provider.test".to_owned(), 443)]);
    assert_eq!(server.hosts(), ["provider.test"]);
    assert_eq!(public_ip(through("user:wrong")).await.0, "");
}

/// The provider can only be reached from inside of the namespace that is traced in.
#[tokio::test]
async fn a_namespace_asks_from_inside_of_it() {
    let authority = Authority::new();
    let chain = Chain::builder().routers(1).build().expect("root");
    let listener = chain.client().run(|| TcpListener::bind("127.0.0.1:4430").expect("nobody else is here"));
    let server = HttpsServer::serve(listener, &authority, &["127.0.0.1"], |_| WELL);
    let builder = Tracer::builder().network_namespace(chain.client().path());
    let tracer = builder.public_ip(asking(&authority, &[server.url()])).build().await.expect("root");
    let target = chain.target().addresses().v4.to_string();
    let request = Request::builder(target).traceroute_queries(1).e2e_queries(0).source_public_ip(true);
    let trace = tracer.start(request.build().expect("valid")).expect("room");
    assert_eq!(trace.finish().await.expect("a result").source.public_ip, ADDRESS);
}
