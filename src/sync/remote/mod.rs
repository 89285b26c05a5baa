//! Synchronisation between ethreads of different shards, and OS threads without ethreads.
//!
//! Everything here is `Send` and `Sync`, and can be waited for on either side: an ethread is
//! suspended, an OS thread without ethreads is blocked, and a shard's own OS thread, outside of
//! [`run`](crate::run), drives the shard meanwhile. Waiters are served in the order in which they
//! came, wherever they are. It costs a lock and, if an ethread of another shard is to be woken, a
//! message to that; within a shard the primitives of [`sync`](super) cost less.
//!
//! While an ethread waits here its shard does not take waiting for a deadlock, as somebody
//! elsewhere may serve it; for the same reason the clock of a simulation does not jump.
//!
//! # Cancellation and deadlines
//!
//! An ethread that is cancelled, or meets the deadline of a scope, unwinds and leaves the line, as
//! in [`sync`](super). What was handed to it before that is its own: it returns, and unwinds at its
//! next suspension point. Waits of an OS thread without ethreads are bounded only by the calls that
//! take a timeout.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait: the calls return their errors, or `None`, at once; those
//! that have none, [`Notifier::wait`] and [`Semaphore::acquire`], abort the process with a report.
//! An OS thread without ethreads waits as ever.
//!
//! # Examples
//!
//! ```
//! use ethreads::sync::remote;
//!
//! let (sender, receiver) = remote::bounded(8);
//! let counter = std::thread::spawn(move || receiver.iter().sum::<u64>());
//! ethreads::run_main(move || {
//!     for number in 1..=100 {
//!         sender.send(number).expect("somebody counts");
//!     }
//! })?;
//! assert_eq!(counter.join().expect("no panic"), 5050);
//! # Ok::<(), ethreads::RunError>(())
//! ```
#![forbid(unsafe_code)]

pub mod channel;
mod line;
mod notifier;
mod promise;
mod semaphore;

pub use channel::{bounded, unbounded};
pub use notifier::Notifier;
pub use promise::{Promise, Resolver};
pub use semaphore::{Permit, Semaphore};

/// Exhaustive checks of all interleavings, with `RUSTFLAGS="--cfg ethreads_loom"`.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
