//! Futures, driven by ethreads.
//!
//! An ethread is to a future what an executor's task is: it polls, and waits for the waker. So any
//! future that does not depend on the reactor of another runtime can be waited for; those of
//! tokio's sockets and timers need tokio.
#![forbid(unsafe_code)]

use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::runtime::current;
use crate::runtime::park::Unwinding;
use crate::runtime::scheduler::Scheduler;
use crate::runtime::waker::Wakeups;

/// Polls a future until it is ready, and returns its output; suspends the ethread in between, until
/// the future's waker is used. On an OS thread without ethreads it blocks.
///
/// The waker may be used, cloned and dropped anywhere and at any time, also after the end of the
/// shard. Within the shard it costs no system call. A future that wakes itself lets the others have
/// their turns between two polls.
///
/// While somebody has a waker, the shard does not take the wait for a deadlock. Join handles are
/// futures, too.
///
/// # Panics
///
/// With the panic of the future. In a closure given to [`suspend`](crate::bridge::suspend), and on
/// the OS thread's own side if nobody can ever wake it, if the future is not ready at once.
///
/// While the caller unwinds the future is polled once; if it is not ready the process is aborted
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
    let future = pin!(future.into_future());
    current::with(|scheduler| match scheduler {
        Some(scheduler) => suspend_on(scheduler, future, location),
        None => block_thread_on(future),
    })
}

fn suspend_on<F: Future>(
    scheduler: &Scheduler,
    mut future: Pin<&mut F>,
    location: &'static Location<'static>,
) -> F::Output {
    let mut wakeups = Wakeups::new(scheduler, location);
    loop {
        scheduler.spend_or_unwind(location);
        let waker = wakeups.waker();
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        drop(waker);
        if let Poll::Ready(output) = polled {
            return output;
        }
        if let Err(Unwinding) = wakeups.wait() {
            scheduler.abort_unwinding("block_on", location);
        }
    }
}

fn block_thread_on<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
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
