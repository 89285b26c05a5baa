//! The event loop of a shard, and all that runs, wakes and unwinds ethreads.
//!
//! All `impl Scheduler` blocks are in this folder.

pub(crate) mod clock;
pub(crate) mod current;
pub(crate) mod deadlock;
mod dispatch;
pub(crate) mod event_loop;
pub(crate) mod inbox;
pub(crate) mod locals;
mod metrics;
pub(crate) mod origin;
pub(crate) mod park;
mod queue;
mod readiness;
pub(crate) mod settings;
pub(crate) mod switch_hook;
pub(crate) mod unwind;
mod watchdog;
