//! A hierarchical timing wheel: which entries are due, and when to check again.
//!
//! Pure data: the clock belongs to the driver, and times are nanoseconds on it. Arming and
//! cancelling are O(1); an entry moves at most once per level on its way to being due.
//!
//! Time is cut into ticks of 2^14 ns (16 µs), a tick number into nine digits of six bits. The
//! wheel stands at a current tick; an entry lies on the level of the highest digit in which its
//! own tick differs from the current one, in the slot that this digit names:
//!
//! ```text
//! level 8    4 slots of 2^62 ns   entries of another 146 years
//!   ...
//! level 1   64 slots of 2^20 ns   entries of this block of 4096 ticks, of another block of 64
//! level 0   64 slots of 2^14 ns   entries of this block of 64 ticks; the current tick itself
//! ```
//!
//! Invariants, which `expire` keeps whenever it moves the current tick:
//!
//! - All entries of one tick lie in one slot, in the order of their insertion.
//! - On level 0 no occupied slot is below the current tick's digit; on higher levels, all are
//!   beyond it.
//! - Hence entries of a lower level, and of a lower slot in it, are due earlier.
//!
//! Each slot knows the earliest deadline in it, so that the wheel tells exactly when it must be
//! looked at and no wake-up is spent on moving entries down.

use std::num::NonZeroU64;

use slab::Slab;

/// Ticks are `1 << TICK_BITS` nanoseconds long: fine enough that the entries of one tick, which are
/// compared one by one, stay few.
const TICK_BITS: u32 = 14;
/// A digit of a tick number, one per level.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for each tick of a 64-bit time: 9 × 6 >= 64 - 14.
const LEVELS: usize = 9;
/// Ends lists: no entry has this index.
const NIL: u32 = u32::MAX;

/// Pending deadlines, each with a payload to hand back when it is due.
#[derive(Debug)]
pub(crate) struct Timers {
    /// The latest time that was passed to `expire`; its tick is the current tick.
    now: u64,
    /// Entries and, linked through `next` from `free`, the vacant ones among them.
    nodes: Slab<Node>,
    /// The insertion counter: the next entry's `id`.
    next_id: NonZeroU64,
    /// Bit `n` of word `l` says that slot `n` of level `l` is not empty.
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
}

/// Names one insertion. A key whose entry is gone names nothing, forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    id: NonZeroU64,
}

#[derive(Debug)]
struct Node {
    deadline: u64,
    /// The number of the insertion. Never used twice, so a stale key cannot meet a later entry.
    id: NonZeroU64,
    payload: u32,
    prev: u32,
    next: u32,
    /// Where the node is linked: `level * SLOTS + digit`.
    slot: u16,
}

/// A first-in, first-out list of entries.
#[derive(Clone, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    /// Not later than any deadline in the list, and equal to the earliest unless that entry was
    /// cancelled. Means nothing while the list is empty.
    earliest: u64,
}

impl Slot {
    const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
        earliest: u64::MAX,
    };
}

impl Timers {
    /// Creates an empty wheel that stands at `now`.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            now,
            nodes: Slab::new(),
            next_id: NonZeroU64::MIN,
            occupied: [0; LEVELS],
            slots: vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
        }
    }

    /// Adds an entry; one whose deadline has passed is due at the next `expire`.
    pub(crate) fn insert(&mut self, deadline: u64, payload: u32) -> TimerKey {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        let index = self.nodes.insert(Node {
            deadline,
            id,
            payload,
            prev: NIL,
            next: NIL,
            slot: 0,
        });
        assert!(index < NIL as usize, "too many timers");
        let index = index as u32;
        self.link(index);
        TimerKey { index, id }
    }

    /// Removes the entry; false if it was due or cancelled before.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> bool {
        let node = self.nodes.get(key.index as usize);
        let is_there = node.is_some_and(|node| node.id == key.id);
        if is_there {
            self.unlink(key.index);
            self.nodes.remove(key.index as usize);
        }
        is_there
    }

    /// The time at which to call `expire` next.
    ///
    /// Never later than the earliest deadline, and exactly that as long as nothing was cancelled;
    /// `expire` at a time that turns out too early finds the next one.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let digit = self.occupied[level].trailing_zeros() as usize;
        Some(self.slots[level * SLOTS + digit].earliest)
    }

    /// Removes every entry with a deadline at or before `now` and appends it to `due` as
    /// `(deadline, payload)`, by deadline and, among equal ones, by insertion.
    ///
    /// A `now` that went back counts as the latest one seen.
    pub(crate) fn expire(&mut self, now: u64, due: &mut Vec<(u64, u32)>) {
        let start = due.len();
        let current = self.now >> TICK_BITS;
        self.now = self.now.max(now);
        let target = self.now >> TICK_BITS;
        // Below the highest digit that changes, all entries belong to blocks that are now over.
        let top = level_of(current, target);
        for level in 0..top {
            self.drain(level, u64::MAX, due);
        }
        let digit = digit_of(target, top);
        self.drain(top, (1 << digit) - 1, due);
        // Then the one slot that spans the present: what is not due yet moves closer, if anything
        // in it may be due or the current tick came to lie in it.
        let slot = top * SLOTS + digit;
        if self.occupied[top] & (1 << digit) != 0
            && (top > 0 || self.slots[slot].earliest <= self.now)
        {
            let mut index = self.take_list(slot);
            while index != NIL {
                let next = self.nodes[index as usize].next;
                if self.nodes[index as usize].deadline <= self.now {
                    self.fire(index, due);
                } else {
                    self.link(index);
                }
                index = next;
            }
        }
        // Equal deadlines come from one slot and stand in order of insertion; the sort is stable.
        due[start..].sort_by_key(|&(deadline, _)| deadline);
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Fires all entries in the slots of `level` that `mask` names.
    fn drain(&mut self, level: usize, mask: u64, due: &mut Vec<(u64, u32)>) {
        let mut slots = self.occupied[level] & mask;
        while slots != 0 {
            let digit = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            let mut index = self.take_list(level * SLOTS + digit);
            while index != NIL {
                let next = self.nodes[index as usize].next;
                self.fire(index, due);
                index = next;
            }
        }
    }

    /// Empties a slot and returns the head of what was its list.
    fn take_list(&mut self, slot: usize) -> u32 {
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        std::mem::replace(&mut self.slots[slot], Slot::EMPTY).head
    }

    fn fire(&mut self, index: u32, due: &mut Vec<(u64, u32)>) {
        let node = self.nodes.remove(index as usize);
        due.push((node.deadline, node.payload));
    }

    /// Appends a node to the list of the slot where its deadline belongs now.
    fn link(&mut self, index: u32) {
        let current = self.now >> TICK_BITS;
        let deadline = self.nodes[index as usize].deadline;
        let tick = (deadline >> TICK_BITS).max(current);
        let level = level_of(current, tick);
        let digit = digit_of(tick, level);
        let position = level * SLOTS + digit;
        self.occupied[level] |= 1 << digit;

        let slot = &mut self.slots[position];
        let tail = std::mem::replace(&mut slot.tail, index);
        if tail == NIL {
            slot.head = index;
            slot.earliest = deadline;
        } else {
            slot.earliest = slot.earliest.min(deadline);
            self.nodes[tail as usize].next = index;
        }
        let node = &mut self.nodes[index as usize];
        node.prev = tail;
        node.next = NIL;
        node.slot = position as u16;
    }

    /// Takes a node out of its list, leaving its own links as they were.
    fn unlink(&mut self, index: u32) {
        let Node {
            prev, next, slot, ..
        } = self.nodes[index as usize];
        let slot = usize::from(slot);
        match prev {
            NIL => self.slots[slot].head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NIL => self.slots[slot].tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        if self.slots[slot].head == NIL {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }
}

/// The highest digit in which two ticks differ; 0 if they are equal.
fn level_of(current: u64, tick: u64) -> usize {
    // Setting the lowest bit makes equal ticks differ in digit 0.
    (((current ^ tick) | 1).ilog2() / DIGIT_BITS) as usize
}

fn digit_of(tick: u64, level: usize) -> usize {
    (tick >> (level as u32 * DIGIT_BITS)) as usize % SLOTS
}

#[cfg(test)]
mod tests;
