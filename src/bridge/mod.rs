//! Entry points into the scheduler, and ways out of it.
//!
//! * [`suspend`] parks an ethread *first* and then runs a closure with the means to resume it, so
//!   that code can continue later, in any order. [`run_until`] drives the scheduler from ordinary
//!   code until its [`Exit`] is finished. Together they invert control: a framework, an acceptor
//!   and each client are plain loops, each in charge of its own thread. The idea is Andy Wingo's,
//!   of Guile's ethreads (2012).
//! * [`on_ready`] waits for a descriptor without holding a stack.
//! * [`future::block_on`] waits for a future.
//! * [`blocking`] runs a call that would block the OS thread on a pool.

mod blocking;
pub mod future;
mod on_ready;
mod run_until;
pub(crate) mod suspend;

pub use crate::runtime::io::source::Source;
pub use crate::runtime::task::pool::BlockingStats;
pub use blocking::{blocking, blocking_stats, set_blocking_limit};
#[cfg(feature = "http")]
pub(crate) use on_ready::spawn_parked;
pub use on_ready::{Interest, Wakeup, on_ready};
pub use run_until::{Exit, run_until};
pub use suspend::{RemoteSuspended, Suspended, suspend};
