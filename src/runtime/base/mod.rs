//! The types that all parts of the runtime share: waits, their tokens and waiters, errors, names,
//! owners.

pub(crate) mod debug;
pub(crate) mod entries;
pub(crate) mod error;
pub(crate) mod on_drop;
pub(crate) mod owner;
pub(crate) mod panic;
pub(crate) mod primitives;
pub(crate) mod thread_names;
pub(crate) mod wait;
