//! Scopes with a deadline.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::time::Duration;

use super::{Elapsed, Instant};
use crate::runtime::base::wait::{CallSite, deadline_after};
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::event_loop::Scheduler;
use crate::runtime::scheduler::unwind::{Addressed, ScopeGuard, addressed};
use crate::runtime::state::scopes::ScopeKind;

/// Runs `f`, in which nothing waits for longer than `duration` from now. See the [module](super)
/// for details.
///
/// # Errors
///
/// [`Elapsed`], if `f` was unwound because of this deadline. If `f` ends by itself, its value is
/// returned, however late that is: it may be an I/O error of kind `TimedOut`.
///
/// # Panics
///
/// With the panic of `f`. If the OS thread has no scheduler and none can be made.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{thread, time};
///
/// ethreads::run_main(|| {
///     let slow = time::timeout(Duration::from_millis(5), || {
///         thread::sleep(Duration::from_secs(3600));
///         "rested"
///     });
///     assert!(slow.is_err());
///     assert_eq!(time::timeout(Duration::from_secs(3600), || "at once"), Ok("at once"));
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn timeout<F, R>(duration: Duration, f: F) -> Result<R, Elapsed>
where
    F: FnOnce() -> R,
{
    let location = Location::caller();
    within(location, f, |scheduler| {
        deadline_after(scheduler.clock(), duration)
    })
}

/// Runs `f`, in which nothing waits beyond `at`. See [`timeout`].
///
/// # Errors
///
/// As [`timeout`].
///
/// # Panics
///
/// As [`timeout`].
#[track_caller]
pub fn deadline<F, R>(at: Instant, f: F) -> Result<R, Elapsed>
where
    F: FnOnce() -> R,
{
    within(Location::caller(), f, |_| at.as_nanos())
}

/// Runs `f`, in which nothing waits for longer than `duration` from now, and merges the two
/// possible errors into one.
///
/// # Errors
///
/// The errors of `f`; `TimedOut` with the source [`Elapsed`] if `f` was unwound because of this
/// deadline.
///
/// # Panics
///
/// As [`timeout`].
///
/// # Examples
///
/// ```
/// use std::io::{ErrorKind, Read};
/// use std::time::Duration;
/// use ethreads::{net::UnixStream, time};
///
/// ethreads::run_main(|| {
///     let (mut ours, _silent) = UnixStream::pair()?;
///     let mut text = String::new();
///     let read = time::timeout_io(Duration::from_millis(5), || ours.read_to_string(&mut text));
///     let error = read.expect_err("no peer writes");
///     assert_eq!(error.kind(), ErrorKind::TimedOut);
///     assert!(error.get_ref().is_some_and(|source| source.is::<time::Elapsed>()));
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn timeout_io<F, R>(duration: Duration, f: F) -> io::Result<R>
where
    F: FnOnce() -> io::Result<R>,
{
    timeout(duration, f)?
}

fn within<F, R>(
    location: CallSite,
    f: F,
    deadline: impl FnOnce(&Scheduler) -> u64,
) -> Result<R, Elapsed>
where
    F: FnOnce() -> R,
{
    let scheduler = current::expect_for("ethread to bound, and no scheduler");
    let kind = ScopeKind::Deadline(deadline(&scheduler));
    let scope = ScopeGuard::enter(scheduler, kind, location);
    // What `f` leaves half done is seen by the same code as after any other early return: locks are
    // poisoned, and a payload for another scope is passed on.
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Ok(value),
        Err(payload) if addressed(&*payload, scope.id()) == Addressed::Here => {
            Err(Elapsed { scope: location })
        }
        Err(payload) => {
            drop(scope);
            panic::resume_unwind(payload)
        }
    }
}
