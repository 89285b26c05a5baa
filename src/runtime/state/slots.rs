//! The slots of a shard: the state of each registered descriptor, and its waiters.
#![forbid(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use slab::Slab;

use super::scopes::ScopePlace;
use crate::runtime::base::wait::WaitList;

/// A direction of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Bits of a key that name the slot's place in the slab; above them is the generation, from 1 on.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// The slots of a shard.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Sources {
    slots: Slab<Slot>,
    /// The scopes that end with the peer of a source, by its key. Few at a time: those of handlers
    /// that run just now.
    watches: Vec<(u64, ScopePlace)>,
}

/// One cache line: every event and every wait accesses a slot.
#[derive(Debug)]
#[repr(align(64))]
pub(in crate::runtime) struct Slot {
    key: u64,
    /// A hangup, an error or urgent data was reported: from then on a short read proves nothing.
    pub(in crate::runtime) hangup: bool,
    /// [`Sources`] has a watch of this source.
    is_watched: bool,
    /// By direction.
    ready: [bool; 2],
    waiters: [WaitList; 2],
}

const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    #[inline]
    pub(in crate::runtime) fn is_watched(&self) -> bool {
        self.is_watched
    }

    #[inline]
    pub(in crate::runtime) fn is_ready(&self, direction: Direction) -> bool {
        self.ready[direction as usize]
    }

    #[inline]
    pub(in crate::runtime) fn set_ready(&mut self, direction: Direction, ready: bool) {
        self.ready[direction as usize] = ready;
    }

    #[inline]
    pub(in crate::runtime) fn waiters(&mut self, direction: Direction) -> &mut WaitList {
        &mut self.waiters[direction as usize]
    }

    pub(in crate::runtime) fn take_waiters(&mut self) -> [WaitList; 2] {
        std::mem::take(&mut self.waiters)
    }
}

impl Sources {
    pub(in crate::runtime) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(in crate::runtime) fn get(&mut self, key: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut((key & SLOT_MASK) as usize)
            .filter(|slot| slot.key == key)
    }

    pub(in crate::runtime) fn insert(&mut self) -> io::Result<u64> {
        static LAST_GENERATION: AtomicU64 = AtomicU64::new(0);
        let entry = self.slots.vacant_entry();
        let place = entry.key() as u64;
        if place > SLOT_MASK {
            return Err(io::Error::other(
                "a shard can watch 16,777,216 descriptors at most",
            ));
        }
        let generation = LAST_GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
        let key = generation << SLOT_BITS | place;
        entry.insert(Slot {
            key,
            hangup: false,
            is_watched: false,
            ready: [true; 2],
            waiters: Default::default(),
        });
        Ok(key)
    }

    /// Notes that a scope ends with the peer of a source.
    #[cfg(feature = "http")]
    pub(in crate::runtime) fn watch(&mut self, key: u64, scope: ScopePlace) {
        if let Some(slot) = self.get(key) {
            slot.is_watched = true;
            self.watches.push((key, scope));
        }
    }

    /// Forgets a scope that has ended.
    #[cfg(feature = "http")]
    pub(in crate::runtime) fn unwatch(&mut self, key: u64, scope: ScopePlace) {
        self.watches.retain(|watch| *watch != (key, scope));
        let is_watched = self.watches.iter().any(|watch| watch.0 == key);
        if let Some(slot) = self.get(key) {
            slot.is_watched = is_watched;
        }
    }

    /// The scopes that end with the peer of a source.
    pub(in crate::runtime) fn watches(&self, key: u64) -> Vec<ScopePlace> {
        let of_key = self.watches.iter().filter(|watch| watch.0 == key);
        of_key.map(|watch| watch.1).collect()
    }

    /// Frees a slot, and returns it with its waiters.
    pub(in crate::runtime) fn remove(&mut self, key: u64) -> Option<Slot> {
        self.get(key)?;
        Some(self.slots.remove((key & SLOT_MASK) as usize))
    }
}
