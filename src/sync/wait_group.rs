//! Waiting until all members of a group are gone.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::rc::Rc;

use super::count::Count;
use super::wait_queue::{Wait, WaitQueue};
use crate::runtime::base::debug::opaque_debug;
use crate::runtime::base::wait::WaitKind;

/// Lets ethreads wait until all members of a group are gone. Go's `sync.WaitGroup`, with guards in
/// place of `Add` and `Done`.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use ethreads::{sync::WaitGroup, thread};
///
/// ethreads::run_main(|| {
///     let (group, done) = (WaitGroup::new(), Rc::new(Cell::new(0)));
///     for _ in 0..3 {
///         let (member, done) = (group.join(), done.clone());
///         thread::spawn(move || {
///             let _member = member;
///             thread::yield_now();
///             done.set(done.get() + 1);
///         });
///     }
///     group.wait();
///     assert_eq!(done.get(), 3);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// It is not `Send`:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(ethreads::sync::WaitGroup::new());
/// ```
#[derive(Clone, Default)]
pub struct WaitGroup {
    group: Rc<Group>,
}

#[derive(Default)]
struct Group {
    members: Count,
    waiters: WaitQueue,
}

/// Belongs to a [`WaitGroup`] until it is dropped. Made by [`WaitGroup::join`].
#[must_use = "it leaves the group at once"]
pub struct Member {
    group: Rc<Group>,
}

impl WaitGroup {
    /// Creates a group without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member to the group.
    pub fn join(&self) -> Member {
        self.group.members.add();
        Member {
            group: self.group.clone(),
        }
    }

    /// Returns how many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.group.members.get()
    }

    /// Suspends the caller until there has been a moment without a member.
    ///
    /// While the caller unwinds, the call returns at once if there is no member; otherwise the
    /// process aborts with a report.
    ///
    /// # Panics
    ///
    /// In a closure given to `suspend`. On the OS thread's own side, if the members can never go.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    #[track_caller]
    pub fn wait(&self) {
        if self.members() == 0 {
            return;
        }
        let wait = Wait::new(WaitKind::WaitGroup, Location::caller());
        self.group
            .waiters
            .wait_infallibly(wait, (), "WaitGroup::wait");
    }
}

impl Clone for Member {
    /// Makes another member of the same group.
    fn clone(&self) -> Self {
        self.group.members.add();
        Self {
            group: self.group.clone(),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.group.members.remove() {
            self.group.waiters.wake_all(|()| ());
        }
    }
}

opaque_debug!(impl for WaitGroup, members);

opaque_debug!(impl for Member);
