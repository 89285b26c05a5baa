//! Access of ethreads to their values of `thread::Local` keys: get, set, inherit, drop.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::current;
use super::event_loop::Scheduler;
use super::unwind::at_root;
use crate::runtime::base::panic::{message, without_unwinding};
use crate::runtime::state::locals::{Entry, find, find_or_add};

impl Scheduler {
    /// The owner of the values: the place of the running ethread; `None` for the OS thread's own
    /// code.
    fn owner(&self) -> Option<u32> {
        self.in_ethread().then(|| self.current.get())
    }

    /// The running ethread's value, if it has one; `None` outside of ethreads.
    pub(crate) fn local(&self, key: usize) -> Option<Option<Rc<dyn Any>>> {
        let owner = self.owner()?;
        let locals = self.locals.borrow();
        Some(locals.get(&owner).and_then(|entries| find(entries, key)))
    }

    /// Sets a value of the running ethread, unless it was set meanwhile; returns the current value.
    ///
    /// # Errors
    ///
    /// The entry, outside of ethreads.
    pub(crate) fn set_local(&self, entry: Entry) -> Result<Rc<dyn Any>, Entry> {
        let Some(owner) = self.owner() else {
            return Err(entry);
        };
        let mut locals = self.locals.borrow_mut();
        Ok(find_or_add(locals.entry(owner).or_default(), &entry))
    }

    /// Whether any ethread of the shard has values.
    #[inline]
    pub(in crate::runtime) fn has_locals(&self) -> bool {
        !self.locals.borrow().is_empty()
    }

    /// What a child of the running code inherits; `None` if no ethread of the shard has values.
    /// Calls user code.
    #[inline]
    pub(crate) fn inherited(&self) -> Option<Vec<Entry>> {
        self.has_locals().then(|| self.clone_inherited())
    }

    #[inline(never)]
    fn clone_inherited(&self) -> Vec<Entry> {
        let Some(owner) = self.owner() else {
            return Vec::new();
        };
        let own = self.locals.borrow().get(&owner).cloned();
        let inherit = |entry: Entry| {
            let clone_for_child = entry.clone_for_child?;
            Some(Entry {
                key: entry.key,
                value: clone_for_child(&*entry.value),
                clone_for_child: Some(clone_for_child),
            })
        };
        own.into_iter().flatten().filter_map(inherit).collect()
    }

    /// Gives an ethread that has not begun the values that it inherits. Runs no user code.
    pub(crate) fn give_locals(&self, index: u32, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let before = self.locals.borrow_mut().insert(index, entries);
            debug_assert!(before.is_none(), "a place is empty when it is given away");
        }
    }

    /// Takes the values of the ending ethread, which then drops them. Their destructors may set
    /// others.
    fn take_locals(&self) -> Vec<Entry> {
        let mut locals = self.locals.borrow_mut();
        locals.remove(&self.current_place()).unwrap_or_default()
    }
}

/// Drops the running ethread's values of `thread::Local` keys, and the values that their
/// destructors set. After some rounds the rest is leaked: some destructor sets a new value whenever
/// one is dropped.
#[inline]
pub(in crate::runtime) fn drop_all() {
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
                    // The ethread is cancelled, and the destructor reached a suspension point.
                    continue;
                }
                without_unwinding(|| {
                    log::error!(
                        "dropping a local value of ethread {} panicked: {}",
                        current::label(),
                        message(&*payload)
                    );
                });
                std::mem::forget(payload);
            }
        }
    }
    std::mem::forget(take());
}
