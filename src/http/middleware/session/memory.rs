//! Sessions in memory.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::store::SessionStore;
use crate::http::error::Result;
use crate::time::Instant;

/// Sessions in the memory of the process, at most a given number.
///
/// Clones share the sessions, on all OS threads: one store is made for all shards, and each app
/// gets a clone. When the process ends, the sessions are gone. If there are too many sessions, the
/// one that ends first makes room for a new one.
///
/// # Examples
///
/// ```
/// use ethreads::http::App;
/// use ethreads::http::middleware::{MemoryStore, sessions};
///
/// let store = MemoryStore::with_capacity(10_000);
/// let make_app = move || App::new().apply(sessions(store.clone()));
/// # drop(make_app());
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    capacity: usize,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Arc<str>, Entry>,
    /// The ids in the order in which the sessions end.
    by_end: BTreeSet<(Instant, Arc<str>)>,
}

struct Entry {
    data: Vec<u8>,
    end: Instant,
}

impl MemoryStore {
    /// The sessions of a store that [`new`](Self::new) makes: 100,000 at most.
    pub const CAPACITY: usize = 100_000;

    /// Makes a store for [`CAPACITY`](Self::CAPACITY) sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY)
    }

    /// Makes a store for at most `sessions` sessions.
    ///
    /// # Panics
    ///
    /// If `sessions` is zero.
    #[must_use]
    #[track_caller]
    pub fn with_capacity(sessions: usize) -> Self {
        assert!(sessions > 0, "a store without room for a session");
        Self {
            capacity: sessions,
            entries: Arc::default(),
        }
    }

    /// Returns the number of sessions that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut entries = self.lock();
        entries.end_until(Instant::now());
        entries.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locked for a moment only, and no code of the program runs meanwhile.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save_at(&self, now: Instant, id: &str, data: &[u8], max_age: Duration) {
        let end = now.checked_add(max_age).unwrap_or(Instant::LATEST);
        let data = data.to_vec();
        let mut entries = self.lock();
        entries.end_until(now);
        entries.remove(id);
        if entries.by_id.len() >= self.capacity
            && let Some((_, first)) = entries.by_end.first().cloned()
        {
            entries.remove(&first);
        }
        entries.insert(id, Entry { data, end });
    }

    fn update_at(&self, now: Instant, id: &str, data: &[u8], max_age: Duration) -> bool {
        let end = now.checked_add(max_age).unwrap_or(Instant::LATEST);
        let data = data.to_vec();
        let mut entries = self.lock();
        entries.end_until(now);
        let is_there = entries.remove(id);
        if is_there {
            entries.insert(id, Entry { data, end });
        }
        is_there
    }

    fn load_at(&self, now: Instant, id: &str) -> Option<Vec<u8>> {
        let mut entries = self.lock();
        entries.end_until(now);
        entries.by_id.get(id).map(|entry| entry.data.clone())
    }
}

impl Entries {
    fn insert(&mut self, id: &str, entry: Entry) {
        let id: Arc<str> = id.into();
        self.by_end.insert((entry.end, id.clone()));
        self.by_id.insert(id, entry);
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some((id, entry)) = self.by_id.remove_entry(id) else {
            return false;
        };
        self.by_end.remove(&(entry.end, id));
        true
    }

    /// Removes the sessions that have ended.
    fn end_until(&mut self, now: Instant) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, id)) = self.by_end.pop_first() {
                self.by_id.remove(&id);
            }
        }
    }
}

impl SessionStore for MemoryStore {
    fn load(&self, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.load_at(Instant::now(), id))
    }

    fn save(&self, id: &str, data: &[u8], max_age: Duration) -> Result<()> {
        self.save_at(Instant::now(), id, data, max_age);
        Ok(())
    }

    fn update(&self, id: &str, data: &[u8], max_age: Duration) -> Result<bool> {
        Ok(self.update_at(Instant::now(), id, data, max_age))
    }

    fn delete(&self, id: &str) -> Result<()> {
        self.lock().remove(id);
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn sessions_end() {
        let store = MemoryStore::new();
        let now = Instant::now();
        store.save_at(now, "a", b"1", MINUTE);
        store.save_at(now, "b", b"2", 2 * MINUTE);
        store.save_at(now, "c", b"3", Duration::MAX);
        let last = now + MINUTE - Duration::from_nanos(1);
        assert_eq!(store.load_at(last, "a"), Some(b"1".to_vec()));
        assert_eq!(store.load_at(now + MINUTE, "a"), None);
        assert!(!store.update_at(now + MINUTE, "a", b"4", MINUTE));
        assert_eq!(store.load_at(now + MINUTE, "b"), Some(b"2".to_vec()));
        assert_eq!(
            store.load_at(now + 1_000 * MINUTE, "c"),
            Some(b"3".to_vec())
        );
        assert_eq!(store.lock().by_id.len(), 1);
        assert_eq!(store.lock().by_end.len(), 1);
    }

    #[test]
    fn what_is_saved_again_lasts_longer() {
        let store = MemoryStore::new();
        let now = Instant::now();
        store.save_at(now, "a", b"1", MINUTE);
        assert!(store.update_at(now, "a", b"2", 3 * MINUTE));
        store.save_at(now, "b", b"1", MINUTE);
        store.save_at(now, "b", b"2", 3 * MINUTE);
        for id in ["a", "b"] {
            assert_eq!(store.load_at(now + 2 * MINUTE, id), Some(b"2".to_vec()));
        }
        assert!(store.lock().remove("a") && !store.lock().remove("a"));
        assert_eq!(store.load_at(now, "a"), None);
        assert_eq!(store.lock().by_end.len(), 1);
    }

    #[test]
    fn the_session_that_ends_first_makes_room() {
        let store = MemoryStore::with_capacity(2);
        let now = Instant::now();
        store.save_at(now, "a", b"", 2 * MINUTE);
        store.save_at(now, "b", b"", MINUTE);
        // There is room for it: it replaces itself.
        store.save_at(now, "a", b"", 3 * MINUTE);
        assert_eq!(store.len(), 2);
        store.save_at(now, "c", b"", MINUTE);
        let left = ["a", "b", "c"].map(|id| store.load_at(now, id).is_some());
        assert_eq!(left, [true, false, true]);
    }
}
