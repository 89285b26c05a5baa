//! The scheduler, ethreads, scopes, shards, and reports.

pub(crate) mod cancel;
pub(crate) mod coroutines;
pub(crate) mod deadlock;
pub(crate) mod driver;
pub(crate) mod ends;
pub(crate) mod fairness;
pub(crate) mod forgotten;
pub(crate) mod futures;
pub(crate) mod hazards;
pub(crate) mod interrupts;
pub(crate) mod locals;
#[cfg(feature = "sim")]
pub(crate) mod model;
pub(crate) mod overflow;
pub(crate) mod payloads;
pub(crate) mod scheduler;
pub(crate) mod scopes;
pub(crate) mod shards;
pub(crate) mod shards_end;
pub(crate) mod shutdown;
pub(crate) mod signals;
#[cfg(feature = "sim")]
pub(crate) mod sim;
pub(crate) mod stack_memory;
pub(crate) mod timeouts;
pub(crate) mod watchdog;
