//! Calls that block the OS thread, off the shard.

use std::panic::{self, Location};

use crate::runtime::task::pool::{self, BlockingStats};

/// Runs `f` on a pool of OS threads and suspends the ethread until it has ended; the other
/// ethreads go on meanwhile.
///
/// There is a single pool for the whole process, which starts with the first call. A call takes an
/// idle OS thread, or else a new one. At most 500 calls run at a time, unless
/// [`set_blocking_limit`] sets another limit; further calls wait in FIFO order. An OS thread ends
/// after 10 s of idleness. Outside a shard, and while the caller unwinds, `f` runs in place.
///
/// The OS thread of `f` has no ethreads; `f` may run some, for example by
/// [`run_main`](crate::run_main). Ethreads that `f` leaves behind are leaked, as at the end of an
/// OS thread; values of `thread_local!` stay until the OS thread ends. The end of the process does
/// not wait for `f`.
///
/// # When no OS thread can be started
///
/// `RLIMIT_NPROC` (`ulimit -u`) and the pids.max of a cgroup limit how many OS threads there are.
/// If the pool has at least one OS thread, the call waits in the queue; deadlines and cancels work
/// meanwhile. The start is tried again with the next call, and whenever a call ends. If the pool
/// has no OS thread, `f` runs in place and blocks the shard, which is logged at most every 5 s.
/// Calls with an [`io::Result`](std::io::Result), which are those of [`fs`](crate::fs) and name
/// look-ups, fail instead: on Linux with `QuotaExceeded`, as `EAGAIN` would be taken for
/// `WouldBlock`. The text names the limits, and the system's error is the source.
///
/// # Panics
///
/// With the panic of `f`. In a closure given to [`suspend`](super::suspend).
///
/// # Cancellation
///
/// A cancelled ethread unwinds at once, unless `f` has ended; `f` goes on, and its value is dropped
/// on the pool. If the ethread was cancelled before the call, or is beyond a deadline, `f` does not
/// run.
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
#[doc(alias = "spawn_blocking")]
#[track_caller]
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    pool::run(f, Location::caller()).unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Sets how many [`blocking`](fn@blocking) calls may run at a time, in the whole process; calls of
/// [`fs`](crate::fs) and name look-ups count. The limit is 500 at first, and also bounds the number
/// of OS threads that are started. A lower limit applies to calls that begin after this.
///
/// # Panics
///
/// If `limit` is zero: no call would ever run.
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
