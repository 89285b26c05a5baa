//! Calls that block the OS thread, off the shard.

use std::panic::{self, Location};

use crate::runtime::task::pool::{self, BlockingStats};

/// Runs `f` on a pool of OS threads and suspends the ethread until it has ended; the other
/// ethreads go on meanwhile.
///
/// The pool is one for the whole process, and starts with the first call. A call takes an idle OS
/// thread, or else a new one. At most 500 calls run at a time, unless [`set_blocking_limit`] says
/// otherwise; the rest waits in line, first come, first served. An OS thread that has been idle for
/// 10 s ends. Outside a shard, and while the caller unwinds, `f` runs right here.
///
/// `f` finds its OS thread without ethreads, and may run some, by [`run_main`](crate::run_main) for
/// example. Ethreads that it leaves behind are leaked, as at the end of an OS thread; values of
/// `thread_local!` stay until the OS thread ends. The end of the process does not wait for `f`.
///
/// # When no OS thread can be started
///
/// `RLIMIT_NPROC` (`ulimit -u`) and the pids.max of a cgroup limit how many OS threads there are.
/// If the pool has at least one, the call waits in line for it, and deadlines and cancels hold
/// meanwhile; the start is tried again with the next call, and whenever one ends. If it has none,
/// `f` runs right here and holds up the shard, which the log is told at most every 5 s. Calls with
/// an [`io::Result`](std::io::Result), those of [`fs`](crate::fs) and name look-ups, fail instead,
/// with the system's error and its [`ErrorKind`](std::io::ErrorKind), which on Linux is
/// `WouldBlock`; the text names the limits.
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
/// [`fs`](crate::fs) and name look-ups count. It is 500 at first, and also the most OS threads that
/// are started. A lower limit holds for calls that begin after this.
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
