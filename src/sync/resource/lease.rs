//! Leases of a resource, and their number.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;

use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::wait::WaitKind;
use crate::sync::count::Count;
use crate::sync::wait_queue::{Wait, WaitQueue};
use crate::time::Instant;

/// The number of leases of a resource, and the keeper that waits for their end.
#[derive(Default)]
pub(super) struct Usage {
    pub(super) count: Count,
    /// When the last lease ended.
    pub(super) idle_since: Cell<u64>,
    /// The keeper, while it waits.
    keeper: WaitQueue,
    /// Whether the keeper waits until there is no lease.
    wants_idle: Cell<bool>,
}

impl Usage {
    pub(super) fn wake_keeper(&self) {
        self.keeper.wake_one(|()| ());
    }

    fn end(&self) {
        if self.count.remove() {
            self.idle_since.set(Instant::now().as_nanos());
            if self.wants_idle.get() {
                self.wake_keeper();
            }
        }
    }

    /// Suspends the keeper until it is woken, or until `deadline`.
    pub(super) fn wait(&self, deadline: u64) {
        self.wants_idle.set(self.count.get() > 0);
        let wait = Wait::new(WaitKind::Resource, Location::caller()).until(deadline);
        // Woken or timed out, the keeper looks at the state itself.
        let _ = self.keeper.wait(wait, ());
    }
}

/// The use of a [`Resource`](super::Resource). While there is a lease, the resource is not idle.
pub struct Lease<T> {
    /// `None` while the lease is being dropped.
    value: Option<Rc<T>>,
    usage: Rc<Usage>,
}

impl<T> Lease<T> {
    pub(super) fn new(value: Rc<T>, usage: Rc<Usage>) -> Self {
        usage.count.add();
        Self {
            value: Some(value),
            usage,
        }
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let value = self.value.as_deref();
        value.expect("it is taken out by the destructor only")
    }
}

impl<T> Clone for Lease<T> {
    /// Returns another lease of the same resource.
    fn clone(&self) -> Self {
        self.usage.count.add();
        Self {
            value: self.value.clone(),
            usage: self.usage.clone(),
        }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        let usage = self.usage.clone();
        // If the resource has stopped already, the value is dropped here. Whatever that drop does,
        // it must not prevent the end of the lease.
        let _end = OnDrop(|| usage.end());
        drop(mem::take(&mut self.value));
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.value).finish()
    }
}
