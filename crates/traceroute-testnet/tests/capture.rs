//! Captures of real interfaces.
#![cfg(target_os = "linux")]

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use traceroute_core::Direction;
use traceroute_testnet::Capture;
use traceroute_testnet::kernel::{Chain, Namespace};

#[test]
fn both_ends_of_a_link_see_the_same_at_nearly_the_same_time() {
    let chain = Chain::builder().routers(1).build().unwrap();
    let before = SystemTime::now();
    let near = Capture::start(chain.client(), "right").unwrap();
    let far = Capture::start(chain.router(1), "left").unwrap();
    let socket = chain.client().run(|| UdpSocket::bind("10.71.0.1:5000")).unwrap();
    socket.connect("10.71.1.2:33434").unwrap();
    socket.send(b"probe").unwrap();
    // The port unreachable has been received when it is reported.
    assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    // IPv6 has its own talk on every link.
    let [near, far] = [near, far]
        .map(|c| -> Vec<_> { c.stop().unwrap().into_iter().filter(|p| p.datagram[0] >> 4 == 4).collect() });

    assert_eq!(near.iter().map(|p| p.direction).collect::<Vec<_>>(), [Direction::Sent, Direction::Received]);
    assert_eq!(far.iter().map(|p| p.direction).collect::<Vec<_>>(), [Direction::Received, Direction::Sent]);
    for (a, b) in near.iter().zip(&far) {
        assert_eq!(a.datagram, b.datagram);
        assert!(a.at >= before && a.at <= SystemTime::now());
        let apart = a.at.duration_since(b.at).unwrap_or_else(|e| e.duration());
        assert!(apart < Duration::from_secs(1), "{apart:?}");
    }
    assert!(near[0].at <= far[0].at && far[0].at <= far[1].at && far[1].at <= near[1].at);
    assert_eq!(near[0].datagram[28..], *b"probe");
    assert_eq!(near[1].datagram[20..22], [3, 3]);
}

#[test]
fn nothing_is_missed_between_start_and_stop() {
    let namespace = Namespace::new().unwrap();
    let socket = namespace.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    let capture = Capture::start(&namespace, "lo").unwrap();
    for n in 0..500_u16 {
        socket.send_to(&n.to_be_bytes(), socket.local_addr().unwrap()).unwrap();
        // What is received has passed both ways; what is only sent may still wait in the kernel.
        socket.recv(&mut [0; 8]).unwrap();
    }
    let packets = capture.stop().unwrap();
    let sent: Vec<_> = packets.iter().filter(|p| p.direction == Direction::Sent).collect();
    assert_eq!(sent.len(), 500);
    for (n, packet) in (0_u16..).zip(sent) {
        assert_eq!(packet.datagram[28..], n.to_be_bytes());
    }
    assert_eq!(packets.len(), 1000, "loopback shows everything both ways");
}

#[test]
fn an_unknown_interface_is_an_error() {
    let error = Capture::start(&Namespace::new().unwrap(), "nowhere").unwrap_err();
    assert!(error.to_string().contains("No such device"), "{error}");
}
