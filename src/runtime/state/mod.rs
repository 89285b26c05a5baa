//! The state of a shard: control blocks, the run queue, timers, scopes, local values, slots.
//!
//! Plain data with its rules. Nothing here runs an ethread or calls the driver.

pub(crate) mod control_block;
pub(crate) mod core;
pub(crate) mod locals;
pub(crate) mod metrics;
pub(crate) mod run_queue;
pub(crate) mod scopes;
pub(crate) mod slots;
pub(crate) mod timers;
pub(crate) mod trimming;
