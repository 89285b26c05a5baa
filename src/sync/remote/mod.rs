//! Synchronisation between ethreads of different shards, and OS threads without ethreads.
//!
//! Everything here is `Send` and `Sync`, and can be waited for on either side: an ethread is
//! suspended, an OS thread without ethreads is blocked, and a shard's own OS thread, outside of
//! [`run`](crate::run), drives the shard meanwhile. Waiters are served in order of arrival,
//! wherever they are. An operation costs a lock and, if an ethread of another shard has to be
//! woken, a message to that shard; within a shard the primitives of [`sync`](super) cost less.
//!
//! While an ethread waits here, its shard does not take the wait for a deadlock, as another OS
//! thread may serve the ethread. For the same reason the clock of a simulation does not jump.
//!
//! # Cancellation and deadlines
//!
//! An ethread that is cancelled, or meets the deadline of a scope, unwinds and leaves the wait
//! queue, as in [`sync`](super). The ethread owns what it was handed before that: its call returns,
//! and the ethread unwinds at its next suspension point. Waits of an OS thread without ethreads are
//! bounded only by the calls that take a timeout.
//!
//! # While unwinding
//!
//! An ethread that unwinds cannot wait: a call that would have to wait returns its error, or
//! `None`, at once. [`Notifier::wait`] and [`Semaphore::acquire`] are infallible, so they abort the
//! process with a report. An OS thread without ethreads waits as usual.
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
//!         sender.send(number).expect("the receiver lives");
//!     }
//! })?;
//! assert_eq!(counter.join().expect("no panic"), 5050);
//! # Ok::<(), ethreads::RunError>(())
//! ```
#![forbid(unsafe_code)]

pub mod channel;
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
