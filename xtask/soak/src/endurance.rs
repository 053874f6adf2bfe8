//! Whether memory and descriptors stay flat under steady load, and what is left of it.

use std::time::Duration;

use crate::claim::{Claim, megabytes};
use crate::plan::Plan;
use crate::sample::{Sample, Samples};
use crate::slope::slope;

/// When as many requests end as are started, and as many identities leave quarantine as enter it: 50 end-to-end probes, a
/// second apart, then a minute; and a little for the start.
const PLATEAU: Duration = Duration::from_secs(50 + 60 + 5);
/// For how long it must then stay flat.
const LEAST: Duration = Duration::from_mins(2);

/// Bytes of live heap that each further request may add for good: less than any one thing that a request keeps, such as
/// an entry of 24 bytes in a table for each of its 53 identities, or a run's result of a kilobyte.
///
/// Judged is the second fastest growth of the three thirds of the plateau: a table that doubles once, which those of the
/// quarantine do at some time, is in one of them, a leak in all.
const HEAP: f64 = 64.0;
/// Bytes of resident memory likewise: half a page. What the live heap does not count, stacks and mappings, comes in whole
/// pages. Below that, resident memory still creeps for some minutes, because the allocator keeps holes between blocks.
const RESIDENT: f64 = 2_048.0;
/// Descriptors likewise: one for each 50 requests, that is to say for each 2,650 ports. They go up and down by 40 as
/// requests happen to share ports. Whether a single one is left shows exactly when all have ended.
const DESCRIPTORS: f64 = 0.02;
/// Ports of the block, of which each is held by one socket whatever the number of targets: once for each address family,
/// but at this load the two together are less than one block. And what the library and the runtime have open.
const MOST_DESCRIPTORS: u64 = 4_096 + 64;

/// Bytes that may be left for each request a second: the tables of live runs, which stay as large as they were. Some 200 runs
/// are live for each, in four tables with at most 4 * 8 / 7 buckets of 60 bytes for one.
const LEFT: u64 = 200 * 4 * 60 * 4 * 8 / 7;
/// What else may be left: the runtime's own.
const REST: u64 = 256 << 10;

/// Whether the figures of the plateau are flat.
pub(crate) fn flat(plan: &Plan, samples: &Samples) -> Vec<Claim> {
    let end = Duration::from_secs(plan.seconds.into());
    let taken: Vec<_> = samples.taken.iter().filter(|sample| (PLATEAU..=end).contains(&sample.at)).collect();
    let growth_in = |samples: &[&Sample], figure: fn(&Sample) -> u64| {
        let points: Vec<_> =
            samples.iter().map(|sample| (sample.at.as_secs_f64(), count(figure(sample)))).collect();
        slope(&points).map_or(f64::NAN, |slope| slope / f64::from(plan.rate))
    };
    let growth = |figure| {
        let third = taken.len().div_ceil(3).max(1);
        let mut growths = taken.chunks(third).map(|samples| growth_in(samples, figure)).collect::<Vec<_>>();
        growths.sort_by(f64::total_cmp);
        growths.get(1).copied().unwrap_or(f64::NAN)
    };
    let spread = |figure: fn(&Sample) -> u64| {
        let figures = || taken.iter().map(|sample| figure(sample));
        (figures().min().unwrap_or(0), figures().max().unwrap_or(0))
    };
    let [heap, resident, descriptors] = [
        format!("live heap is flat: at most {HEAP} bytes more with each further request"),
        format!("resident memory is flat: at most {RESIDENT} bytes more with each further request"),
        format!(
            "descriptors are flat: at most {DESCRIPTORS} more with each further request, {MOST_DESCRIPTORS} in all"
        ),
    ];
    if end < PLATEAU + LEAST {
        let why = format!("takes {:?} at least", PLATEAU + LEAST);
        return [heap, resident, descriptors].map(|what| Claim::not_shown(what, &*why)).into();
    }
    let bytes = |figure| {
        let (least, most) = spread(figure);
        format!(
            "{:.0}; from {:.1} MB to {:.1} MB that is {:.0}",
            growth(figure),
            megabytes(least),
            megabytes(most),
            growth_in(&taken, figure)
        )
    };
    let (heap_growth, resident_growth) = (growth(|sample| sample.heap), growth(|sample| sample.resident));
    let descriptor_growth = growth_in(&taken, |sample| sample.descriptors);
    let (fewest, most) = spread(|sample| sample.descriptors);
    vec![
        Claim::new(heap, heap_growth <= HEAP, bytes(|sample| sample.heap)),
        Claim::new(resident, resident_growth <= RESIDENT, bytes(|sample| sample.resident)),
        Claim::new(
            descriptors,
            descriptor_growth <= DESCRIPTORS && most <= MOST_DESCRIPTORS,
            format!(
                "{descriptor_growth:.4}; {fewest} to {most}, the most after {:.0?}; {} samples, at most {:.1?} late, \
                 while the runtime was at most {:.1?} late",
                taken
                    .iter()
                    .max_by_key(|sample| sample.descriptors)
                    .map_or(Duration::ZERO, |sample| sample.at),
                taken.len(),
                samples.latest,
                samples.runtime_latest
            ),
        ),
    ]
}

/// Whether what is left on the heap once quarantine has ended is explained.
pub(crate) fn heap_is_back(plan: &Plan, before: &Sample, after: &Sample) -> Claim {
    let allowed = u64::from(plan.rate) * LEFT + REST;
    let left = after.heap.saturating_sub(before.heap);
    Claim::new(
        format!(
            "once quarantine has ended, at most {:.1} MB of heap are left: the room that tables of live runs keep",
            megabytes(allowed)
        ),
        left <= allowed,
        format!(
            "{:.1} MB left of {:.1} MB before the first request; resident {:.1} MB, before {:.1} MB",
            megabytes(left),
            megabytes(before.heap),
            megabytes(after.resident),
            megabytes(before.resident)
        ),
    )
}

/// Whether tasks and descriptors are back and the tracer is idle.
pub(crate) fn nothing_is_left(idle: bool, before: &Sample, after: &Sample) -> Claim {
    Claim::new(
        "afterwards the tracer is idle, and tasks and descriptors are as many as before",
        idle && after.tasks == before.tasks && after.descriptors == before.descriptors,
        format!(
            "idle: {idle}; tasks {}, before {}; descriptors {}, before {}",
            after.tasks, before.tasks, after.descriptors, before.descriptors
        ),
    )
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
fn count(figure: u64) -> f64 {
    figure as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Verdict;
    use crate::plan::Scenario;

    const PLAN: Plan = Plan { scenario: Scenario::Steady, seconds: 300, rate: 20 };

    /// Samples that rise until the plateau, wander on it, and grow by so much each second.
    fn samples(heap: u64, resident: u64, descriptors: u64) -> Samples {
        let sample = |second: u64| {
            let (rise, noise) = (second.min(110), second * 7_919 % 101);
            Sample {
                at: Duration::from_secs(second),
                resident: 20_000_000 + 100_000 * rise + noise * 2_000 + resident * second,
                heap: 10_000_000 + 100_000 * rise + noise * 1_000 + heap * second,
                descriptors: 1_500 + noise / 4 + descriptors * second,
                tasks: 1_000,
            }
        };
        Samples {
            taken: (1..360).map(sample).collect(),
            latest: Duration::ZERO,
            runtime_latest: Duration::ZERO,
        }
    }

    fn verdicts(plan: &Plan, samples: &Samples) -> Vec<Verdict> {
        flat(plan, samples).iter().map(|claim| claim.verdict).collect()
    }

    #[test]
    fn a_plateau_is_flat_and_a_leak_is_not() {
        use Verdict::{False, Holds, NotShown};
        assert_eq!(verdicts(&PLAN, &samples(0, 0, 0)), [Holds, Holds, Holds]);
        // A kilobyte, a page and a descriptor for each of the 20 requests of a second.
        assert_eq!(verdicts(&PLAN, &samples(20 * 1_024, 0, 0)), [False, Holds, Holds]);
        assert_eq!(verdicts(&PLAN, &samples(0, 20 * 4_096, 0)), [Holds, False, Holds]);
        assert_eq!(verdicts(&PLAN, &samples(0, 0, 20)), [Holds, Holds, False]);
        // A table that doubles once.
        let mut doubled = samples(0, 0, 0);
        for sample in doubled.taken.iter_mut().filter(|sample| sample.at > Duration::from_secs(210)) {
            sample.heap += 1_700_000;
            sample.resident += 1_700_000;
        }
        assert_eq!(verdicts(&PLAN, &doubled), [Holds, Holds, Holds]);
        assert_eq!(verdicts(&Plan { seconds: 230, ..PLAN }, &samples(0, 0, 0)), [NotShown; 3]);
    }

    #[test]
    fn what_is_left_is_found() {
        let before = Sample { heap: 1_000_000, descriptors: 12, tasks: 1, ..Sample::default() };
        assert_eq!(nothing_is_left(true, &before, &before).verdict, Verdict::Holds);
        for (idle, tasks, descriptors) in [(false, 1, 12), (true, 2, 12), (true, 1, 13)] {
            let after = Sample { descriptors, tasks, ..before };
            assert_eq!(nothing_is_left(idle, &before, &after).verdict, Verdict::False);
        }
        // 20 * 219,428 bytes and 256 KiB are 4.65 MB.
        let after = Sample { heap: before.heap + 4_600_000, ..before };
        assert_eq!(heap_is_back(&PLAN, &before, &after).verdict, Verdict::Holds);
        let after = Sample { heap: before.heap + 4_700_000, ..before };
        assert_eq!(heap_is_back(&PLAN, &before, &after).verdict, Verdict::False);
    }
}
