//! Ethreads, with the names and the signatures of [`std::thread`].
//!
//! The differences: closures need no `Send`, since an ethread stays on its OS thread; a panic of an
//! ethread that is not joined is logged, and counted by [`run`](crate::run); an ethread can be
//! cancelled ([`JoinHandle::cancel`]).
//!
//! # Cancellation
//!
//! A cancelled ethread unwinds at the suspension point in which it waits, or else at the next
//! suspension point that it reaches. Its destructors run, and [`JoinHandle::join`] returns a
//! payload that downcasts to [`Cancelled`]. Code between suspension points is never interrupted.
//! `catch_unwind` does not stop a cancel for long, as the next suspension point unwinds again; use
//! [`catch_panic`] in loops that must survive panics.

mod builder;
mod local;
mod scope;
mod suspension;

pub use builder::{Builder, spawn};
pub use local::Local;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use suspension::{
    catch_panic, park, park_timeout, sleep, sleep_until, uncancellable, yield_now,
};

pub use crate::runtime::base::error::Cancelled;
pub use crate::runtime::state::control_block::ThreadId;
pub use crate::runtime::task::join::{CancelOnDrop, JoinHandle};
pub use crate::runtime::task::shard::{RemoteJoinHandle, SpawnError};
pub use crate::runtime::task::thread::{RemoteThread, Thread, current};
/// The result of a join: the ethread's value, or the payload of its panic.
pub use std::thread::Result;
