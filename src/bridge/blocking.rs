//! Calls that block the OS thread, off the shard.

use std::panic::{self, Location};

use crate::runtime::pool::{self, BlockingStats};

/// Runs `f` on a pool of OS threads and suspends the ethread until it has ended; the other
/// ethreads go on meanwhile.
///
/// The pool starts with the first call. At most 500 calls run at a time, unless
/// [`set_blocking_limit`] says otherwise, and the rest waits for those to end. How long OS threads
/// stay that have nothing to do is up to the crate `blocking`; its version 1.7.0 keeps them.
/// Outside a shard, and while the caller unwinds, `f` runs right here.
///
/// # Panics
///
/// With the panic of `f`. In a closure given to [`suspend`](super::suspend).
///
/// # Cancellation
///
/// A cancelled ethread unwinds at once; `f` goes on, and its value is dropped on the pool. If the
/// ethread was cancelled before the call, or is beyond a deadline, `f` does not run.
///
/// # Examples
///
/// ```
/// let hosts = ethreads::run_main(|| {
///     ethreads::bridge::blocking(|| std::fs::read_to_string("/etc/hosts"))
/// })?;
/// # drop(hosts);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match pool::run(f, Location::caller()) {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Sets how many [`blocking`](fn@blocking) calls may run at a time, in the whole process; those of
/// [`fs`](crate::fs) and name look-ups count. A lower limit holds for calls that begin after this.
/// The environment variable `BLOCKING_MAX_THREADS`, 500 unless set, is the most that can be had.
/// There may be a few OS threads more, which are about to see whether there is something to do.
///
/// # Panics
///
/// If it is zero: nothing would ever run.
pub fn set_blocking_limit(limit: usize) {
    assert!(
        limit > 0,
        "with a limit of 0 no blocking call would ever run"
    );
    pool::set_limit(limit);
}

/// Returns how many [`blocking`](fn@blocking) calls there are in the process.
///
/// # Examples
///
/// ```
/// use ethreads::bridge;
///
/// let before = bridge::blocking_stats();
/// ethreads::run_main(|| bridge::blocking(|| "work"))?;
/// let after = bridge::blocking_stats();
/// assert_eq!(after.ended - before.ended, 1);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[must_use]
pub fn blocking_stats() -> BlockingStats {
    pool::stats()
}
