//! The values that ethreads have of `thread::Local` keys.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::scheduler::{SCHEDULER, Scheduler};

/// A value, and how a child gets one of it.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Unique among all keys, in the process.
    pub(crate) key: usize,
    pub(crate) value: Rc<dyn Any>,
    pub(crate) heir: Option<Heir>,
}

/// Makes the value of a child from that of its parent.
pub(crate) type Heir = Rc<dyn Fn(&dyn Any) -> Rc<dyn Any>>;

/// The values of a shard's ethreads, by their places. Most ethreads have none, and most shards.
#[derive(Default)]
pub(super) struct Locals(RefCell<BTreeMap<u32, Vec<Entry>>>);

impl Scheduler {
    /// Whose values are meant: those of the ethread that runs, or of its OS thread.
    fn owner(&self) -> Option<u32> {
        let index = self.current_place();
        (self.in_ethread() && index != SCHEDULER).then_some(index)
    }

    /// The value of the ethread that runs, if it has one; `None` outside of ethreads.
    pub(crate) fn local(&self, key: usize) -> Option<Option<Rc<dyn Any>>> {
        let owner = self.owner()?;
        let locals = self.locals.0.borrow();
        let entries = locals.get(&owner).into_iter().flatten();
        let mut found = entries.filter(|entry| entry.key == key);
        Some(found.next().map(|entry| entry.value.clone()))
    }

    /// Gives the ethread that runs a value, unless it got one meanwhile; returns the one it has.
    pub(crate) fn set_local(&self, entry: Entry) -> Rc<dyn Any> {
        let mut locals = self.locals.0.borrow_mut();
        let entries = locals.entry(self.current_place()).or_default();
        if let Some(old) = entries.iter().find(|old| old.key == entry.key) {
            return old.value.clone();
        }
        let value = entry.value.clone();
        entries.push(entry);
        value
    }

    /// Whether any ethread of the shard has values.
    #[inline]
    pub(super) fn has_locals(&self) -> bool {
        !self.locals.0.borrow().is_empty()
    }

    /// What a child of whoever runs inherits, if anybody has something to leave. Calls code of the
    /// user's.
    #[inline]
    pub(crate) fn legacy(&self) -> Option<Vec<Entry>> {
        self.has_locals().then(|| self.inherited())
    }

    #[inline(never)]
    fn inherited(&self) -> Vec<Entry> {
        let Some(owner) = self.owner() else {
            return Vec::new();
        };
        let own = self.locals.0.borrow().get(&owner).cloned();
        let inherit = |entry: Entry| {
            let heir = entry.heir?;
            Some(Entry {
                key: entry.key,
                value: heir(&*entry.value),
                heir: Some(heir),
            })
        };
        own.into_iter().flatten().filter_map(inherit).collect()
    }

    /// Gives an ethread that has not begun what it inherits.
    pub(crate) fn bequeath_locals(&self, index: u32, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.locals.0.borrow_mut().insert(index, entries);
        }
    }

    /// Takes the values of the ethread that ends, to be dropped by it. They may make others.
    pub(crate) fn take_locals(&self) -> Vec<Entry> {
        let mut locals = self.locals.0.borrow_mut();
        locals.remove(&self.current_place()).unwrap_or_default()
    }
}
