//! The scenarios: which request is started when, and with which limits.

use std::num::NonZeroU32;
use std::time::Duration;

use traceroute::{Limits, Protocol};

use crate::bed::{Family, HOPS, Number};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Default requests for minutes.
    Steady,
    /// A budget of probes a second far below the demand.
    Budget,
    /// Fewer descriptors than runs.
    Descriptors,
    /// All sorts of clients of the service.
    Service,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [Self::Steady, Self::Budget, Self::Descriptors, Self::Service];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Budget => "budget",
            Self::Descriptors => "descriptors",
            Self::Service => "service",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }
}

/// A scenario with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// How long it is: for how many seconds requests are started in `steady`, to which `budget` and `service` are in proportion.
    pub(crate) seconds: u32,
    /// Requests a second.
    pub(crate) rate: u32,
}

/// A request to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) protocol: Protocol,
    pub(crate) family: Family,
    pub(crate) target: Number,
    pub(crate) runs: u32,
    /// End-to-end probes.
    pub(crate) probes: u32,
}

/// What a client of the service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Asks, and waits for the result.
    Plain,
    /// Asks for the stream, and reads it to its end.
    Stream,
    /// Takes its time over the request.
    InPieces,
    /// Does not end its request.
    Unfinished,
    /// Asks for a target that does not answer.
    DeadTarget,
    /// Asks for what is not carried out; there are several such cases.
    Bad(u32),
    /// Goes before the answer is complete.
    Leaves { stream: bool, after: Duration },
}

/// Addresses beside the popular one in `steady`.
const OTHERS: u32 = 250;
/// The budget in `budget` is this part of what the requests started in a second need.
const SCARCITY: u32 = 10;
/// `budget` starts requests for this part of the time.
const SHORTER: u32 = 30;
/// How many descriptors the worker may have in `descriptors`.
pub(crate) const DESCRIPTORS: u32 = 256;
/// So many requests want all of them there.
const GREEDY: u32 = 8;

/// `service` lasts so many times as long as `steady`.
const LONGER: u32 = 2;

const DEFAULT: (u32, u32) = (3, 50);
/// Two or three seconds.
const SHORT: (u32, u32) = (2, 3);
const LARGE: (u32, u32) = (10, 200);

const KINDS: [(Protocol, Family); 4] = [
    (Protocol::Udp, Family::V4),
    (Protocol::Icmp, Family::V4),
    (Protocol::Udp, Family::V6),
    (Protocol::Icmp, Family::V6),
];

impl Order {
    /// At most so many probes will be sent: two beyond the target in each run.
    pub(crate) const fn packets(&self) -> u32 {
        self.runs * (HOPS + 2) + self.probes
    }
}

impl Visit {
    /// What client `index` of `service` does, counted from 0.
    pub(crate) fn of(index: u32) -> Self {
        let round = index / 10;
        // Anywhere in the first half of what a request takes.
        let after = Duration::from_millis(u64::from(index) * 37 % 1_500);
        match index % 10 {
            0..3 => Self::Plain,
            3..5 => Self::Stream,
            5 => Self::Bad(round),
            6 => Self::DeadTarget,
            7 if round.is_multiple_of(2) => Self::InPieces,
            7 => Self::Unfinished,
            8 => Self::Leaves { stream: false, after },
            _ => Self::Leaves { stream: true, after },
        }
    }

    /// What has to be true of it.
    pub(crate) const fn claim(self) -> &'static str {
        match self {
            Self::Plain => "every good request gives what is right",
            Self::Stream => "every good stream ends with what is right, and loses no event",
            Self::InPieces => "a client that takes two seconds over its request gets what is right",
            Self::Unfinished => "a client that does not end its request is hung up on when its time is over",
            Self::DeadTarget => "a dead target gives its routers",
            Self::Bad(_) => "what cannot be carried out is answered with the status that says why",
            Self::Leaves { stream: false, .. } => "clients go before they are answered",
            Self::Leaves { stream: true, .. } => "clients go while they read a stream",
        }
    }
}

impl Plan {
    /// For how long requests are started.
    pub(crate) fn duration(&self) -> Duration {
        self.start(self.requests())
    }

    /// How many requests are started.
    pub(crate) const fn requests(&self) -> u32 {
        match self.scenario {
            Scenario::Steady => self.rate * self.seconds,
            Scenario::Budget => self.rate * (if self.seconds < SHORTER { 1 } else { self.seconds / SHORTER }),
            Scenario::Descriptors => GREEDY + 4,
            Scenario::Service => self.rate * self.seconds * LONGER,
        }
    }

    /// When request `index` is started, counted from the first.
    pub(crate) fn start(&self, index: u32) -> Duration {
        match self.scenario {
            Scenario::Steady | Scenario::Budget | Scenario::Service => {
                Duration::from_secs(1) * index / self.rate
            }
            // Together, so that their end-to-end probes want ports at the same time.
            Scenario::Descriptors if index < GREEDY => Duration::ZERO,
            Scenario::Descriptors => Duration::from_secs(2),
        }
    }

    /// How many addresses there are beside the popular one.
    pub(crate) const fn others(&self) -> u32 {
        match self.scenario {
            Scenario::Steady | Scenario::Service => OTHERS,
            Scenario::Budget | Scenario::Descriptors => self.requests(),
        }
    }

    /// Request `index`, counted from 0.
    pub(crate) fn order(&self, index: u32) -> Order {
        let kind = |place: u32| KINDS[place as usize % KINDS.len()];
        let ((protocol, family), target, (runs, probes)) = match self.scenario {
            Scenario::Steady => {
                let (kind, target) = steady(index);
                (kind, target, DEFAULT)
            }
            // Another kind and target each round, whatever the client does.
            Scenario::Service => {
                let (kind, target) = steady(index + index / 10);
                (kind, target, SHORT)
            }
            // Each has a target of its own, by which the wire shows whose a probe is. One in ten is large, of all kinds.
            Scenario::Budget => {
                let size = if index % 10 == 9 { LARGE } else { DEFAULT };
                (kind(index + index / 10), Number(index + 1), size)
            }
            // The first want 400 ports for their runs, and one for each end-to-end probe; the others find
            // none left.
            Scenario::Descriptors => {
                let size = if index < GREEDY { (50, 20) } else { DEFAULT };
                let protocol =
                    if index < GREEDY || index.is_multiple_of(2) { Protocol::Udp } else { Protocol::Icmp };
                let family = if index % 4 < 2 { Family::V4 } else { Family::V6 };
                ((protocol, family), Number(index + 1), size)
            }
        };
        Order { protocol, family, target, runs, probes }
    }

    pub(crate) fn orders(&self) -> impl Iterator<Item = Order> {
        (0..self.requests()).map(|index| self.order(index))
    }

    /// At most so many probes will be sent.
    pub(crate) fn packets(&self) -> u32 {
        self.orders().map(|order| order.packets()).sum()
    }

    /// The tracer's limits.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        if self.scenario == Scenario::Budget {
            limits.probes_per_second = NonZeroU32::new(self.budget());
        }
        limits
    }

    /// Probes a second in `budget`.
    pub(crate) fn budget(&self) -> u32 {
        let demand = u64::from(self.rate) * u64::from(self.packets()) / u64::from(self.requests());
        u32::try_from(demand).unwrap_or(u32::MAX).div_ceil(SCARCITY)
    }

    /// A request that has not ended after this time hangs.
    pub(crate) fn patience(&self) -> Duration {
        // The end-to-end probes of all requests take 90 s at most (200 of them, 450 ms apart), each 3 s at most.
        let unhindered = Duration::from_mins(2);
        match self.scenario {
            Scenario::Steady | Scenario::Descriptors | Scenario::Service => unhindered,
            Scenario::Budget => unhindered.max(self.served_within()),
        }
    }

    /// When the budget has served all, counted from the first request: it is in use all the time. The last probe may
    /// take its time-out, and the start and the end are not sharp.
    pub(crate) fn served_within(&self) -> Duration {
        Duration::from_secs(1) * self.packets() / self.budget() + Duration::from_secs(10)
    }
}

/// Five of eight requests go to the popular target, most of them with the default protocol and family.
fn steady(index: u32) -> ((Protocol, Family), Number) {
    let (round, place) = (index / 8, index % 8);
    match place {
        0..4 => (KINDS[place as usize], Number::POPULAR),
        4 => (KINDS[0], Number::POPULAR),
        _ => {
            let other = round * 3 + place - 5;
            (KINDS[other as usize % KINDS.len()], Number(other / 4 % OTHERS + 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const fn plan(scenario: Scenario) -> Plan {
        Plan { scenario, seconds: 300, rate: 20 }
    }

    #[test]
    fn steady_has_a_popular_target_many_others_and_all_kinds_toward_both() {
        let orders: Vec<_> = plan(Scenario::Steady).orders().collect();
        assert_eq!(orders.len(), 6_000);
        let (popular, others): (Vec<_>, Vec<_>) =
            orders.iter().partition(|order| order.target == Number::POPULAR);
        assert_eq!(popular.len(), 3_750);
        for orders in [popular, others] {
            let kinds: HashSet<_> =
                orders.iter().map(|order: &&Order| (order.protocol, order.family)).collect();
            assert_eq!(kinds.len(), 4);
            assert!(orders.iter().all(|order| (order.runs, order.probes) == (3, 50)));
        }
        let targets: HashSet<_> = orders.iter().map(|order| order.target).collect();
        assert_eq!(targets.len(), 251);
    }

    #[test]
    fn budget_gives_a_tenth_and_each_request_has_its_target() {
        let plan = plan(Scenario::Budget);
        let orders: Vec<_> = plan.orders().collect();
        let targets: HashSet<_> = orders.iter().map(|order| order.target).collect();
        assert_eq!((orders.len(), targets.len()), (200, 200));
        let mut large = HashMap::new();
        for order in orders.iter().filter(|order| order.runs == 10) {
            *large.entry((order.protocol, order.family)).or_insert(0) += 1;
        }
        assert_eq!(large.values().copied().collect::<Vec<_>>(), [5; 4]);
        // Nine of ten need 3 * 9 + 50 = 77 probes, one 10 * 9 + 200 = 290: 98.3 each, 1,966 a second.
        assert_eq!((plan.packets(), plan.budget()), (19_660, 197));
    }

    #[test]
    fn descriptors_are_too_few_for_the_runs() {
        let orders: Vec<_> = plan(Scenario::Descriptors).orders().collect();
        let ports: u32 = orders.iter().filter(|o| o.protocol == Protocol::Udp).map(|o| o.runs).sum();
        assert!(ports > DESCRIPTORS, "{ports}");
        assert!(orders.iter().any(|order| order.protocol == Protocol::Icmp));
    }

    #[test]
    fn the_service_has_clients_of_all_sorts_who_ask_for_all_kinds() {
        let plan = plan(Scenario::Service);
        assert_eq!((plan.requests(), plan.duration()), (12_000, Duration::from_mins(10)));
        let mut seen: HashMap<_, HashSet<_>> = HashMap::new();
        for index in 0..plan.requests() {
            let order = plan.order(index);
            seen.entry(Visit::of(index).claim()).or_default().insert((order.protocol, order.family));
        }
        assert_eq!(seen.len(), 8);
        assert!(seen.values().all(|kinds| kinds.len() == 4), "{seen:?}");
    }

    #[test]
    fn scenarios_have_names() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()), Some(scenario));
        }
    }
}
