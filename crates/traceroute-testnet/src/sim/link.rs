//! Links: delay, jitter, loss, duplication, reordering.

use std::collections::BTreeSet;
use std::time::Duration;

use traceroute_wire::Timestamp;

use super::random::Random;

/// A link between a node and the one before it on the way from the client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Away from the client.
    pub forward: Lane,
    /// Toward the client.
    pub back: Lane,
}

impl Link {
    /// Sets the one-way delay in both directions.
    pub fn set_delay(&mut self, delay: Duration) {
        self.forward.delay = delay;
        self.back.delay = delay;
    }

    /// Sets the probability of loss in both directions.
    pub fn set_loss(&mut self, loss: f64) {
        self.forward.loss = loss;
        self.back.loss = loss;
    }
}

/// One direction of a link. Datagrams stay in order, whatever the jitter, except those that are held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// How long every datagram takes at least.
    pub delay: Duration,
    /// How much longer it may take: uniformly distributed from zero to this.
    pub jitter: Duration,
    /// The probability that a datagram is lost.
    pub loss: f64,
    /// Which datagrams are lost besides: their numbers, counted from 1 as they enter the lane.
    pub drop: BTreeSet<u64>,
    /// The probability that a datagram arrives twice.
    pub duplicate: f64,
    /// The probability that a datagram is held back, so that later ones overtake it.
    pub reorder: f64,
    /// How long a datagram is held back.
    pub reorder_delay: Duration,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            drop: BTreeSet::new(),
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(5),
        }
    }
}

/// A lane in operation.
#[derive(Debug)]
pub(super) struct LaneState {
    lane: Lane,
    random: Random,
    entered: u64,
    last_arrival: Timestamp,
}

impl LaneState {
    pub(super) fn new(lane: Lane, random: Random) -> Self {
        Self { lane, random, entered: 0, last_arrival: Timestamp::ZERO }
    }

    /// When a datagram that enters now arrives: never, once or twice.
    pub(super) fn transmit(&mut self, now: Timestamp) -> Vec<Timestamp> {
        self.entered += 1;
        // Always four draws, so that one fault does not change the dice of another.
        let [jitter, loss, duplicate, reorder] = std::array::from_fn(|_| self.random.unit());
        if loss < self.lane.loss || self.lane.drop.contains(&self.entered) {
            return Vec::new();
        }
        let mut arrival = now + self.lane.delay + self.lane.jitter.mul_f64(jitter);
        if reorder < self.lane.reorder {
            arrival = arrival + self.lane.reorder_delay;
        } else {
            arrival = arrival.max(self.last_arrival);
            self.last_arrival = arrival;
        }
        vec![arrival; if duplicate < self.lane.duplicate { 2 } else { 1 }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn arrivals(lane: Lane, seed: u64) -> Vec<Vec<Timestamp>> {
        let mut state = LaneState::new(lane, Random::new(seed, 0));
        (0..1000).map(|i| state.transmit(Timestamp::ZERO + MS * i)).collect()
    }

    #[test]
    fn jitter_keeps_the_order() {
        let seen = arrivals(Lane { jitter: 20 * MS, ..Lane::default() }, 1).concat();
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), 1000);
        for (i, at) in (0..).zip(&seen) {
            assert!(at.saturating_since(Timestamp::ZERO + MS * i) >= MS);
        }
    }

    #[test]
    fn reordering_breaks_the_order() {
        let seen = arrivals(Lane { reorder: 0.1, ..Lane::default() }, 1).concat();
        assert!(!seen.is_sorted());
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn loss_and_duplication_have_their_probability_and_seeds_matter() {
        let lane = Lane { loss: 0.2, duplicate: 0.1, ..Lane::default() };
        let seen = arrivals(lane.clone(), 1);
        let count = |n| seen.iter().filter(|a| a.len() == n).count();
        assert!((170..230).contains(&count(0)), "{}", count(0));
        assert!((55..105).contains(&count(2)), "{}", count(2));
        assert_eq!(seen, arrivals(lane.clone(), 1));
        assert_ne!(seen, arrivals(lane, 2));
    }

    #[test]
    fn chosen_datagrams_are_lost() {
        let seen = arrivals(Lane { drop: [1, 3].into(), ..Lane::default() }, 1);
        assert_eq!(seen.iter().take(4).map(Vec::len).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }
}
