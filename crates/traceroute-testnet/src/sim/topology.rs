//! The description of a simulated network.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use traceroute_wire::Timestamp;

use super::link::Link;
use super::nat::DestinationNat;
use super::node::{Router, Target};
use crate::address_plan::{AddressPlan, DualStack};

/// A client, a path of routers and a target.
///
/// [`Topology::chain`] describes a well-behaved path; the `with` functions then spoil it:
///
/// ```
/// # use std::time::Duration;
/// # use traceroute_testnet::sim::{RateLimit, Topology, UdpService};
/// let topology = Topology::chain(5)
///     .with_links(|link| link.set_delay(Duration::from_millis(7)))
///     .with_router(2, |router| router.answers.silent = true)
///     .with_router(4, |router| router.answers.rate_limit = Some(RateLimit::LINUX))
///     .with_branches(3, &[1, 1, 2])
///     .with_target(|target| target.services.udp = UdpService::Echo);
/// ```
#[derive(Clone, Debug)]
pub struct Topology {
    /// The client's addresses.
    pub client: DualStack,
    /// What lies between the client and the target, one stage after the other.
    pub stages: Vec<Stage>,
    /// The target.
    pub target: Target,
    /// Datagrams that nobody on the path sends.
    pub forgeries: Vec<Forgery>,
    plan: AddressPlan,
}

/// A place on the path: one router, or parallel branches among which a load balancer chooses.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The branches, each a row of routers.
    pub branches: Vec<Vec<Router>>,
    /// How the branch of a datagram is chosen.
    pub balance: Balance,
}

/// How a load balancer chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// By a hash over the flow: addresses, protocol, ports, traffic class, flow label, of ICMP type, code, checksum
    /// and identifier.
    #[default]
    PerFlow,
    /// One after the other.
    PerPacket,
}

/// A datagram that reaches the client though nobody on the path sent it.
#[derive(Clone)]
pub struct Forgery {
    pub(super) when: ForgeryTime,
    pub(super) make: Arc<Make>,
}

/// Makes a datagram from a probe.
pub(super) type Make = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// When a forgery arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForgeryTime {
    At(Timestamp),
    AfterProbe { number: u64, delay: Duration },
}

impl fmt::Debug for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgery").field("when", &self.when).finish_non_exhaustive()
    }
}

impl Topology {
    /// A path of `routers` routers with the default [`AddressPlan`], the same as
    /// [`kernel::Chain`](crate::kernel::Chain)'s.
    ///
    /// Every link has a delay of 1 ms each way, so router `i` answers after `2 * i` ms.
    #[must_use]
    pub fn chain(routers: u8) -> Self {
        Self::chain_with(routers, AddressPlan::default())
    }

    /// A path of `routers` routers with the addresses of a plan.
    #[must_use]
    pub fn chain_with(routers: u8, plan: AddressPlan) -> Self {
        let router = |link| Router::new(plan.right(link));
        Self {
            client: plan.left(0),
            stages: (0..routers).map(|link| Stage::single(router(link))).collect(),
            target: Target::new(plan.right(routers)),
            forgeries: Vec::new(),
            plan,
        }
    }

    /// Changes router `i`, counted from 1 as its TTL is; where there are branches there, all their routers.
    ///
    /// # Panics
    ///
    /// When there is no such router.
    #[must_use]
    pub fn with_router(mut self, i: usize, change: impl FnMut(&mut Router)) -> Self {
        self.stage(i).branches.iter_mut().flatten().for_each(change);
        self
    }

    /// Changes one router of a branch, all counted from 1: stage, branch and place in it.
    ///
    /// # Panics
    ///
    /// When there is no such router.
    #[must_use]
    pub fn with_branch_router(
        mut self,
        stage: usize,
        branch: usize,
        place: usize,
        change: impl FnOnce(&mut Router),
    ) -> Self {
        change(&mut self.stage(stage).branches[branch - 1][place - 1]);
        self
    }

    /// Puts parallel branches in the place of router `i`, of as many routers as `lengths` says.
    ///
    /// Router `j` of branch `b` has the host number `10 * b + j` in the network of link `i - 1`, as in `10.71.2.21`.
    ///
    /// # Panics
    ///
    /// When there is no such router, or more than 24 branches, or more than 9 routers in one.
    #[must_use]
    pub fn with_branches(mut self, i: usize, lengths: &[u8]) -> Self {
        let plan = self.plan;
        assert!(
            lengths.len() <= 24 && lengths.iter().all(|&l| l <= 9),
            "no addresses for branches {lengths:?}"
        );
        let link = u8::try_from(i - 1).unwrap_or(u8::MAX);
        let branch = |(number, &length): (u8, &u8)| -> Vec<Router> {
            (1..=length).map(|j| Router::new(plan.host(link, 10 * number + j))).collect()
        };
        self.stage(i).branches = (1..).zip(lengths).map(branch).collect();
        self
    }

    /// Sets how the branches in the place of router `i` are chosen.
    ///
    /// # Panics
    ///
    /// When there is no such router.
    #[must_use]
    pub fn with_balance(mut self, i: usize, balance: Balance) -> Self {
        self.stage(i).balance = balance;
        self
    }

    /// Changes the target.
    #[must_use]
    pub fn with_target(mut self, change: impl FnOnce(&mut Target)) -> Self {
        change(&mut self.target);
        self
    }

    /// Changes link `i`, counted from 0: the one into router `i + 1`, the last one into the target.
    ///
    /// # Panics
    ///
    /// When there is no such link.
    #[must_use]
    pub fn with_link(mut self, i: usize, mut change: impl FnMut(&mut Link)) -> Self {
        if i == self.stages.len() {
            change(&mut self.target.link);
        } else {
            let first = |branch: &mut Vec<Router>| branch.first_mut().map(|r| change(&mut r.link));
            self.stage(i + 1).branches.iter_mut().filter_map(first).for_each(drop);
        }
        self
    }

    /// Changes every link.
    #[must_use]
    pub fn with_links(mut self, mut change: impl FnMut(&mut Link)) -> Self {
        for router in self.stages.iter_mut().flat_map(|s| s.branches.iter_mut().flatten()) {
            change(&mut router.link);
        }
        change(&mut self.target.link);
        self
    }

    /// Lets router `i` translate these addresses to the target's: they are what the client traces.
    ///
    /// # Panics
    ///
    /// When there is no such router.
    #[must_use]
    pub fn with_destination_nat(self, i: usize, public: DualStack) -> Self {
        let target = self.target.addresses;
        let rule = |public: IpAddr| DestinationNat { public, private: target.of_family(public) };
        self.with_router(i, |router| {
            router.destination_nat.extend([rule(public.v4.into()), rule(public.v6.into())]);
        })
    }

    /// Lets `datagram` reach the client at a given time.
    #[must_use]
    pub fn with_forgery_at(mut self, at: Timestamp, datagram: Vec<u8>) -> Self {
        let make = Arc::new(move |_: &[u8]| datagram.clone());
        self.forgeries.push(Forgery { when: ForgeryTime::At(at), make });
        self
    }

    /// Lets a datagram made from probe number `number`, counted from 1, reach the client `delay` after it was sent.
    #[must_use]
    pub fn with_forgery_after_probe(
        mut self,
        number: u64,
        delay: Duration,
        make: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.forgeries
            .push(Forgery { when: ForgeryTime::AfterProbe { number, delay }, make: Arc::new(make) });
        self
    }

    fn stage(&mut self, i: usize) -> &mut Stage {
        let routers = self.stages.len();
        assert!((1..=routers).contains(&i), "a path of {routers} routers has no router {i}");
        &mut self.stages[i - 1]
    }
}

impl Stage {
    fn single(router: Router) -> Self {
        Self { branches: vec![vec![router]], balance: Balance::default() }
    }
}
