//! Runs that repeat exactly: virtual time, and a run order that a seed decides.
//!
//! Under [`run`] time stands still while any ethread is ready, and jumps to the next deadline when
//! none is: an hour of sleep takes no real time, and ends exactly on time. A generator that the
//! seed starts draws the next ethread to run from the ready ones, so one test can try many orders,
//! and a failure comes back with its seed.
//!
//! What the ethreads do by themselves repeats. Time does not jump while another OS thread holds
//! something that can wake the shard (a [`RemoteThread`](crate::thread::RemoteThread), a
//! [`blocking`](crate::bridge::blocking) call): the run waits for it in real time, and the order of
//! its events is the system's. The shutdown that follows the root's end is bounded by its grace
//! period in virtual time or in real time, whichever ends first. There are no sockets: operations
//! on descriptors fail with [`Unsupported`](std::io::ErrorKind::Unsupported).

#![forbid(unsafe_code)]

use std::panic::Location;

use crate::runtime::base::wait::CallSite;
use crate::runtime::{DriverKind, RunError, Runtime};

/// Runs `f` as the root ethread of a simulation on this OS thread, and shuts the other ethreads
/// down when it has ended, like [`run_main`](crate::run_main).
///
/// Virtual time begins anew with each call. Each failure reports its seed: a panic of `f` on
/// standard error, everything else in the log.
///
/// # Errors
///
/// As [`Builder::run`](crate::Builder::run). An OS thread that has a scheduler, because it called
/// [`spawn`](crate::spawn) before, gets `AlreadyExists`.
///
/// # Panics
///
/// Inside an ethread; and with the panic of `f`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{sim, thread, time::Instant};
///
/// let hour = Duration::from_secs(3600);
/// let slept = sim::run(7, move || {
///     let start = Instant::now();
///     let nap = move |_| thread::spawn(move || thread::sleep(hour));
///     let sleepers: Vec<_> = (0..100).map(nap).collect();
///     for sleeper in sleepers {
///         sleeper.join().expect("a sleeper does not panic");
///     }
///     start.elapsed()
/// })?;
/// assert_eq!(slept, hour);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[track_caller]
pub fn run<F, T>(seed: u64, f: F) -> Result<T, RunError>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let note = Note {
        seed,
        location: Location::caller(),
    };
    let result = Runtime::builder().driver(DriverKind::Sim { seed }).run(f);
    if let Err(error) = &result {
        log::error!("the simulation at {note} failed: {error}");
    }
    // The run has returned, so an unwinding that is under way here is no panic of `f`.
    std::mem::forget(note);
    result
}

/// Prints the seed when a panic passes.
struct Note {
    seed: u64,
    location: CallSite,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with sim seed {}", self.location, self.seed)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A test shows this below the panic, where a reader looks for what to repeat.
            eprintln!("note: the panic is of the simulation at {self}");
        }
    }
}
