//! Time as the ethreads of this OS thread see it: real, or virtual under the simulation driver.
//!
//! [`timeout`] and [`deadline`] open a *scope*: no call inside it, at any depth, waits beyond the
//! deadline. How the deadline ends a wait depends on what the waiting call returns:
//!
//! * A call that returns an [`io::Result`](std::io::Result) fails with
//!   [`TimedOut`](std::io::ErrorKind::TimedOut). The source of the error is [`Elapsed`], which
//!   names the scope's line. So the code in between, in any library, sees an ordinary I/O error.
//! * Every other call (`sleep`, `join`, `park`, `suspend`) unwinds to the scope, which returns
//!   [`Elapsed`].
//!
//! Of nested scopes the earliest deadline counts, and the scope with that deadline returns: an
//! inner scope passes the unwinding on. A call that need not wait succeeds even when it is late. An
//! ethread whose calls never have to wait still meets its deadline, at the yields that let other
//! ethreads run. Code that ignores a passed deadline is slowed down, and unwound at the 16th call.
//!
//! Spawned ethreads are not in the scope, but the children of a [`thread::scope`] that was opened
//! in it are. [`thread::uncancellable`] shields its closure from the scopes around it. The ethreads
//! that `run` and `run_until` drive on the OS thread's own side are not bounded.
//!
//! [`thread::scope`]: crate::thread::scope
//! [`thread::uncancellable`]: crate::thread::uncancellable

mod interval;
mod timeout;

pub use interval::{Interval, MissedTick, interval, interval_at};
pub use timeout::{deadline, timeout, timeout_io};

pub use crate::runtime::base::error::Elapsed;
pub use crate::runtime::scheduler::clock::Instant;
