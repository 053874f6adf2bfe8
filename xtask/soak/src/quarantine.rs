//! Whether an identity that was used comes back too early, as the wire shows it.

use std::collections::HashMap;
use std::time::Duration;

use traceroute_core::Timestamp;

use crate::claim::Examples;
use crate::probe::{Probe, Triple};

/// How long a triple must not be seen with another token. Written down here, not taken from the library.
const QUARANTINE: Duration = Duration::from_mins(1);
/// How often what is older is forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// Remembers who used which triple in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    seen: HashMap<Triple, Use>,
    swept: Timestamp,
    /// Different tokens, that is to say runs and end-to-end probes.
    pub(crate) identities: u64,
    pub(crate) violations: Examples,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    token: u64,
    last: Timestamp,
}

impl Quarantine {
    /// Takes the next probe on the wire.
    pub(crate) fn see(&mut self, at: Timestamp, probe: &Probe) {
        if at.saturating_since(self.swept) >= SWEEP {
            self.seen.retain(|_, used| at.saturating_since(used.last) < QUARANTINE);
            self.swept = at;
        }
        let Probe { triple, token } = *probe;
        let now = Use { token, last: at };
        let Some(before) = self.seen.insert(triple, now) else {
            self.identities += 1;
            return;
        };
        if before.token == token {
            return;
        }
        self.identities += 1;
        let pause = at.saturating_since(before.last);
        if pause < QUARANTINE {
            self.violations.add(|| format!("{triple:?} again after {pause:.3?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(seconds)
    }

    fn probe(local: u16, label: u32, token: u64) -> Probe {
        let destination = "192.0.2.9".parse().unwrap();
        Probe { triple: Triple { protocol: 17, local, destination, label }, token }
    }

    #[test]
    fn a_triple_that_comes_back_within_a_minute_is_found() {
        let mut quarantine = Quarantine::default();
        quarantine.see(at(1.0), &probe(61_000, 7, 1));
        quarantine.see(at(2.0), &probe(61_000, 7, 1));
        quarantine.see(at(61.9), &probe(61_000, 7, 2));
        assert_eq!((quarantine.violations.count, quarantine.identities), (1, 2));
        assert!(quarantine.violations.to_string().contains("61000"), "{}", quarantine.violations);
        // The second token's minute counts from its own last use.
        quarantine.see(at(121.8), &probe(61_000, 7, 3));
        assert_eq!(quarantine.violations.count, 2);
    }

    #[test]
    fn after_a_minute_or_with_another_part_it_is_no_violation() {
        let mut quarantine = Quarantine::default();
        quarantine.see(at(1.0), &probe(61_000, 7, 1));
        quarantine.see(at(1.5), &probe(61_000, 8, 2));
        quarantine.see(at(1.5), &probe(61_001, 7, 3));
        quarantine.see(at(61.0), &probe(61_000, 7, 4));
        assert_eq!((quarantine.violations.count, quarantine.identities), (0, 4));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut quarantine = Quarantine::default();
        for i in 0..1_000_u16 {
            quarantine.see(at(f64::from(i)), &probe(i, 7, i.into()));
        }
        // A minute, and what a sweep each ten seconds leaves.
        assert!(quarantine.seen.len() <= 70, "{}", quarantine.seen.len());
    }
}
