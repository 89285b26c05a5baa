//! OS threads for calls that block: the crate `blocking`, whose pool starts with the first call.

use std::convert::Infallible;
use std::io;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::current;
use super::park::Unwinding;
use super::scheduler::Scheduler;
use super::wait::{NEVER, Outcome, Reason, WaitKind};

/// Runs `f` on the pool and parks until it has ended; a panic of `f` is the `Err`.
///
/// Outside a shard, and in an ethread that unwinds, `f` runs right here.
pub(crate) fn run<T, F>(f: F, location: &'static Location<'static>) -> thread::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match offload(f, location, |scheduler| -> Infallible {
        scheduler.raise_elapsed()
    }) {
        Ok(result) => result,
        Err(never) => match never {},
    }
}

/// As [`run`], for a call that fails with `TimedOut` once a scope's deadline has passed.
pub(crate) fn run_io<T, F>(
    f: F,
    location: &'static Location<'static>,
) -> io::Result<thread::Result<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    offload(f, location, Scheduler::elapsed_error)
}

fn offload<T, F, E>(
    f: F,
    location: &'static Location<'static>,
    elapsed: impl FnOnce(&Scheduler) -> E,
) -> Result<thread::Result<T>, E>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    current::with(|scheduler| {
        let Some(scheduler) = scheduler else {
            return Ok(call(f));
        };
        let reason = Reason {
            kind: WaitKind::Blocking,
            detail: 0,
            location,
        };
        let wait = match scheduler.begin_wait(reason) {
            Ok(wait) => wait,
            Err(Unwinding) => return Ok(call(f)),
        };
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        let waker = scheduler.remote_waker(wait.token());
        blocking::unblock(move || {
            let value = call(f);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            waker.wake();
        })
        .detach();
        match wait.park(NEVER) {
            Outcome::Cancelled => scheduler.raise_cancel(),
            Outcome::Elapsed => return Err(elapsed(scheduler)),
            Outcome::Woken | Outcome::TimedOut => {}
        }
        let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(value.expect("the job wakes after it has stored its result"))
    })
}

fn call<T>(f: impl FnOnce() -> T) -> thread::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(f))
}
