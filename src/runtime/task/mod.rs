//! What an ethread runs, and the handles to it: on this OS thread, on other OS threads, as futures.

pub(crate) mod join;
pub(crate) mod monitor;
pub(crate) mod oneshot;
pub(crate) mod pool;
pub(crate) mod shard;
pub(crate) mod thread;
mod wake_cell;
pub(crate) mod waker;
pub(crate) mod work;
