//! A park of an ethread that a [`std::task::Waker`] ends.
//!
//! The protocol between the ethread and the waker is in [`WakeCell`].
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::wake_cell::WakeCell;
use crate::runtime::base::wait::{CallSite, NEVER, Reason, Token, WaitKind};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::inbox::{Handle, Message};
use crate::runtime::scheduler::origin::Origin;
use crate::runtime::scheduler::park::{Unwinding, yield_now};

/// The ethread's side.
pub(crate) struct Wakeups {
    origin: Origin,
    location: CallSite,
    shared: Arc<WakeState>,
    /// The data of the wakers handed out last, while any of them exists.
    handed_out: Weak<Wakeup>,
}

struct WakeState {
    index: u32,
    cell: WakeCell,
}

/// The data of a waker.
struct Wakeup {
    shared: Arc<WakeState>,
    /// While a waker exists, a wait for it is not a deadlock.
    handle: Handle,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let shared = &self.shared;
        let Some(park) = shared.cell.wake() else {
            return;
        };
        let token = Token::new(shared.index, park);
        current::with(|scheduler| match scheduler {
            Some(scheduler) if scheduler.is_of(&self.handle.inbox) => {
                scheduler.wake(token);
            }
            _ => self.handle.send(Message::Wake(token)),
        });
    }
}

impl Wakeups {
    /// The wake-ups of the running code; `None` on the scheduler's side.
    pub(crate) fn here(scheduler: Rc<Scheduler>, location: CallSite) -> Option<Self> {
        let origin = Origin::here(scheduler)?;
        Some(Self {
            location,
            shared: Arc::new(WakeState {
                index: origin.index(),
                cell: WakeCell::new(),
            }),
            origin,
            handed_out: Weak::new(),
        })
    }

    /// Whether these wake-ups still belong to the running code. A poll is user code: it may have
    /// moved its caller to another ethread, or ended the run.
    pub(crate) fn are_here(&self) -> bool {
        self.origin.is_here()
    }

    /// A waker for the next poll. Must be dropped before [`wait`](Self::wait): only wakers that are
    /// kept elsewhere count.
    pub(crate) fn waker(&mut self) -> Waker {
        let wakeup = self.handed_out.upgrade().unwrap_or_else(|| {
            Arc::new(Wakeup {
                shared: self.shared.clone(),
                handle: self.origin.scheduler().handle(),
            })
        });
        self.handed_out = Arc::downgrade(&wakeup);
        wakeup.into()
    }

    /// Waits until a waker has been used since the last wait. Unwinds if the ethread is cancelled,
    /// or at the deadline of a scope.
    ///
    /// # Errors
    ///
    /// If the caller unwinds.
    pub(crate) fn wait(&self) -> Result<(), Unwinding> {
        debug_assert!(self.are_here(), "an ethread waits for its own wakers");
        if std::thread::panicking() {
            return Err(Unwinding);
        }
        let cell = &self.shared.cell;
        let wait = self
            .origin
            .scheduler()
            .begin_wait(Reason::new(WaitKind::Future, self.location))?;
        // However the wait ends, no waker wakes the ethread after it.
        let _over = Over(cell);
        if cell.begin(wait.token().park) {
            // The ethread may wake itself again and again, so the other ethreads get their turns.
            yield_now(self.location);
        } else {
            wait.park_or_unwind(NEVER);
        }
        Ok(())
    }
}

/// Ends a wait when it is dropped.
struct Over<'a>(&'a WakeCell);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::Location;

    use super::*;

    fn scheduler() -> Rc<Scheduler> {
        current::get_or_install().expect("an OS thread of its own")
    }

    #[test]
    fn a_wake_within_the_shard_is_no_message() {
        let waker = Rc::new(RefCell::new(None));
        let theirs = waker.clone();
        let waits = crate::spawn(move || {
            let scheduler = scheduler();
            let mut wakeups = Wakeups::here(scheduler, Location::caller()).expect("an ethread");
            *theirs.borrow_mut() = Some(wakeups.waker());
            wakeups.wait().expect("nothing unwinds");
        });
        crate::thread::yield_now();
        let waker = waker.take().expect("it has run");
        assert!(scheduler().inbox.queue.has_handles());
        waker.wake_by_ref();
        assert!(!scheduler().inbox.queue.is_pending());
        waits.join().expect("it was woken");
        // The last waker is dropped, for which an ethread might have waited.
        drop(waker);
        assert!(!scheduler().inbox.queue.has_handles());
    }

    #[test]
    fn a_waker_that_is_kept_is_handed_out_again() {
        let scheduler = scheduler();
        let mut wakeups = Wakeups::here(scheduler, Location::caller()).expect("the OS thread");
        let first = wakeups.waker();
        let again = wakeups.waker();
        assert!(first.will_wake(&again));
    }
}
