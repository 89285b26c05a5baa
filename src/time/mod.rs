//! Time as the ethreads of this OS thread see it: real, or virtual under the simulation driver.
//!
//! [`timeout`] and [`deadline`] open a *scope*: whatever waits inside, however deep, waits no
//! longer than that. What becomes of it then depends on what the waiting call returns:
//!
//! * A call that returns an [`io::Result`](std::io::Result) fails with
//!   [`TimedOut`](std::io::ErrorKind::TimedOut). The source of the error is [`Elapsed`], which
//!   names the scope's line. So the code in between, in whichever library, sees an ordinary I/O
//!   error.
//! * Every other call (`sleep`, `join`, `park`, `suspend`) unwinds to the scope, which returns
//!   [`Elapsed`].
//!
//! Of nested scopes the earliest deadline counts, and it is its own scope that returns: an inner
//! one lets it through. A call that need not wait succeeds even when it is late; but an ethread
//! whose calls never have to wait meets its deadline too, when it yields for the sake of the
//! others. Code that goes on and on beyond a deadline is slowed down, and unwound at the 16th call.
//!
//! Spawned ethreads are not in the scope; the children of a [`thread::scope`] that was opened in it
//! are. [`thread::uncancellable`] keeps the scopes around it away. What `run` and `run_until` drive
//! on the OS thread's own side is not bounded.
//!
//! [`thread::scope`]: crate::thread::scope
//! [`thread::uncancellable`]: crate::thread::uncancellable

mod interval;
mod timeout;

pub use interval::{Interval, MissedTick, interval, interval_at};
pub use timeout::{deadline, timeout, timeout_io};

pub use crate::runtime::base::error::Elapsed;
pub use crate::runtime::scheduler::clock::Instant;
