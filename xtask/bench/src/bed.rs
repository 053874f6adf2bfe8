//! The networks in which the programs run: a client, eight routers and a target.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use traceroute_core::Direction;
use traceroute_testnet::kernel::{Chain, Namespace, TcpServer};
use traceroute_testnet::sim::real_time::SimulatedLink;
use traceroute_testnet::sim::{TcpListener, TcpService, Topology};
use traceroute_testnet::{AddressPlan, Capture, DualStack};
use traceroute_wire::{Datagram, TcpFlags, TcpSegment, protocol};

use crate::error::Error;
use crate::launch::{self, Outcome};
use crate::tool::{Family, Method, TCP_PORT, Tool};

const ROUTERS: u8 = 8;
/// The TTL of a probe that just reaches the target.
const TARGET_TTL: u8 = ROUTERS + 1;

/// A network with a client.
#[derive(Debug)]
pub(crate) enum Bed {
    /// Real kernels, which answer at once.
    Kernels(Rc<Kernels>),
    /// A simulated network in real time, 20 ms away.
    Simulated(SimulatedLink),
}

/// Eight kernels without ICMP rate limits, and a target.
#[derive(Debug)]
pub(crate) struct Kernels {
    pub(crate) chain: Chain,
    /// The routers that do not answer, counted from 1.
    silent: &'static [u8],
    /// As long as this lives, the [`TCP_PORT`] of all the target's addresses is open.
    _server: Option<TcpServer>,
}

/// What a trace sent to the target, as the client's link saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) packets: u32,
    /// Those with a TTL greater than it takes to reach the target.
    pub(crate) beyond: u32,
}

impl Bed {
    /// Eight simulated routers behind a link of 20 ms one way; all other links take no time.
    pub(crate) fn simulated() -> Result<Self, Error> {
        let topology = Topology::chain(ROUTERS)
            .with_links(|link| link.set_delay(Duration::ZERO))
            .with_link(0, |link| link.set_delay(Duration::from_millis(20)))
            .with_target(|target| target.services.tcp = TcpService::Listening(TcpListener::default()));
        Ok(Self::Simulated(SimulatedLink::veth(topology, 1)?))
    }

    /// Traces once and returns what that printed and took, if all of the path was found.
    pub(crate) fn trace(&self, tool: &Tool, method: Method, family: Family) -> Result<Outcome, Error> {
        let path = self.path(family);
        let line = tool.trace(method, family, target(family));
        let outcome = launch::run(Some(self.client()), &line)?;
        match first_missing(&outcome.stdout, &path) {
            None => Ok(outcome),
            Some(missing) => {
                let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
                Err(Error::Incomplete { program: words.join(" "), missing, stdout: outcome.stdout })
            }
        }
    }

    /// Traces once and counts what that sent.
    pub(crate) fn count(&self, tool: &Tool, method: Method, family: Family) -> Result<Sent, Error> {
        let interface = match self {
            Self::Kernels(_) => "right",
            Self::Simulated(link) => link.interface(),
        };
        let capture = Capture::start(self.client(), interface)?;
        let traced = self.trace(tool, method, family);
        let packets = capture.stop()?;
        traced?;
        let mut sent = Sent::default();
        for packet in packets.iter().filter(|packet| packet.direction == Direction::Sent) {
            if let Some(ttl) = ttl_toward(target(family), &packet.datagram)
                && !is_refusal(&packet.datagram)
            {
                sent.packets += 1;
                sent.beyond += u32::from(ttl > TARGET_TTL);
            }
        }
        Ok(sent)
    }

    /// The addresses that answer, from the first router to the target.
    fn path(&self, family: Family) -> Vec<IpAddr> {
        let silent: &[u8] = match self {
            Self::Kernels(kernels) => kernels.silent,
            Self::Simulated(_) => &[],
        };
        without(silent, path(family))
    }

    fn client(&self) -> &Namespace {
        match self {
            Self::Kernels(kernels) => kernels.chain.client(),
            Self::Simulated(link) => link.client(),
        }
    }
}

impl Kernels {
    /// Kernels of which these routers, counted from 1, do not answer, and a target that listens.
    pub(crate) fn new(silent: &'static [u8]) -> Result<Self, Error> {
        let closed = Self::closed()?;
        silent.iter().try_for_each(|&router| closed.chain.router(router.into()).silence())?;
        let server = TcpServer::listen(closed.chain.target(), TCP_PORT)?;
        Ok(Self { silent, _server: Some(server), ..closed })
    }

    /// Kernels that all answer, and a target that does not listen.
    pub(crate) fn closed() -> Result<Self, Error> {
        Ok(Self { chain: Chain::builder().routers(ROUTERS).build()?, silent: &[], _server: None })
    }

    /// How many packets the client's link has sent so far, by its own count.
    pub(crate) fn sent(&self) -> Result<u64, Error> {
        let links = self.chain.client().run(|| fs::read_to_string("/proc/thread-self/net/dev"));
        let sent = links.and_then(|links| sent_by("right", &links).ok_or(io::ErrorKind::InvalidData.into()));
        sent.map_err(|source| Error::System { what: "reading what the client's link has sent", source })
    }
}

/// The addresses of all routers and of the target, in their order; all networks have the same.
pub(crate) fn path(family: Family) -> Vec<IpAddr> {
    let mut path = routers(family);
    path.push(target(family));
    path
}

pub(crate) fn routers(family: Family) -> Vec<IpAddr> {
    (0..ROUTERS).map(|link| of_family(AddressPlan::default().right(link), family)).collect()
}

pub(crate) fn target(family: Family) -> IpAddr {
    of_family(AddressPlan::default().right(ROUTERS), family)
}

/// A path but for these routers, counted from 1.
fn without(silent: &[u8], path: Vec<IpAddr>) -> Vec<IpAddr> {
    let answering = (1..).zip(path).filter(|(ttl, _)| !silent.contains(ttl));
    answering.map(|(_, address)| address).collect()
}

/// The packets sent by a link, of what the kernel counts for all links.
fn sent_by(link: &str, links: &str) -> Option<u64> {
    let mut of_all = links.lines().filter_map(|line| line.split_once(':'));
    let (_, counts) = of_all.find(|(name, _)| name.trim_start() == link)?;
    // The first eight are of what it has received; then come the bytes that it has sent, and the packets.
    counts.split_whitespace().nth(9)?.parse().ok()
}

/// So many addresses in a row.
pub(crate) fn consecutive(first: Ipv4Addr, count: u32) -> Vec<IpAddr> {
    let first = u32::from(first);
    (first..first + count).map(|address| Ipv4Addr::from(address).into()).collect()
}

fn of_family(addresses: DualStack, family: Family) -> IpAddr {
    match family {
        Family::V4 => addresses.v4.into(),
        Family::V6 => addresses.v6.into(),
    }
}

/// The first address of the path that is not printed after those before it.
pub(crate) fn first_missing(stdout: &str, path: &[IpAddr]) -> Option<IpAddr> {
    let words = stdout.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
    let mut addresses = words.filter_map(|word| word.parse::<IpAddr>().ok());
    path.iter().copied().find(|expected| !addresses.any(|address| address == *expected))
}

/// Whether this goes to the target and does not only reset a connection or refuse one.
pub(crate) fn is_probe_toward(target: IpAddr, datagram: &[u8]) -> bool {
    let resets = tcp_flags(datagram).is_some_and(|flags| flags.contains(TcpFlags::RST));
    ttl_toward(target, datagram).is_some() && !resets
}

/// Whether this is a RST without ACK: with such a one the kernel refuses an answer to a probe that it has not sent. A RST
/// that ends a connection has ACK.
fn is_refusal(datagram: &[u8]) -> bool {
    tcp_flags(datagram).is_some_and(|flags| flags.contains(TcpFlags::RST) && !flags.contains(TcpFlags::ACK))
}

fn tcp_flags(datagram: &[u8]) -> Option<TcpFlags> {
    let datagram = Datagram::parse(datagram).filter(|datagram| datagram.header.protocol == protocol::TCP)?;
    Some(TcpSegment::parse(datagram.payload)?.flags)
}

/// The TTL or hop limit of a datagram to the target; `None` for any other.
fn ttl_toward(target: IpAddr, datagram: &[u8]) -> Option<u8> {
    let (destination, ttl) = match datagram.first()? >> 4 {
        4 => (IpAddr::from(<[u8; 4]>::try_from(datagram.get(16..20)?).ok()?), datagram.get(8)?),
        6 => (IpAddr::from(<[u8; 16]>::try_from(datagram.get(24..40)?).ok()?), datagram.get(7)?),
        _ => return None,
    };
    (destination == target).then_some(*ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "traceroute to 10.71.8.2 (10.71.8.2), 30 hops max\n 1  10.71.0.2  0.1 ms\n 2  10.71.1.2  0.1 ms\n";
    const JSON: &str =
        r#"{"destination":{"ip":"fd00:71:8::2"},"hops":[{"ip":"fd00:71::2"},{"ip":"fd00:71:1::2"}]}"#;

    #[test]
    fn a_whole_path_is_recognised() {
        assert_eq!(first_missing(TEXT, &path(Family::V4)[..2]), None);
        assert_eq!(first_missing(JSON, &path(Family::V6)[..2]), None);
    }

    #[test]
    fn a_hole_and_a_wrong_order_are_found() {
        let path = path(Family::V4);
        assert_eq!(first_missing(TEXT, &path), Some(path[2]));
        assert_eq!(first_missing(TEXT, &[path[1], path[0]]), Some(path[0]));
        // The target's own line is missing, though its name is in the heading.
        assert_eq!(first_missing(TEXT, &[path[0], path[8]]), Some(path[8]));
    }

    #[test]
    fn silent_routers_are_not_looked_for() {
        let whole = path(Family::V4);
        assert_eq!(without(&[], whole.clone()), whole);
        assert_eq!(without(&[3, 4], whole.clone()), [&whole[..2], &whole[4..]].concat());
    }

    #[test]
    fn what_a_link_has_sent_is_found() {
        let links = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       1    0    0    0     0          0         0        0       2    0    0    0     0       0          0
 right:    5160      60    0    0    0     0          0         0     4730      55    0    0    0     0       0          0
";
        assert_eq!(sent_by("right", links), Some(55));
        assert_eq!(sent_by("lo", links), Some(2));
        assert_eq!(sent_by("left", links), None);
        assert_eq!(sent_by("r", links), None);
    }

    #[test]
    fn only_a_reset_without_ack_is_a_refusal() {
        let segment = |protocol, flags| {
            let mut v4 = [0; 40];
            (v4[0], v4[3], v4[8], v4[9]) = (0x45, 40, 64, protocol);
            (v4[32], v4[33]) = (0x50, flags);
            v4
        };
        // RFC 9293, section 3.1: 4 is RST, 2 is SYN, 16 is ACK.
        for (flags, expected) in [(4, true), (4 | 16, false), (2, false), (16, false)] {
            assert_eq!(is_refusal(&segment(6, flags)), expected, "{flags}");
        }
        assert!(!is_refusal(&segment(17, 4)));
        assert!(!is_refusal(&segment(6, 4)[..30]));
    }

    #[test]
    fn what_ends_a_connection_is_no_probe() {
        let mut segment = [0; 40];
        (segment[0], segment[3], segment[8], segment[9]) = (0x45, 40, 64, 6);
        segment[16..20].copy_from_slice(&[10, 71, 8, 2]);
        segment[32] = 0x50;
        // RFC 9293, section 3.1: 2 is SYN, 4 is RST, 16 is ACK.
        for (flags, expected) in [(2, true), (16, true), (4, false), (4 | 16, false)] {
            segment[33] = flags;
            assert_eq!(is_probe_toward(target(Family::V4), &segment), expected, "{flags}");
        }
        assert!(!is_probe_toward(path(Family::V4)[0], &segment));
    }

    #[test]
    fn only_what_goes_to_the_target_has_a_ttl() {
        let mut v4 = [0; 28];
        (v4[0], v4[8]) = (0x45, 12);
        v4[16..20].copy_from_slice(&[10, 71, 8, 2]);
        assert_eq!(ttl_toward(target(Family::V4), &v4), Some(12));
        assert_eq!(ttl_toward(path(Family::V4)[0], &v4), None);
        let mut v6 = [0; 48];
        (v6[0], v6[7]) = (0x60, 3);
        v6[24..40].copy_from_slice(&[0xfd, 0, 0, 0x71, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(ttl_toward(target(Family::V6), &v6), Some(3));
        assert_eq!(ttl_toward(target(Family::V6), &v6[..39]), None);
        assert_eq!(ttl_toward(target(Family::V6), &[]), None);
    }
}
