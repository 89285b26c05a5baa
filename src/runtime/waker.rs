//! A park of an ethread that is ended by a [`std::task::Waker`].
//!
//! ```text
//!   the ethread                        a waker
//!   polls, gets `Pending`              sets `woken`
//!   begins a wait, sets `park`         looks at `park`, and ends that park
//!   looks at `woken`, parks if unset
//! ```
//! Both set theirs before they look at the other's, so one of them sees the other: no wake is lost,
//! and one that comes too late names a park that is over, which does nothing.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::current;
use super::inbox::{Handle, Message};
use super::park::{Unwinding, yield_now};
use super::scheduler::Scheduler;
use super::wait::{NEVER, Reason, Token, WaitKind};

/// The ethread's side.
pub(crate) struct Wakeups<'a> {
    scheduler: &'a Scheduler,
    location: &'static Location<'static>,
    shared: Arc<Shared>,
    /// The wakers that were handed out last, as long as somebody has one.
    handed_out: Weak<Wakeup>,
}

#[derive(Debug)]
struct Shared {
    /// Of the scheduler.
    shard: u64,
    index: u32,
    woken: AtomicBool,
    /// The number of the park that goes on; zero if none does.
    park: AtomicU64,
}

/// What a waker is made of.
#[derive(Debug)]
struct Wakeup {
    shared: Arc<Shared>,
    /// As long as somebody has a waker, waiting for it is no deadlock.
    handle: Handle,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let shared = &self.shared;
        if shared.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        let park = shared.park.load(Ordering::SeqCst);
        if park == 0 {
            return;
        }
        let token = Token {
            index: shared.index,
            case: 0,
            park,
        };
        current::with(|scheduler| match scheduler {
            Some(scheduler) if scheduler.id() == shared.shard => {
                scheduler.wake(token);
            }
            _ => self.handle.send(Message::Wake(token)),
        });
    }
}

impl<'a> Wakeups<'a> {
    pub(crate) fn new(scheduler: &'a Scheduler, location: &'static Location<'static>) -> Self {
        Self {
            scheduler,
            location,
            shared: Arc::new(Shared {
                shard: scheduler.id(),
                index: scheduler.current_place(),
                woken: AtomicBool::new(false),
                park: AtomicU64::new(0),
            }),
            handed_out: Weak::new(),
        }
    }

    /// A waker for the next poll. It is to be dropped before [`wait`](Self::wait): only those count
    /// that others have.
    pub(crate) fn waker(&mut self) -> Waker {
        let wakeup = self.handed_out.upgrade().unwrap_or_else(|| {
            Arc::new(Wakeup {
                shared: self.shared.clone(),
                handle: self.scheduler.handle(),
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
        if std::thread::panicking() {
            return Err(Unwinding);
        }
        let shared = &self.shared;
        if shared.woken.swap(false, Ordering::SeqCst) {
            // By itself, maybe, again and again: the others have their turn.
            yield_now(self.location);
            return Ok(());
        }
        let wait = self.scheduler.begin_wait(Reason {
            kind: WaitKind::Future,
            detail: 0,
            location: self.location,
        })?;
        shared.park.store(wait.token().park, Ordering::SeqCst);
        // However this ends: nobody wakes by it any more.
        let _over = Over(shared);
        if !shared.woken.load(Ordering::SeqCst) {
            wait.park_or_unwind(NEVER);
        }
        Ok(())
    }
}

/// The end of a wait.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.park.store(0, Ordering::SeqCst);
        self.0.woken.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

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
            let mut wakeups = Wakeups::new(&scheduler, Location::caller());
            *theirs.borrow_mut() = Some(wakeups.waker());
            wakeups.wait().expect("nothing unwinds");
        });
        crate::thread::yield_now();
        let waker = waker.take().expect("it has run");
        assert!(scheduler().inbox().has_handles());
        waker.wake_by_ref();
        assert!(!scheduler().inbox().is_pending());
        waits.join().expect("it was woken");
        // The last one goes, which somebody might have waited for.
        drop(waker);
        assert!(!scheduler().inbox().has_handles());
    }

    #[test]
    fn a_waker_that_somebody_keeps_is_handed_out_again() {
        let scheduler = scheduler();
        let mut wakeups = Wakeups::new(&scheduler, Location::caller());
        let first = wakeups.waker();
        let again = wakeups.waker();
        assert!(first.will_wake(&again));
    }
}
