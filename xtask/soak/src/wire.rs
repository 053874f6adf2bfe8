//! What passes the client's link: watched as it comes, so that nothing piles up.

use std::collections::HashSet;
use std::net::IpAddr;

use traceroute_core::Direction;
use traceroute_testnet::sim::{Record, describe};

use crate::bed::DENIED;
use crate::claim::{Claim, Examples};
use crate::fairness::{APART, Fairness};
use crate::pace::{Pace, most_allowed};
use crate::plan::{Plan, Scenario};
use crate::probe::Probe;
use crate::quarantine::Quarantine;

/// Everything that is known of what has passed.
#[derive(Debug)]
pub(crate) struct Wire {
    plan: Plan,
    quarantine: Quarantine,
    pace: Pace,
    /// The targets of `budget`, of which each request has its own.
    targets: HashSet<IpAddr>,
    /// By target.
    fairness: Fairness<IpAddr>,
    answers: u64,
    /// Datagrams to an address that the service is not to trace.
    denied: u64,
    /// What the simulated network could not take or deliver.
    faults: Examples,
    strangers: Examples,
}

impl Wire {
    pub(crate) fn new(plan: Plan) -> Self {
        let targets = match plan.scenario {
            Scenario::Budget => plan.orders().map(|order| order.target.address(order.family)).collect(),
            Scenario::Steady | Scenario::Descriptors | Scenario::Service => HashSet::new(),
        };
        Self {
            plan,
            targets,
            quarantine: Quarantine::default(),
            pace: Pace::default(),
            fairness: Fairness::default(),
            answers: 0,
            denied: 0,
            faults: Examples::default(),
            strangers: Examples::default(),
        }
    }

    /// Takes the next datagram.
    pub(crate) fn see(&mut self, record: &Record) {
        if let Some(fault) = &record.fault {
            self.faults.add(|| format!("{}: {fault}", describe(&record.datagram)));
        }
        if record.direction == Direction::Received {
            self.answers += 1;
            return;
        }
        let Some(probe) = Probe::parse(&record.datagram) else {
            self.strangers.add(|| describe(&record.datagram));
            return;
        };
        self.quarantine.see(record.at, &probe);
        self.pace.see(record.at);
        self.denied += u64::from(probe.triple.destination == IpAddr::from(DENIED));
        if self.targets.contains(&probe.triple.destination) {
            self.fairness.see(record.at, probe.triple.destination);
        }
    }

    /// What follows. `waits` is how often, by the tracer's own count, a probe waited for the budget.
    pub(crate) fn claims(&self, waits: u64) -> Vec<Claim> {
        let Self { quarantine, pace, .. } = self;
        let figures = format!(
            "{} probes, {} answers, {} faults of the network, {} other datagrams",
            pace.all, self.answers, self.faults, self.strangers
        );
        let only_probes = self.faults.count == 0 && self.strangers.count == 0;
        let clean = match self.plan.scenario {
            // Where a target is dead, or a client goes, answers stay out.
            Scenario::Service => Claim::new(
                "the wire shows probes and their answers, and nothing else",
                (1..=pace.all).contains(&self.answers) && only_probes,
                figures,
            ),
            _ => Claim::new(
                "the wire shows probes, each answered once, and nothing else",
                pace.all == self.answers && only_probes,
                figures,
            ),
        };
        let mut claims = vec![
            clean,
            Claim::new(
                "quarantine holds on the wire: no triple with another token within 60 s",
                quarantine.violations.count == 0 && quarantine.identities > 0,
                format!("{} identities, {} violations", quarantine.identities, quarantine.violations),
            ),
        ];
        if self.plan.scenario == Scenario::Budget {
            claims.extend(self.budget_claims(waits));
        }
        if self.plan.scenario == Scenario::Service {
            claims.push(Claim::new(
                format!("nothing is sent to {DENIED}, which is denied"),
                self.denied == 0,
                self.denied.to_string(),
            ));
        }
        claims
    }

    fn budget_claims(&self, waits: u64) -> Vec<Claim> {
        let Self { pace, plan, .. } = self;
        let (budget, allowed) = (plan.budget(), most_allowed(plan.budget()));
        let above = Claim::new(
            format!("no second has more probes than the budget of {budget} and its burst: {allowed}"),
            (1..=allowed as usize).contains(&pace.most),
            format!("at most {}", pace.most),
        );
        // All wait, except the burst at the start, and after the last request has ended.
        let counted = Claim::new(
            "waits are counted: 95 to 100 % of the probes",
            (pace.all * 95 / 100..=pace.all).contains(&waits) && pace.all > 0,
            format!("{waits} waits, {} probes", pace.all),
        );
        let whats = [
            "the budget is used, 95 % at least, while all requests have something to send".to_owned(),
            format!("round robin: the requests' numbers of probes are at most {APART} apart"),
            "no starvation: no request waits longer than two rounds".to_owned(),
        ];
        let Some(served) = self.fairness.served() else {
            let not_shown =
                whats.map(|what| Claim::not_shown(what, "the requests were never under way together"));
            return [above, counted].into_iter().chain(not_shown).collect();
        };
        let due = u128::from(budget) * served.window.as_millis() / 1_000;
        let [used, fair, starved] = whats;
        vec![
            above,
            counted,
            Claim::new(
                used,
                served.probes as u128 * 100 >= due * 95,
                format!("{} probes in {:.1?}, due {due}", served.probes, served.window),
            ),
            Claim::new(
                fair,
                served.is_fair() && served.requests == plan.requests() as usize,
                format!("{} to {} probes of each of {}", served.fewest, served.most, served.requests),
            ),
            Claim::new(
                starved,
                served.longest_gap <= served.gap_allowed(budget),
                format!("at most {:.2?}, allowed {:.2?}", served.longest_gap, served.gap_allowed(budget)),
            ),
        ]
    }
}
