//! The wheel compared with a sorted map, and its corner cases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Node, TimerKey, Timers};

#[derive(Clone, Debug)]
enum Step {
    /// A deadline this far after the latest time.
    Insert(u64),
    /// A deadline this far before the latest time.
    InsertPast(u64),
    /// A deadline that an earlier entry had.
    InsertSame(usize),
    Cancel(usize),
    Advance(u64),
    /// To the time that the wheel itself names, or this far short of it.
    AdvanceToNext(u64),
    GoBack(u64),
}

/// Spans of every scale from a nanosecond to the whole of time, with equal weight.
fn span() -> impl Strategy<Value = u64> {
    (0u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

fn step(cancels: bool) -> impl Strategy<Value = Step> {
    let cancel_weight = if cancels { 4 } else { 0 };
    prop_oneof![
        8 => span().prop_map(Step::Insert),
        1 => span().prop_map(Step::InsertPast),
        3 => any::<usize>().prop_map(Step::InsertSame),
        cancel_weight => any::<usize>().prop_map(Step::Cancel),
        2 => span().prop_map(Step::Advance),
        3 => prop_oneof![Just(0), span()].prop_map(Step::AdvanceToNext),
        1 => span().prop_map(Step::GoBack),
    ]
}

/// The wheel and a sorted map side by side; every step is checked.
struct Pair {
    wheel: Timers,
    model: BTreeMap<(u64, u32), TimerKey>,
    keys: Vec<(u64, u32, TimerKey)>,
    now: u64,
}

impl Pair {
    fn new(now: u64) -> Self {
        Self {
            wheel: Timers::new(now),
            model: BTreeMap::new(),
            keys: Vec::new(),
            now,
        }
    }

    fn insert(&mut self, deadline: u64) {
        let payload = self.keys.len() as u32;
        let key = self.wheel.insert(deadline, payload);
        assert_eq!(self.model.insert((deadline, payload), key), None);
        self.keys.push((deadline, payload, key));
    }

    fn expire(&mut self, now: u64) {
        self.now = self.now.max(now);
        let later = self.now.checked_add(1).map(|next| (next, 0));
        let rest = later.map_or_else(BTreeMap::new, |next| self.model.split_off(&next));
        let expected: Vec<_> = std::mem::replace(&mut self.model, rest)
            .into_keys()
            .collect();
        let mut due = vec![(7, 7)];
        self.wheel.expire(now, &mut due);
        assert_eq!(due[0], (7, 7), "what the list held before stays");
        assert_eq!(due[1..], expected);
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Insert(span) => self.insert(self.now.saturating_add(span)),
            Step::InsertPast(span) => self.insert(self.now.saturating_sub(span)),
            Step::InsertSame(pick) if !self.keys.is_empty() => {
                self.insert(self.keys[pick % self.keys.len()].0);
            }
            Step::Cancel(pick) if !self.keys.is_empty() => {
                let (deadline, payload, key) = self.keys[pick % self.keys.len()];
                let live = self.model.remove(&(deadline, payload)).is_some();
                assert_eq!(self.wheel.cancel(key), live);
            }
            Step::InsertSame(_) | Step::Cancel(_) => {}
            Step::Advance(span) => self.expire(self.now.saturating_add(span)),
            Step::AdvanceToNext(short) => {
                if let Some(next) = self.wheel.next_deadline() {
                    self.expire(next.saturating_sub(short));
                }
            }
            Step::GoBack(span) => self.expire(self.now.saturating_sub(span)),
        }
    }

    fn check(&self, exact: bool) {
        let earliest = self.model.first_key_value().map(|(key, _)| key.0);
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest);
        if exact {
            assert_eq!(next, earliest);
        }
        assert_eq!(self.wheel.len(), self.model.len());
    }

    fn run(start: u64, steps: &[Step], exact: bool) {
        let mut pair = Self::new(start);
        for step in steps {
            pair.apply(step);
            pair.check(exact);
        }
        pair.expire(u64::MAX);
        assert_eq!(pair.wheel.len(), 0);
    }
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_map(
        start in span(),
        steps in prop::collection::vec(step(true), 0..200),
    ) {
        Pair::run(start, &steps, false);
    }

    #[test]
    fn next_deadline_is_exact_without_cancels(
        start in span(),
        steps in prop::collection::vec(step(false), 0..200),
    ) {
        Pair::run(start, &steps, true);
    }
}

/// After a cancel `next_deadline` may be too early, but it must come to the true deadline.
#[test]
fn following_next_deadline_reaches_the_true_one_at_once() {
    let mut timers = Timers::new(0);
    let early = timers.insert(1_000_000_000, 1);
    timers.insert(1_000_000_900, 2);
    assert!(timers.cancel(early));
    let mut due = Vec::new();
    timers.expire(1_000_000_000, &mut due);
    assert_eq!(due, []);
    assert_eq!(timers.next_deadline(), Some(1_000_000_900));
}

#[test]
fn the_end_of_time_can_be_waited_for() {
    let mut timers = Timers::new(0);
    timers.insert(u64::MAX, 1);
    timers.insert(u64::MAX - 1, 2);
    assert_eq!(timers.next_deadline(), Some(u64::MAX - 1));
    let mut due = Vec::new();
    timers.expire(u64::MAX - 1, &mut due);
    assert_eq!(due, [(u64::MAX - 1, 2)]);
    timers.expire(u64::MAX, &mut due);
    assert_eq!(due, [(u64::MAX - 1, 2), (u64::MAX, 1)]);
}

#[test]
fn a_stale_key_never_meets_a_later_entry() {
    let mut timers = Timers::new(0);
    let first = timers.insert(5, 1);
    assert!(timers.cancel(first));
    let second = timers.insert(5, 2);
    assert_eq!(first.index, second.index, "the node is reused");
    assert!(!timers.cancel(first));
    assert_eq!(timers.len(), 1);
    timers.expire(5, &mut Vec::new());
    assert!(!timers.cancel(second));
}

#[test]
fn the_slab_never_outgrows_the_live_maximum() {
    const LIVE: usize = 1000;
    let mut timers = Timers::new(0);
    let mut keys: Vec<_> = (0..LIVE as u64)
        .map(|n| timers.insert(n << 20, 0))
        .collect();
    for turn in 0..1_000_000u64 {
        let slot = turn as usize % LIVE;
        assert!(timers.cancel(keys[slot]));
        keys[slot] = timers.insert(turn << (turn % 40), 0);
    }
    assert_eq!(timers.len(), LIVE);
    assert_eq!(timers.nodes.vacant_key(), LIVE, "places are used again");
}

#[test]
fn a_node_stays_small() {
    assert!(size_of::<Node>() <= 40);
}
