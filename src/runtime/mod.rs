//! The scheduler, the stacks and the world outside: the only code that switches stacks.

pub(crate) mod clock;
mod coroutine;
pub(crate) mod current;
mod deadlock;
pub(crate) mod driver;
pub(crate) mod ethread;
pub(crate) mod handle;
pub(crate) mod inbox;
mod overflow;
pub(crate) mod park;
pub(crate) mod pool;
mod roster;
mod run;
mod run_queue;
pub(crate) mod scheduler;
pub(crate) mod source;
mod stack;
mod stats;
pub(crate) mod task;
mod timers;
pub(crate) mod wait;
mod watchdog;

pub use deadlock::{Deadlock, Parked};
pub use driver::DriverKind;
pub(crate) use run::refuse_nested;
pub use run::{Builder, RunError, Runtime, run, run_main, stats};
pub use source::WouldPark;
pub use stack::GuardKind;
pub use stats::{StackCounters, Stats};
