//! The suspension points that are not I/O, and what guards against them.

use std::io;
use std::panic::{self, Location, UnwindSafe};
use std::time::Duration;

use crate::runtime::base::wait::{CallSite, NEVER, deadline_after};
use crate::runtime::scheduler::clock::Instant;
use crate::runtime::scheduler::current as shard;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::park::{self};
use crate::runtime::scheduler::unwind::{Mask, passes};

/// Suspends the ethread for at least `duration`.
///
/// On an OS thread without ethreads this is [`std::thread::sleep`]; on a shard's own OS thread
/// outside of [`run`](crate::run) it drives the shard meanwhile.
///
/// Returns at once while the caller unwinds.
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Panics
///
/// In a closure given to `suspend`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{thread, time::Instant};
///
/// ethreads::run_main(|| {
///     let start = Instant::now();
///     let threads: Vec<_> =
///         (0..100).map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(10)))).collect();
///     for thread in threads {
///         thread.join().expect("a sleeper does not panic");
///     }
///     assert!(start.elapsed() < Duration::from_secs(1)); // not one after the other
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn sleep(duration: Duration) {
    park::sleep(duration, Location::caller());
}

/// Suspends the ethread until `deadline`. See [`sleep`].
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Panics
///
/// In a closure given to `suspend`.
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    park::sleep_until(deadline.as_nanos(), Location::caller());
}

/// Lets all other ethreads that are ready run first; suspends only for that.
///
/// On an OS thread without ethreads this is [`std::thread::yield_now`]; on a shard's own OS thread
/// it runs the ready ethreads. Returns at once while the caller unwinds.
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Panics
///
/// In a closure given to `suspend`.
#[inline(always)]
#[track_caller]
pub fn yield_now() {
    // Inlined, as `park::leave` requires.
    park::yield_now(Location::caller());
}

/// Suspends the ethread until [`Thread::unpark`](super::Thread::unpark) is called on it; returns at
/// once if `unpark` was called since the last park. Unlike std's, it has no spurious wake-ups.
///
/// Returns at once while the caller unwinds.
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Panics
///
/// In a closure given to `suspend`. On an OS thread's own side, if nothing can ever unpark it.
#[inline(always)]
#[track_caller]
pub fn park() {
    park_until(|_| NEVER, Location::caller());
}

/// Suspends the ethread until it is unparked, or `timeout` has passed. See [`park`].
///
/// # Cancellation
///
/// A cancelled ethread unwinds from here.
///
/// # Panics
///
/// In a closure given to `suspend`.
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    let deadline = |scheduler: &Scheduler| deadline_after(scheduler.clock(), timeout);
    park_until(deadline, Location::caller());
}

#[inline(always)]
fn park_until(deadline: impl FnOnce(&Scheduler) -> u64, location: CallSite) {
    let parked = shard::with_or_install(|scheduler| {
        scheduler.begin_until_unparked(deadline(scheduler), location)
    });
    match parked {
        Ok(false) => {}
        Ok(true) => {
            park::leave();
            park::end_until_unparked();
        }
        Err(error) => no_ethread_to_park(&error),
    }
}

#[cold]
fn no_ethread_to_park(error: &io::Error) -> ! {
    panic!("there is no ethread to park, and no scheduler: {error}")
}

/// Runs `f` and catches its panic, but lets a cancel through.
///
/// A replacement for `catch_unwind` in code that must not stop a cancelled ethread.
///
/// # Errors
///
/// The payload of the panic.
///
/// # Examples
///
/// ```
/// use ethreads::thread;
///
/// let caught = thread::catch_panic(|| "seven".parse::<i32>().expect("a number"));
/// assert!(caught.is_err());
/// ```
pub fn catch_panic<F, R>(f: F) -> super::Result<R>
where
    F: FnOnce() -> R + UnwindSafe,
{
    match panic::catch_unwind(f) {
        Err(payload) if passes(&*payload) => panic::resume_unwind(payload),
        result => result,
    }
}

/// Runs `f` with cancels held back: a cancel that comes meanwhile takes effect at the first
/// suspension point after `f`. Timeouts of single operations are not held back.
///
/// For work that waits but must not be cut short, and around calls through C code that suspend:
/// unwinding through C frames aborts the process.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
/// use ethreads::thread;
///
/// ethreads::run_main(|| {
///     let done = Rc::new(Cell::new(false));
///     let flag = done.clone();
///     let thread = thread::spawn(move || {
///         thread::uncancellable(|| {
///             thread::sleep(Duration::from_millis(1));
///             flag.set(true);
///         });
///         thread::yield_now();
///         unreachable!("the cancel has taken effect");
///     });
///     thread::yield_now(); // it sleeps now
///     thread.cancel();
///     assert!(thread.join().is_err());
///     assert!(done.get());
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn uncancellable<R>(f: impl FnOnce() -> R) -> R {
    let location = Location::caller();
    // No reference to the scheduler is held over `f`: see `Origin`.
    let _mask = shard::get().map(|scheduler| Mask::new(scheduler, location));
    f()
}
