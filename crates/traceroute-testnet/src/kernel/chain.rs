//! A client, routers and a target in a row.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{Namespace, Node};
use crate::address_plan::{AddressPlan, DualStack};
use crate::error::Error;

const READY_WITHIN: Duration = Duration::from_secs(5);
const READY_RETRY: Duration = Duration::from_millis(5);

/// A client, routers and a target, each in a namespace of its own, joined by veth pairs.
///
/// Neighbours know each other's hardware address from the start, so no probe waits for ARP or NDP. ICMP rate limits
/// are off unless [`kernel_rate_limits`](ChainBuilder::kernel_rate_limits) asks for them.
#[derive(Debug)]
pub struct Chain {
    nodes: Vec<Node>,
}

/// How to build a [`Chain`].
#[derive(Clone, Debug)]
pub struct ChainBuilder {
    routers: u8,
    plan: AddressPlan,
    kernel_rate_limits: bool,
}

impl ChainBuilder {
    /// The number of routers, 8 unless given; with none the client is linked to the target.
    ///
    /// # Panics
    ///
    /// When there are more than 60: what kernels send starts with a TTL of 64.
    #[must_use]
    pub fn routers(mut self, routers: u8) -> Self {
        assert!(routers <= 60, "the ends of a chain of {routers} routers are too far apart to talk");
        self.routers = routers;
        self
    }

    /// The addresses, `10.71.i.0/24` and `fd00:71:i::/64` unless given.
    #[must_use]
    pub fn addresses(mut self, plan: AddressPlan) -> Self {
        self.plan = plan;
        self
    }

    /// Keeps the kernel's ICMP rate limits: errors to one address six at once, then one a second (ten in IPv6), and
    /// fifty at once, a thousand a second to all.
    #[must_use]
    pub fn kernel_rate_limits(mut self) -> Self {
        self.kernel_rate_limits = true;
        self
    }

    /// Builds the chain and returns when both families pass through it both ways.
    pub fn build(self) -> Result<Chain, Error> {
        let last = usize::from(self.routers) + 1;
        let target = self.plan.right(self.routers);
        let nodes = (0..=last)
            .zip(0_u8..)
            .map(|(index, number)| {
                let node = Node {
                    namespace: Namespace::new()?,
                    left: (index > 0).then(|| self.plan.right(number - 1)),
                    right: (index < last).then(|| self.plan.left(number)),
                    target,
                };
                self.set_parameters(&node.namespace)?;
                Ok(node)
            })
            .collect::<Result<Vec<_>, Error>>()?;

        nodes[0].ip(&links(&nodes))?;
        let scripts = (0_u8..)
            .zip(&nodes)
            .map(|(index, node)| node.start_ip(self.configuration(index)))
            .collect::<Result<Vec<_>, _>>()?;
        scripts.into_iter().try_for_each(super::commands::Script::wait)?;

        let chain = Chain { nodes };
        chain.await_passage(chain.target().addresses().v4.into())?;
        chain.await_passage(chain.target().addresses().v6.into())?;
        Ok(chain)
    }

    fn set_parameters(&self, namespace: &Namespace) -> Result<(), Error> {
        namespace.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
        ])?;
        if self.kernel_rate_limits {
            return Ok(());
        }
        // No type of message is limited. A rate of zero would not do: it leaves the bucket of all messages, of which the
        // kernel drops one when two processors send their first at one time (`icmp_global_allow`), and it takes the
        // tokens from which a missing route is answered (`ip_error` in net/ipv4/route.c).
        namespace.sysctl(&[("net.ipv4.icmp_ratemask", "0"), ("net.ipv6.icmp.ratemask", "2")])
    }

    /// Addresses, neighbours and routes of one node.
    fn configuration(&self, index: u8) -> String {
        let mut script = String::new();
        if index > 0 {
            let link = index - 1;
            configure_interface(&mut script, "left", self.plan.right(link), self.plan.left(link), link, 1);
        }
        if index <= self.routers {
            configure_interface(
                &mut script,
                "right",
                self.plan.left(index),
                self.plan.right(index),
                index,
                2,
            );
        }
        // Everything is to the right, except what is known to be to the left.
        if index <= self.routers {
            add_route(&mut script, None, self.plan.right(index));
            for link in 0..index.saturating_sub(1) {
                add_route(&mut script, Some(self.plan.host(link, 0)), self.plan.left(index - 1));
            }
        } else {
            add_route(&mut script, None, self.plan.left(index - 1));
        }
        script
    }
}

impl Chain {
    /// Starts to describe a chain.
    #[must_use]
    pub fn builder() -> ChainBuilder {
        ChainBuilder { routers: 8, plan: AddressPlan::default(), kernel_rate_limits: false }
    }

    /// The host from which to trace.
    #[must_use]
    pub fn client(&self) -> &Node {
        &self.nodes[0]
    }

    /// Router `i`, counted from 1 as its TTL is.
    ///
    /// # Panics
    ///
    /// When there is no such router.
    #[must_use]
    pub fn router(&self, i: usize) -> &Node {
        assert!((1..=self.routers()).contains(&i), "a chain of {} routers has no router {i}", self.routers());
        &self.nodes[i]
    }

    /// The number of routers.
    #[must_use]
    pub fn routers(&self) -> usize {
        self.nodes.len() - 2
    }

    /// The host to which to trace.
    #[must_use]
    pub fn target(&self) -> &Node {
        &self.nodes[self.nodes.len() - 1]
    }

    /// The addresses that a trace shows: of the routers and the target, in the family of `of`.
    #[must_use]
    pub fn path(&self, of: IpAddr) -> Vec<IpAddr> {
        let routers = (1..=self.routers()).map(|i| self.router(i));
        routers.chain([self.target()]).map(|node| node.addresses().of_family(of)).collect()
    }

    /// Sends a UDP datagram there and back until one makes it: carrier and IPv6 addresses come up a moment after the
    /// commands that order them.
    fn await_passage(&self, target: IpAddr) -> Result<(), Error> {
        let start = Instant::now();
        // Kept from try to try: a late datagram to a closed port would cost a token of the target's rate limit.
        let mut sockets = None;
        while start.elapsed() < READY_WITHIN {
            sockets = sockets.or_else(|| self.sockets(target).ok());
            if sockets.as_ref().is_some_and(|ends| round_trip(ends).is_ok()) {
                return Ok(());
            }
        }
        Err(Error::NotReady {
            what: format!("no datagram went from the client to {target} and back"),
            waited: READY_WITHIN,
        })
    }

    fn sockets(&self, target: IpAddr) -> io::Result<[UdpSocket; 2]> {
        let client = self.client().addresses().of_family(target);
        Ok([
            self.client().run(|| UdpSocket::bind((client, 0)))?,
            self.target().run(|| UdpSocket::bind((target, 0)))?,
        ])
    }
}

fn round_trip([client, target]: &[UdpSocket; 2]) -> io::Result<()> {
    for (from, to) in [(client, target), (target, client)] {
        to.set_read_timeout(Some(READY_RETRY))?;
        from.send_to(b"ready?", to.local_addr()?)?;
        to.recv(&mut [0; 16])?;
    }
    Ok(())
}

/// The veth pairs, made by one process: a peer can be put into any namespace.
fn links(nodes: &[Node]) -> String {
    let mut script = String::new();
    for (link, pair) in (0_u8..).zip(nodes.windows(2)) {
        let _ = writeln!(
            script,
            "link add name right address {} netns {} type veth peer name left address {} netns {}",
            station(link, 1),
            pair[0].namespace.path().display(),
            station(link, 2),
            pair[1].namespace.path().display(),
        );
    }
    script
}

fn configure_interface(
    script: &mut String,
    name: &str,
    own: DualStack,
    peer: DualStack,
    link: u8,
    peer_end: u8,
) {
    let station = station(link, peer_end);
    let _ = write!(
        script,
        "address add {}/24 dev {name}\n\
         address add {}/64 dev {name} nodad\n\
         link set {name} up\n\
         neighbour replace {} lladdr {station} nud permanent dev {name}\n\
         neighbour replace {} lladdr {station} nud permanent dev {name}\n",
        own.v4, own.v6, peer.v4, peer.v6,
    );
}

fn add_route(script: &mut String, to: Option<DualStack>, via: DualStack) {
    let (to4, to6) = match to {
        Some(DualStack { v4, v6 }) => (format!("{v4}/24"), format!("{v6}/64")),
        None => ("default".to_owned(), "default".to_owned()),
    };
    let _ = write!(script, "route add {to4} via {}\nroute add {to6} via {}\n", via.v4, via.v6);
}

/// The hardware address of one end of a link.
fn station(link: u8, end: u8) -> String {
    format!("02:00:00:00:{link:02x}:{end:02x}")
}
