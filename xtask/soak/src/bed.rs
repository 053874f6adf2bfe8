//! The network: a client, load balanced routers, and a target with many addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use traceroute_testnet::sim::Topology;
use traceroute_testnet::{AddressPlan, DualStack};

/// Stages on the way, of which one has branches.
const STAGES: u8 = 5;
/// The stage with the branches, counted from 1.
const BALANCED: u8 = 3;
/// Each branch has this many routers. Which one a run takes hangs on its ports, so that an answer that is booked with
/// the wrong run shows as a path that does not exist in three of four cases.
const BRANCHES: [u8; 4] = [2; 4];
/// The routers and the target.
pub(crate) const HOPS: u32 = 7;
/// One way, of the first link and of each other one.
const DELAYS: (Duration, Duration) = (Duration::from_millis(8), Duration::from_millis(1));

/// What the service refuses to trace unless it is told otherwise.
pub(crate) const DENIED: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Half the time between two end-to-end probes of a default request. The network takes 28 ms at most, so a round trip
/// above this is one of another probe, or the machine stood still.
pub(crate) const LONGEST_RTT: Duration = Duration::from_millis(500);
/// The least round trip is the network's own, less what a wall clock that is being set by 500 ppm takes from 28 ms.
const CLOCK: Duration = Duration::from_micros(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

/// An address of the target: the popular one is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Number(pub(crate) u32);

impl Number {
    pub(crate) const POPULAR: Self = Self(0);
    /// Nobody answers there.
    pub(crate) const DEAD: Self = Self(65_000);

    pub(crate) fn address(self, family: Family) -> IpAddr {
        if self == Self::POPULAR {
            return of_family(AddressPlan::default().right(STAGES), family);
        }
        match family {
            // 10.72.0.0/16 and fd00:72::/32: next to the address plan's.
            Family::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(10, 72, 0, 0).to_bits() + self.0).into(),
            Family::V6 => {
                let network = Ipv6Addr::new(0xfd00, 0x72, 0, 0, 0, 0, 0, 0).to_bits();
                Ipv6Addr::from_bits(network + u128::from(self.0)).into()
            }
        }
    }
}

/// The network, where the target has `others` addresses of each family beside the popular one.
pub(crate) fn topology(others: u32) -> Topology {
    let (first, other) = DELAYS;
    let numbers = (1..=others).map(Number);
    let addresses = numbers.flat_map(|number| [Family::V4, Family::V6].map(|family| number.address(family)));
    Topology::chain(STAGES)
        .with_branches(BALANCED.into(), &BRANCHES)
        .with_links(|link| link.set_delay(other))
        .with_link(0, |link| link.set_delay(first))
        .with_target(|target| target.more.extend(addresses))
}

/// The round trip to a hop, counted from 1, as far as the network makes it.
pub(crate) fn round_trip(hop: usize) -> Duration {
    let (first, other) = DELAYS;
    let further = u32::try_from(hop.saturating_sub(1)).unwrap_or(u32::MAX);
    2 * (first + further * other)
}

/// Whether no packet can have been to a hop and back so soon.
pub(crate) fn is_too_short(hop: usize, round_trip: Duration) -> bool {
    round_trip + CLOCK < self::round_trip(hop)
}

/// Whether a round trip is one of another probe.
pub(crate) fn is_too_long(round_trip: Duration) -> bool {
    round_trip > LONGEST_RTT
}

/// The paths that there are to a target's address, one for each branch.
pub(crate) fn paths(target: IpAddr) -> Vec<Vec<IpAddr>> {
    let plan = AddressPlan::default();
    let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
    let path = |(branch, &routers): (u8, &u8)| -> Vec<IpAddr> {
        let balanced = (1..=routers).map(|place| plan.host(BALANCED - 1, 10 * branch + place));
        let before = (0..BALANCED - 1).map(|link| plan.right(link));
        let after = (BALANCED..STAGES).map(|link| plan.right(link));
        let routers = before.chain(balanced).chain(after).map(|addresses| of_family(addresses, family));
        routers.chain([target]).collect()
    };
    (1..).zip(&BRANCHES).map(path).collect()
}

fn of_family(addresses: DualStack, family: Family) -> IpAddr {
    match family {
        Family::V4 => addresses.v4.into(),
        Family::V6 => addresses.v6.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_path_for_each_branch() {
        let paths = paths("10.72.0.9".parse().unwrap());
        let words = |path: &[IpAddr]| path.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(paths.len(), 4);
        assert_eq!(
            words(&paths[1]),
            "10.71.0.2 10.71.1.2 10.71.2.21 10.71.2.22 10.71.3.2 10.71.4.2 10.72.0.9"
        );
        assert!(paths.iter().all(|path| path.len() == HOPS as usize));
    }

    #[test]
    fn round_trips_grow_by_two_milliseconds() {
        assert_eq!(round_trip(1), Duration::from_millis(16));
        assert_eq!(round_trip(7), Duration::from_millis(28));
    }

    #[test]
    fn targets_have_addresses_of_their_own() {
        assert_eq!(Number::POPULAR.address(Family::V4).to_string(), "10.71.5.2");
        assert_eq!(Number(300).address(Family::V4).to_string(), "10.72.1.44");
        assert_eq!(Number(300).address(Family::V6).to_string(), "fd00:72::12c");
        let topology = topology(3);
        assert_eq!(topology.target.more.len(), 6);
        assert_eq!(topology.target.addresses.v4, Number::POPULAR.address(Family::V4));
    }
}
