//! The scheduler, the stacks and the drivers. This is the only code that switches stacks.
//!
//! [`run`] runs the ethreads of an OS thread. [`run_main`] runs a root ethread and the ethreads
//! that it spawns; [`Runtime::builder`] does the same with custom settings. [`stats`] and
//! [`Shard::stats`] return counters.
//!
//! # Scheduling
//!
//! Ready ethreads run in the order in which they became ready. Each runs until it suspends or ends.
//! After at most 64 runs the scheduler takes messages from other OS threads, polls the driver, and
//! fires the timers that are due. If about 10 ms have passed since it last did so, it does so after
//! the current run. An ethread that an event wakes goes to the end of the run queue. An ethread
//! whose I/O never has to wait yields after 128 operations. An ethread that computes, or blocks its
//! OS thread, stops all other ethreads of the shard; a watchdog logs it. The watchdog is an OS
//! thread, which also measures the 10 ms. If it cannot be started, the bound is 64 runs.
//!
//! # Stacks
//!
//! Each ethread has a stack of a fixed size, with a guard of 64 KiB below it. Memory is reserved
//! when an ethread is spawned, and taken page by page as the stack is used. An overflow hits the
//! guard: a signal handler prints which ethread it was, the size of its stack and how to raise it,
//! and aborts the process. Other faults are passed on to the handler that was installed before.
//!
//! A program that locks its memory by mlockall(2) with `MCL_FUTURE` should add `MCL_ONFAULT`.
//! Otherwise a whole chunk of stacks is in memory as soon as the first of its stacks is reserved.
//! `RLIMIT_MEMLOCK` counts chunks either way, and their guards are made by mprotect(2).
//!
//! # The end
//!
//! When the root of [`run_main`] has ended, the remaining ethreads are cancelled. They run until
//! all have ended, or the grace period is over. Ethreads that remain after that, and ethreads of an
//! OS thread that ends, are leaked with one line in the log: their stacks are never unwound from
//! outside.

pub(crate) mod base;
mod builder;
pub(crate) mod driver;
pub(crate) mod io;
mod run;
mod run_error;
pub(crate) mod scheduler;
mod shard_group;
mod shard_thread;
mod shards;
pub(crate) mod stack;
pub(crate) mod state;
pub(crate) mod task;

pub use base::error::WouldPark;
pub use builder::{Builder, Runtime};
pub use driver::DriverKind;
pub(crate) use run::refuse_nested;
#[cfg(feature = "http")]
pub(crate) use run::shut_down_from_host;
pub use run::{run, run_main, stats};
pub use run_error::{RootPanic, RunError};
pub use scheduler::deadlock::{Deadlock, Parked};
pub use scheduler::switch_hook::SwitchHook;
pub use shard_group::{ShardGroup, ShardReport, ShutdownReport};
pub use shards::Shards;
pub use stack::GuardKind;
pub use stack::backtrace::Backtrace;
pub use state::metrics::{StackCounters, Stats};
pub use task::shard::{RemoteJoinHandle, Shard, ShardEnded, SpawnError};
