//! The scheduler, the stacks and the world outside: the only code that switches stacks.
//!
//! [`run`] runs the ethreads of an OS thread, [`run_main`] a root ethread and whatever it spawns;
//! [`Runtime::builder`] does the latter with settings of its own. [`stats`] counts.
//!
//! # Scheduling
//!
//! Ready ethreads run in the order in which they became ready, each until it suspends or ends.
//! After at most 64 runs the scheduler takes messages from other OS threads, asks the driver, and
//! fires the timers that are due. It does so earlier if the last time was about 10 ms ago: after
//! the run that goes on then. An ethread that an event wakes queues behind the others. An ethread
//! that does I/O without ever having to wait yields after 128 operations. One that computes, or
//! blocks its OS thread, holds up all others; a watchdog names it in the log. The watchdog is an OS
//! thread that also keeps that time; where it cannot be started, the bound is 64 runs.
//!
//! # Stacks
//!
//! Each ethread has a stack of a fixed size, with a guard of 64 KiB below it. Memory is reserved
//! when an ethread is spawned, and taken page by page as the stack is used. An overflow hits the
//! guard: a signal handler prints which ethread it was, the size of its stack and how to raise it,
//! and aborts the process. Faults elsewhere go on to the handler that was installed before.
//!
//! A program that locks its memory by mlockall(2) with `MCL_FUTURE` adds `MCL_ONFAULT`, or else
//! whole blocks of stacks are in memory as soon as the first of them is reserved. `RLIMIT_MEMLOCK`
//! counts them either way, and their guards are made by mprotect(2).
//!
//! # The end
//!
//! When the root of [`run_main`] has ended, the ethreads that are left are cancelled and run until
//! none is left, or the grace period is over. Those that are left then, and those of an OS thread
//! that ends, are leaked with one line in the log: their stacks are never unwound from outside.

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
pub use shard_group::{ShardGroup, ShardReport, ShutdownReport};
pub use shards::Shards;
pub use stack::GuardKind;
pub use stack::backtrace::Backtrace;
pub use state::stats::{StackCounters, Stats};
pub use task::shard::{RemoteJoinHandle, Shard, ShardEnded, SpawnError};
