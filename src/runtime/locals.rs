//! The values that ethreads have of `thread::Local` keys.
//!
//! They are kept by place. A place is empty when an ethread is born in it: [`drop_all`] is the last
//! thing that runs on the stack of the one before.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::current;
use super::interrupt::at_root;
use super::scheduler::{SCHEDULER, Scheduler};
use super::task::{current_label, message, without_unwinding};

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
    ///
    /// # Errors
    ///
    /// The entry, outside of ethreads.
    pub(crate) fn set_local(&self, entry: Entry) -> Result<Rc<dyn Any>, Entry> {
        let Some(owner) = self.owner() else {
            return Err(entry);
        };
        let mut locals = self.locals.0.borrow_mut();
        let entries = locals.entry(owner).or_default();
        if let Some(old) = entries.iter().find(|old| old.key == entry.key) {
            return Ok(old.value.clone());
        }
        let value = entry.value.clone();
        entries.push(entry);
        Ok(value)
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

    /// Gives an ethread that has not begun what it inherits. Runs no user code.
    pub(crate) fn bequeath_locals(&self, index: u32, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let before = self.locals.0.borrow_mut().insert(index, entries);
            debug_assert!(before.is_none(), "a place is empty when it is given away");
        }
    }

    /// Takes the values of the ethread that ends, to be dropped by it. They may make others.
    fn take_locals(&self) -> Vec<Entry> {
        let mut locals = self.locals.0.borrow_mut();
        locals.remove(&self.current_place()).unwrap_or_default()
    }
}

/// Drops the values that the running ethread has of `thread::Local` keys, and the values that this
/// makes. After some rounds the rest is leaked: some destructor makes a value whenever one is
/// dropped.
#[inline]
pub(super) fn drop_all() {
    if current::with(|scheduler| scheduler.is_some_and(Scheduler::has_locals)) {
        drop_in_rounds();
    }
}

#[inline(never)]
fn drop_in_rounds() {
    const ROUNDS: usize = 8;
    let take = || current::with(|scheduler| scheduler.map(Scheduler::take_locals));
    for _ in 0..ROUNDS {
        let values = take().unwrap_or_default();
        if values.is_empty() {
            return;
        }
        for value in values {
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
                if at_root(&*payload).is_some() {
                    // The ethread is cancelled, and the destructor came to a suspension point.
                    continue;
                }
                without_unwinding(|| {
                    log::error!(
                        "dropping a local value of ethread {} panicked: {}",
                        current_label(),
                        message(&*payload)
                    );
                });
                std::mem::forget(payload);
            }
        }
    }
    std::mem::forget(take());
}
