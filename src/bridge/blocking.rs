//! Calls that block the OS thread, off the shard.

use std::panic::{self, Location};

use crate::runtime::pool;

/// Runs `f` on a pool of OS threads and suspends the ethread until it has ended; the other
/// ethreads go on meanwhile.
///
/// The pool starts with the first call and grows to at most 500 threads (`BLOCKING_MAX_THREADS`).
/// How long those stay that have nothing to do is up to the crate `blocking`; its version 1.7.0
/// keeps them. Outside a shard, and while the caller unwinds, `f` runs right here.
///
/// # Panics
///
/// With the panic of `f`. In a closure given to [`suspend`](super::suspend).
///
/// # Cancellation
///
/// A cancelled ethread unwinds at once; `f` goes on, and its value is dropped on the pool.
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
