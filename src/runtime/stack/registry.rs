//! The chunks of all arenas, in which the fault handler looks an address up.
//!
//! A list of records that only grows: a record whose chunk is gone waits for another chunk, and is
//! never freed. So a handler that was interrupted between any two reads still finds valid memory.
//! Each record is a sequence lock with one writer, the arena whose chunk it describes.

// Records are shared by raw pointer and live forever; slot headers are read by address.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::Ordering;

use super::layout::{GUARD, header_at};
use crate::runtime::base::primitives::{
    AtomicBool, AtomicPtr, AtomicUsize, const_fn, fence, static_of_primitives,
};

static_of_primitives! {
    static REGISTRY: Registry = Registry::new();
}

/// All records.
struct Registry {
    /// The head of the list.
    newest: AtomicPtr<ChunkRecord>,
}

/// What the fault handler has to know of a chunk.
#[derive(Debug)]
pub(super) struct ChunkRecord {
    /// Whether an arena owns this record.
    claimed: AtomicBool,
    /// Even while the record describes a mapped chunk, odd otherwise; grows with each change.
    version: AtomicUsize,
    start: AtomicUsize,
    stride: AtomicUsize,
    /// How many slots, from the lowest one on, have their guards in place.
    guarded: AtomicUsize,
    /// The record added before this one; fixed once this one is in the list.
    next: AtomicPtr<Self>,
}

/// What a record describes, all of it from one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slots {
    start: usize,
    stride: usize,
    guarded: usize,
}

/// A guard that was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuardHit {
    /// The usable size of the stack above the guard.
    pub(crate) usable: usize,
    /// What runs on the stack, as `Stack::set_occupant` has set it; null if nothing does.
    pub(crate) occupant: *const (),
}

/// Finds the stack in whose guard `addr` lies, if any.
///
/// Async-signal-safe: plain reads and atomic loads of memory that is never freed, and one read of
/// the stack's own top. The latter relies on the arena of that stack being alive. It is, if a
/// computation on that stack has caused the fault; for a stray access to the guard of an arena that
/// another OS thread unmaps at this very moment, the read may fault again.
pub(crate) fn find_guard(addr: usize) -> Option<GuardHit> {
    let mut records = REGISTRY.records();
    records.find_map(|record| record.slots()?.guard_at(addr))
}

impl Registry {
    const_fn! {
        fn new() -> Self {
            Self { newest: AtomicPtr::new(ptr::null_mut()) }
        }
    }

    fn records(&self) -> impl Iterator<Item = &'static ChunkRecord> {
        let mut next = self.newest.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null or a leaked record, whose content the acquire load (of the list's head,
            // or of a record behind it) has made visible.
            let record: &'static ChunkRecord = unsafe { next.as_ref()? };
            next = record.next.load(Ordering::Acquire);
            Some(record)
        })
    }

    /// Publishes a mapped chunk, none of whose guards is in place yet.
    fn publish(&self, start: usize, stride: usize) -> &'static ChunkRecord {
        let vacant = self.records().find(|record| {
            record
                .claimed
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        });
        let record = vacant.unwrap_or_else(|| self.add());
        record.describe(start, stride);
        record
    }

    /// Adds a claimed record to the list.
    fn add(&self) -> &'static ChunkRecord {
        let record: &'static ChunkRecord = Box::leak(Box::new(ChunkRecord {
            claimed: AtomicBool::new(true),
            version: AtomicUsize::new(1),
            start: AtomicUsize::new(0),
            stride: AtomicUsize::new(0),
            guarded: AtomicUsize::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let prepend = |newest| {
            record.next.store(newest, Ordering::Relaxed);
            Some(ptr::from_ref(record).cast_mut())
        };
        let prepended = self
            .newest
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, prepend);
        debug_assert!(prepended.is_ok(), "there is always a next one");
        record
    }
}

impl ChunkRecord {
    /// Publishes a mapped chunk, none of whose guards is in place yet.
    pub(super) fn publish(start: usize, stride: usize) -> &'static Self {
        REGISTRY.publish(start, stride)
    }

    /// Describes a chunk. The caller has claimed the record.
    fn describe(&self, start: usize, stride: usize) {
        // Orders the version's oddness before the fields: a reader that meets a new field and then
        // re-reads the version cannot find it unchanged.
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.stride.store(stride, Ordering::Relaxed);
        self.guarded.store(0, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Publishes that the lowest `slots` slots have guards.
    pub(super) fn set_guarded(&self, slots: usize) {
        self.guarded.store(slots, Ordering::Release);
    }

    /// Withdraws the chunk. The caller does not use the record any more.
    pub(super) fn retire(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
        self.claimed.store(false, Ordering::Release);
    }

    /// Copies the record; `None` while it describes no chunk, or if it changes meanwhile.
    fn slots(&self) -> Option<Slots> {
        let version = self.version.load(Ordering::Acquire);
        if !version.is_multiple_of(2) {
            return None;
        }
        let start = self.start.load(Ordering::Relaxed);
        let stride = self.stride.load(Ordering::Relaxed);
        let guarded = self.guarded.load(Ordering::Acquire);
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then_some(Slots {
            start,
            stride,
            guarded,
        })
    }
}

impl Slots {
    fn guard_at(self, addr: usize) -> Option<GuardHit> {
        let offset = addr.checked_sub(self.start)?;
        let slot = offset / self.stride;
        if slot >= self.guarded || offset % self.stride >= GUARD {
            return None;
        }
        let header = header_at(self.start + (slot + 1) * self.stride);
        // SAFETY: a slot whose guard is in place has its header mapped for as long as its chunk is
        // (see `find_guard` for when that ends), and a header is valid in any state of its bytes.
        let occupant = unsafe { (*header).occupant.load(Ordering::Acquire) };
        Some(GuardHit {
            usable: self.stride - GUARD,
            occupant,
        })
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
