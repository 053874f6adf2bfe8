//! Identities: what tells the probes of one run from everybody else's, and the pool that lends them.
//!
//! An identity is a local port or echo id, the target, and a [`Nonce`]. Two live runs of a pool never share local and
//! target, so an answer that quotes nothing but ports still finds its run; nor do they share label and target, so a quote whose
//! source was rewritten finds no other. When a run ends, its identity stays in quarantine: the same local may serve the next
//! run toward the same target, but never with the same nonce, so that a late reply to yesterday's run is nobody's.

use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use traceroute_wire::Timestamp;

use self::locals::{Block, Locals};
use crate::Protocol;

mod locals;

/// How long a released identity is not lent again. Replies later than that are not seen in practice: routers hold
/// packets for seconds.
pub const QUARANTINE: Duration = Duration::from_mins(1);

/// How long a local that somebody else on this host holds is not tried again.
const HELD_ELSEWHERE: Duration = Duration::from_secs(1);

/// How often a nonce is drawn for one local before the next local is tried.
const DRAWS: usize = 32;

/// The random part of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce {
    /// Goes into the IP header: the identification of IPv4 (its low 16 bits), the flow label of IPv6 (20 bits). Never
    /// zero in either, because the kernel replaces an identification of zero.
    pub label: u32,
    /// Where the probes' numbers start: the echo sequence, or the sum of the UDP payload.
    pub base: u16,
    /// Goes into the payload, where it is checked if it is quoted or echoed. TCP SYN probes, which have none, draw their
    /// sequence numbers from it.
    pub token: u64,
}

impl Nonce {
    /// A nonce from random bits.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the parts are cut out of the bits")]
    pub const fn from_entropy(bits: u64, token: u64) -> Self {
        let label = bits as u32 & 0xf_ffff;
        Self {
            label: if label.trailing_zeros() >= 16 { label | 1 } else { label },
            base: (bits >> 32) as u16,
            token,
        }
    }

    /// The label as the header of this family carries it.
    #[must_use]
    pub const fn header_label(&self, remote: IpAddr) -> u32 {
        match remote {
            IpAddr::V4(_) => self.label & 0xffff,
            IpAddr::V6(_) => self.label,
        }
    }
}

/// What a run's probes carry and their answers are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The local port or the echo id.
    pub local: u16,
    /// The target.
    pub remote: IpAddr,
    /// The random part.
    pub nonce: Nonce,
}

/// How large the tables may stay though they are nearly empty.
const ROOM: usize = 256;

type Taken = (u16, IpAddr);
type Label = (IpAddr, u32);
type Spent = (u16, IpAddr, u32);

/// Lends identities out of a block of local ports or echo ids.
///
/// The pool is pure: it is told the time, and given the random bits.
#[derive(Debug)]
pub struct IdentityPool {
    block: Block,
    /// Where a target that no run goes to begins. It only goes forward, lest a target that is live all the time pulls the
    /// others back to locals that have just been returned.
    next: u16,
    /// Until when; at most one for each local of the block.
    held_elsewhere: HashMap<u16, Timestamp>,
    live: HashSet<Taken>,
    labels: HashSet<Label>,
    /// The free locals of each target that is live.
    free: HashMap<IpAddr, Locals>,
    spent: HashSet<Spent>,
    quarantine: VecDeque<(Timestamp, Spent)>,
}

impl IdentityPool {
    /// A pool of the block that starts at `first` and is `len` long (cut at 65,535), lending the local `start` places
    /// behind the first (modulo `len`) first.
    #[must_use]
    pub fn new(first: u16, len: u16, start: u16) -> Self {
        let len = len.clamp(1, u16::MAX - first + u16::from(first > 0));
        Self {
            block: Block { first, len },
            next: start % len,
            held_elsewhere: HashMap::new(),
            live: HashSet::new(),
            labels: HashSet::new(),
            free: HashMap::new(),
            spent: HashSet::new(),
            quarantine: VecDeque::new(),
        }
    }

    /// How many runs toward one target can be live at one time.
    #[must_use]
    pub const fn capacity(&self) -> u16 {
        self.block.len
    }

    /// Lends an identity toward `remote`, the local that was lent longest ago first. `None` when all locals are live
    /// toward `remote`. `entropy` gives random bits, anew on each call.
    pub fn lease(
        &mut self,
        remote: IpAddr,
        now: Timestamp,
        entropy: impl FnMut() -> u64,
    ) -> Option<Identity> {
        self.lease_of(remote, now, entropy, |_| true)
    }

    /// The same, of those locals that are `usable`.
    pub fn lease_of(
        &mut self,
        remote: IpAddr,
        now: Timestamp,
        mut entropy: impl FnMut() -> u64,
        usable: impl Fn(u16) -> bool,
    ) -> Option<Identity> {
        self.end_quarantine(now);
        let Self { block, next, held_elsewhere, live, labels, free, spent, .. } = self;
        let locals = free.entry(remote).or_insert_with(|| Locals::all(*block, *next));
        let lent = locals.lend(*block, |local| {
            if held_elsewhere.get(&local).is_some_and(|until| *until > now) || !usable(local) {
                return None;
            }
            fresh_nonce(spent, labels, local, remote, &mut entropy)
        });
        let Some((local, nonce)) = lent else {
            if locals.is_all_of(*block) {
                free.remove(&remote);
            }
            return None;
        };
        *next = block.offset_behind(block.first + *next);
        live.insert((local, remote));
        labels.insert((remote, nonce.header_label(remote)));
        Some(Identity { local, remote, nonce })
    }

    /// Takes an identity back and puts it into quarantine.
    pub fn release(&mut self, identity: &Identity, now: Timestamp) {
        self.end_quarantine(now);
        self.give_up(identity);
        let spent = (identity.local, identity.remote, identity.nonce.header_label(identity.remote));
        if self.spent.insert(spent) {
            self.quarantine.push_back((now + QUARANTINE, spent));
        }
    }

    /// Takes an identity back that was never used on the wire.
    pub fn give_up(&mut self, identity: &Identity) {
        let &Identity { local, remote, .. } = identity;
        if !self.live.remove(&(local, remote)) {
            return;
        }
        self.labels.remove(&(remote, identity.nonce.header_label(remote)));
        if let Entry::Occupied(mut locals) = self.free.entry(remote) {
            locals.get_mut().take_back(local);
            if locals.get().is_all_of(self.block) {
                locals.remove();
            }
        }
    }

    /// Does not lend this local for a while: somebody else on this host holds the port.
    pub fn avoid(&mut self, local: u16, now: Timestamp) {
        self.held_elsewhere.insert(local, now + HELD_ELSEWHERE);
    }

    /// Whether an identity toward `remote` is lent out, and so will come back.
    #[must_use]
    pub fn is_live_toward(&self, remote: IpAddr) -> bool {
        self.free.contains_key(&remote)
    }

    /// How many identities are lent out.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// How many identities are in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.spent.len()
    }

    fn end_quarantine(&mut self, now: Timestamp) {
        while let Some((until, spent)) = self.quarantine.front() {
            if *until > now {
                break;
            }
            self.spent.remove(spent);
            self.quarantine.pop_front();
        }
        // After a busy hour its tables would keep their size for ever.
        let left = self.spent.len();
        if self.spent.capacity() > ROOM.max(4 * left) {
            self.spent.shrink_to(2 * left);
            self.quarantine.shrink_to(2 * left);
            self.live.shrink_to(2 * self.live.len());
            self.labels.shrink_to(2 * self.labels.len());
        }
    }
}

/// A nonce that is not in quarantine, and whose label no live run toward the target has. `None` where that is hard to find,
/// because nearly all are.
fn fresh_nonce(
    spent: &HashSet<Spent>,
    labels: &HashSet<Label>,
    local: u16,
    remote: IpAddr,
    entropy: &mut impl FnMut() -> u64,
) -> Option<Nonce> {
    (0..DRAWS).map(|_| Nonce::from_entropy(entropy(), entropy())).find(|nonce| {
        let label = nonce.header_label(remote);
        !spent.contains(&(local, remote, label)) && !labels.contains(&(remote, label))
    })
}

impl Identity {
    /// What the demultiplexer knows this identity by.
    #[must_use]
    pub const fn flow_key(&self, protocol: Protocol) -> crate::FlowKey {
        crate::FlowKey {
            protocol,
            local: self.local,
            remote: self.remote,
            label: self.nonce.header_label(self.remote),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn counter() -> impl FnMut() -> u64 {
        let mut state = 0;
        move || {
            state += 1;
            state
        }
    }

    #[test]
    fn a_local_rests_though_another_target_is_live_all_the_time() {
        let mut pool = IdentityPool::new(50_000, 100, 0);
        let mut entropy = counter();
        let mut lent = alloc::vec::Vec::new();
        for _ in 0..25 {
            pool.lease(OTHER, Timestamp::ZERO, &mut entropy).expect("it keeps a quarter");
            for _ in 0..2 {
                let identity = pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).expect("all are free");
                pool.release(&identity, Timestamp::ZERO);
                lent.push(identity.local);
            }
        }
        let count = lent.len();
        lent.sort_unstable();
        lent.dedup();
        assert_eq!(lent.len(), count, "75 leases go once round a block of 100 at most");
    }

    #[test]
    fn a_busy_minute_leaves_no_large_tables() {
        let mut pool = IdentityPool::new(50_000, 10_000, 0);
        let mut entropy = counter();
        for _ in 0..5 {
            let lent: alloc::vec::Vec<_> =
                (0..10_000).map(|_| pool.lease(REMOTE, Timestamp::ZERO, &mut entropy)).collect();
            lent.iter().flatten().for_each(|identity| pool.release(identity, Timestamp::ZERO));
        }
        assert_eq!(pool.quarantined(), 50_000);
        let later = Timestamp::ZERO + QUARANTINE;
        let last = pool.lease(REMOTE, later, &mut entropy).expect("all are free");
        assert_eq!((pool.quarantined(), pool.live()), (0, 1));
        let room = pool.spent.capacity().max(pool.quarantine.capacity()).max(pool.live.capacity());
        assert!(room < 64, "{room}");
        pool.release(&last, later);
        assert_eq!(pool.quarantined(), 1);
    }

    #[test]
    fn live_identities_never_share_local_and_target() {
        let mut pool = IdentityPool::new(61_000, 3, 0);
        let mut entropy = counter();
        let mut locals: alloc::vec::Vec<_> = (0..3)
            .map(|_| pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).expect("the block has three").local)
            .collect();
        locals.sort_unstable();
        assert_eq!(locals, [61_000, 61_001, 61_002]);
        assert_eq!(pool.lease(REMOTE, Timestamp::ZERO, &mut entropy), None);
        assert!(pool.lease(OTHER, Timestamp::ZERO, &mut entropy).is_some(), "another target has its own");
    }

    #[test]
    fn live_identities_toward_one_target_never_share_a_label() {
        let mut pool = IdentityPool::new(61_000, 3, 0);
        let first = pool.lease(REMOTE, Timestamp::ZERO, || 7).expect("free");
        // The generator repeats itself once.
        let mut bits = [7, 7, 8, 8].into_iter();
        let second = pool.lease(REMOTE, Timestamp::ZERO, || bits.next().expect("four")).expect("free");
        assert_eq!((first.nonce.label, second.nonce.label), (7, 8));
        let other = pool.lease(OTHER, Timestamp::ZERO, || 7).expect("free");
        assert_eq!(other.nonce.label, 7, "another target has its own");
        pool.give_up(&first);
        let third = pool.lease(REMOTE, Timestamp::ZERO, || 7).expect("free");
        assert_eq!(third.nonce.label, 7, "once it is returned it may be used");
    }

    #[test]
    fn a_released_nonce_stays_in_quarantine() {
        let mut pool = IdentityPool::new(61_000, 1, 0);
        let first = pool.lease(REMOTE, Timestamp::ZERO, || 7).expect("free");
        pool.release(&first, Timestamp::ZERO);
        let before = Timestamp::from_nanos(59_999_999_999);

        // The generator repeats itself once, then goes on.
        let mut bits = [7, 7, 8, 8].into_iter();
        let second = pool.lease(REMOTE, before, || bits.next().expect("at most four")).expect("free");
        assert_eq!(second.local, first.local);
        assert_ne!(second.nonce.label, first.nonce.label);
        pool.give_up(&second);

        let third = pool.lease(REMOTE, Timestamp::ZERO + QUARANTINE, || 7).expect("free");
        assert_eq!(third.nonce, first.nonce, "after the quarantine it may return");
        assert_eq!(pool.quarantined(), 0);
    }

    #[test]
    fn locals_take_turns() {
        let mut pool = IdentityPool::new(61_000, 3, 0);
        let mut entropy = counter();
        let mut locals = alloc::vec::Vec::new();
        for _ in 0..4 {
            let identity = pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).expect("free");
            locals.push(identity.local);
            pool.release(&identity, Timestamp::ZERO);
        }
        assert_eq!(locals, [61_000, 61_001, 61_002, 61_000]);
    }

    #[test]
    fn locals_held_elsewhere_are_not_lent_for_a_while() {
        let mut pool = IdentityPool::new(65_535, 10, 0);
        assert_eq!(pool.capacity(), 1, "the block ends at 65535");
        pool.avoid(65_535, Timestamp::ZERO);
        assert_eq!(pool.lease(REMOTE, Timestamp::ZERO, || 1), None);
        assert!(pool.lease(REMOTE, Timestamp::ZERO + HELD_ELSEWHERE, || 1).is_some());
    }

    #[test]
    fn what_is_returned_twice_is_lent_once() {
        let mut pool = IdentityPool::new(61_000, 3, 0);
        let mut entropy = counter();
        let [first, _second] =
            [(); 2].map(|()| pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).expect("free"));
        pool.give_up(&first);
        pool.release(&first, Timestamp::ZERO);
        assert_eq!(pool.live(), 1);
        let locals = [(); 3]
            .map(|()| pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).map(|identity| identity.local));
        assert_eq!(locals, [Some(61_002), Some(61_000), None]);
    }

    #[test]
    fn a_target_is_live_until_the_last_identity_is_returned() {
        let mut pool = IdentityPool::new(61_000, 3, 0);
        let mut entropy = counter();
        assert!(!pool.is_live_toward(REMOTE));
        let identities = [(); 2].map(|()| pool.lease(REMOTE, Timestamp::ZERO, &mut entropy).expect("free"));
        assert!(!pool.is_live_toward(OTHER));
        for identity in &identities {
            assert!(pool.is_live_toward(REMOTE));
            pool.release(identity, Timestamp::ZERO);
        }
        assert!(!pool.is_live_toward(REMOTE));
    }

    #[test]
    fn a_target_toward_which_nothing_can_be_lent_is_not_live() {
        let mut pool = IdentityPool::new(61_000, 2, 0);
        for local in [61_000, 61_001] {
            pool.avoid(local, Timestamp::ZERO);
        }
        assert_eq!(pool.lease(REMOTE, Timestamp::ZERO, || 1), None);
        assert!(!pool.is_live_toward(REMOTE));
    }

    #[test]
    fn a_local_whose_nonces_are_all_in_quarantine_is_not_lent() {
        let mut pool = IdentityPool::new(61_000, 2, 0);
        for _ in 0..2 {
            let identity = pool.lease(REMOTE, Timestamp::ZERO, || 7).expect("free");
            pool.release(&identity, Timestamp::ZERO);
        }
        assert_eq!(pool.lease(REMOTE, Timestamp::ZERO, || 7), None, "the generator knows no other nonce");
        assert!(pool.lease(OTHER, Timestamp::ZERO, || 7).is_some());
    }

    #[test]
    fn the_label_is_never_zero_in_either_family() {
        for bits in [0, 0x1_0000, 0xf_0000] {
            let nonce = Nonce::from_entropy(bits, 0);
            assert_ne!(nonce.label & 0xffff, 0);
            assert!(nonce.label <= 0xf_ffff);
        }
    }
}
