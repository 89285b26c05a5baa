//! The names and ids of a shard's ethreads, readable from other OS threads and from a signal
//! handler.
//!
//! The control blocks belong to the shard's OS thread. Two readers cannot use them: the watchdog,
//! which reads while that thread is stuck, and the overflow handler, which runs where a `RefCell`
//! may be borrowed. For them each place of the slab has a [`NameSlot`] of plain atomics. It is
//! written when an ethread is spawned, and freed only with the shard's last handle.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::primitives::{AtomicU64, fence};

/// Name slots that are allocated at once.
const CHUNK: usize = 256;
/// Words for the name; with its length and the id, a name slot fills one cache line.
const NAME_WORDS: usize = if cfg!(ethreads_loom) { 2 } else { 6 };
const NAME_BYTES: usize = NAME_WORDS * 8;

/// The id and the name of the ethread in one place of the slab.
#[derive(Debug, Default)]
pub(crate) struct NameSlot {
    /// The ethread's id; zero while the place is free.
    id: AtomicU64,
    /// Length in bytes of the part of the name that fits.
    name_len: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
}

/// A copy of a name slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: u64,
    name: [u8; NAME_BYTES],
    name_len: usize,
}

impl Snapshot {
    /// The name, cut at 48 bytes; `None` if the ethread has none.
    pub(crate) fn name(&self) -> Option<&str> {
        let bytes = &self.name[..self.name_len];
        // The cut may have split a character. The text before that character is valid.
        let text = bytes.utf8_chunks().next()?.valid();
        (!text.is_empty()).then_some(text)
    }
}

impl NameSlot {
    #[inline]
    pub(in crate::runtime) fn set(&self, id: u64, name: Option<&str>) {
        // Marks the place as free while the name changes: a reader sees no ethread meanwhile.
        self.id.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        let name = name.unwrap_or_default().as_bytes();
        let name = &name[..name.len().min(NAME_BYTES)];
        self.name_len.store(name.len() as u64, Ordering::Relaxed);
        if !name.is_empty() {
            self.store_name(name);
        }
        self.id.store(id, Ordering::Release);
    }

    /// Not inlined: most ethreads have no name, and spawn faster without this code.
    #[inline(never)]
    fn store_name(&self, name: &[u8]) {
        for (word, bytes) in self.name.iter().zip(name.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
    }

    pub(in crate::runtime) fn clear(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    /// Copies the name slot. `None` if the place is free, or if its ethread has changed by the end
    /// of the copy.
    ///
    /// Reads atomics only, so it may be called in a signal handler.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let id = self.id.load(Ordering::Acquire);
        if id == 0 {
            return None;
        }
        let name_len = (self.name_len.load(Ordering::Relaxed) as usize).min(NAME_BYTES);
        let mut name = [0; NAME_BYTES];
        for (bytes, word) in name.chunks_mut(8).zip(&self.name) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        fence(Ordering::Acquire);
        (self.id.load(Ordering::Relaxed) == id).then_some(Snapshot { id, name, name_len })
    }
}

/// A run of name slots, for the places `n * 256` to `n * 256 + 255` of the slab.
pub(crate) type NameChunk = Arc<[NameSlot; CHUNK]>;

/// All name slots of a shard.
#[derive(Debug, Default)]
pub(crate) struct ThreadNames {
    chunks: Mutex<Vec<NameChunk>>,
}

impl ThreadNames {
    /// Makes the next chunk. The shard keeps a clone of the handle, so that its own accesses need
    /// no lock.
    pub(in crate::runtime) fn grow(&self) -> NameChunk {
        let chunk: NameChunk = Arc::new(std::array::from_fn(|_| NameSlot::default()));
        self.chunks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(chunk.clone());
        chunk
    }

    /// A copy of the name slot of a place. May be called on any OS thread.
    pub(crate) fn snapshot(&self, index: u32) -> Option<Snapshot> {
        let (chunk, place) = split(index);
        let chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.get(chunk)?[place].snapshot()
    }
}

/// The chunk of a place, and the place in the chunk.
#[inline]
pub(in crate::runtime) fn split(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_what_was_set() {
        let names = ThreadNames::default();
        let chunk = names.grow();
        assert!(names.snapshot(7).is_none());
        chunk[7].set(42, Some("http-client 127.0.0.1:40000"));
        let seen = names.snapshot(7).unwrap();
        assert_eq!(
            (seen.id, seen.name()),
            (42, Some("http-client 127.0.0.1:40000"))
        );
        chunk[7].set(43, None);
        assert_eq!(names.snapshot(7).unwrap().name(), None);
        chunk[7].clear();
        assert!(names.snapshot(7).is_none());
        assert!(names.snapshot(256).is_none());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name_slot = NameSlot::default();
        name_slot.set(1, Some(&"ä".repeat(30)));
        assert_eq!(
            name_slot.snapshot().unwrap().name(),
            Some("ä".repeat(24).as_str())
        );
        name_slot.set(1, Some(&format!("x{}", "ä".repeat(30))));
        assert_eq!(
            name_slot.snapshot().unwrap().name(),
            Some(format!("x{}", "ä".repeat(23)).as_str())
        );
    }
}

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
