//! Futures, driven by ethreads.
//!
//! An ethread takes the part of an executor's task: it polls a future, and waits for the waker. So
//! an ethread can wait for any future that does not depend on the reactor of another runtime; the
//! futures of tokio's sockets and timers need tokio.
#![forbid(unsafe_code)]

use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::runtime::base::wait::{CallSite, Reason, WaitKind};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::Unwinding;
use crate::runtime::task::waker::Wakeups;

/// Polls a future until it is ready, and returns its output; suspends the ethread between two
/// polls, until the future's waker is used. On an OS thread without ethreads it blocks.
///
/// The waker may be used, cloned and dropped anywhere and at any time, even after the end of the
/// shard. Within the shard it costs no system call. If a future wakes itself, the other ethreads
/// get their turns between two polls.
///
/// While a waker exists, the shard does not report the wait as a deadlock. Join handles are
/// futures, too.
///
/// # Panics
///
/// With the panic of the future. If the future is not ready at once: in a closure given to
/// [`suspend`](crate::bridge::suspend), and on the OS thread's own side if nothing can ever wake
/// it.
///
/// While the caller unwinds the future is polled once. If it is not ready, the process is aborted
/// with a report, as there is no value to return.
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here, and the future is dropped.
///
/// # Examples
///
/// ```
/// use ethreads::future::block_on;
/// use ethreads::sync::channel;
///
/// ethreads::run_main(|| {
///     let (sender, receiver) = channel::bounded(1);
///     let doubled = ethreads::spawn(move || 2 * receiver.recv().unwrap_or(0));
///     let sent = block_on(async move {
///         sender.send(21).is_ok() // whatever waits in here suspends the ethread, too
///     });
///     assert!(sent);
///     assert_eq!(block_on(doubled).ok(), Some(42));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let location = Location::caller();
    let mut future = pin!(future.into_future());
    let mut waiter = None;
    loop {
        // Found anew for each poll, which is user code: it may have begun or ended a run on this OS
        // thread, or moved its caller to another ethread.
        let waiter = match &mut waiter {
            Some(waiter) if Waiter::is_here(waiter) => waiter,
            _ => waiter.insert(Waiter::here(location)),
        };
        if let Poll::Ready(output) = waiter.poll(future.as_mut()) {
            return output;
        }
        if waiter.is_here() {
            waiter.wait();
        }
    }
}

/// How the running code waits for the waker of a future.
enum Waiter {
    Ethread(Wakeups, CallSite),
    /// On an OS thread without ethreads.
    OsThread(Waker),
    /// In a closure given to `suspend`.
    Nowhere(CallSite),
}

impl Waiter {
    fn here(location: CallSite) -> Self {
        let Some(scheduler) = current::get() else {
            return Self::OsThread(Waker::from(Arc::new(Unpark(thread::current()))));
        };
        match Wakeups::here(scheduler, location) {
            Some(wakeups) => Self::Ethread(wakeups, location),
            None => Self::Nowhere(location),
        }
    }

    fn is_here(&self) -> bool {
        match self {
            Self::Ethread(wakeups, _) => wakeups.are_here(),
            Self::OsThread(_) => current::with(|scheduler| scheduler.is_none()),
            Self::Nowhere(_) => {
                current::with(|scheduler| scheduler.is_some_and(Scheduler::on_scheduler_side))
            }
        }
    }

    fn poll<F: Future>(&mut self, future: Pin<&mut F>) -> Poll<F::Output> {
        match self {
            Self::Ethread(wakeups, location) => {
                current::with(|scheduler| scheduler.map(|s| s.spend_or_unwind(location)));
                let waker = wakeups.waker();
                future.poll(&mut Context::from_waker(&waker))
            }
            Self::OsThread(waker) => future.poll(&mut Context::from_waker(waker)),
            Self::Nowhere(_) => future.poll(&mut Context::from_waker(Waker::noop())),
        }
    }

    fn wait(&self) {
        match self {
            Self::Ethread(wakeups, location) => {
                if let Err(Unwinding) = wakeups.wait() {
                    let abort = |s: &Scheduler| s.abort_unwinding("block_on", location);
                    current::with(|scheduler| scheduler.map(abort));
                }
            }
            Self::OsThread(_) => thread::park(),
            Self::Nowhere(location) => {
                let reason = Reason {
                    kind: WaitKind::Future,
                    detail: 0,
                    location,
                };
                // Panics, as every wait on the scheduler's side does.
                let refuse = |s: &Scheduler| match s.begin_wait(reason) {
                    Ok(_) => unreachable!("nothing can wait there"),
                    Err(Unwinding) => s.abort_unwinding("block_on", location),
                };
                current::with(|scheduler| scheduler.map(refuse));
            }
        }
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
