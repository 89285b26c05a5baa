//! The slots of a shard: what is known of each registered descriptor, and who waits for it.
#![forbid(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Direction;
use crate::runtime::wait::WaitList;

/// Bits of a key that name the slot; above them is the generation.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// The slots of a shard.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Sources {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Zero while the slot is free.
    key: u64,
    /// A hangup, an error or urgent data was reported: from then on "short" proves nothing.
    pub(super) hangup: bool,
    pub(super) read: Side,
    pub(super) write: Side,
}

#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) ready: bool,
    pub(super) waiters: WaitList,
}

impl Slot {
    pub(super) fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl Sources {
    pub(in crate::runtime) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&mut self, key: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut((key & SLOT_MASK) as usize)
            .filter(|slot| slot.key == key && key != 0)
    }

    pub(super) fn insert(&mut self) -> io::Result<u64> {
        static LAST_GENERATION: AtomicU64 = AtomicU64::new(0);
        let place = match self.free.pop() {
            Some(place) => u64::from(place),
            None if self.slots.len() as u64 > SLOT_MASK => {
                return Err(io::Error::other(
                    "a shard can watch 16,777,216 descriptors at most",
                ));
            }
            None => {
                self.slots.push(Slot::default());
                self.slots.len() as u64 - 1
            }
        };
        let generation = LAST_GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
        let key = generation << SLOT_BITS | place;
        let side = || Side {
            ready: true,
            waiters: WaitList::default(),
        };
        self.slots[place as usize] = Slot {
            key,
            hangup: false,
            read: side(),
            write: side(),
        };
        Ok(key)
    }

    /// Frees a slot; its waiters are given back.
    pub(super) fn remove(&mut self, key: u64) -> Option<Slot> {
        let slot = std::mem::take(self.get(key)?);
        self.free.push((key & SLOT_MASK) as u32);
        Some(slot)
    }
}
