//! Locks, channels, choices and the rest of `sync`.

pub(crate) mod broadcast;
pub(crate) mod channel;
pub(crate) mod channel_ends;
#[cfg(feature = "sim")]
pub(crate) mod channel_model;
pub(crate) mod condvar;
pub(crate) mod locks;
#[cfg(feature = "sim")]
pub(crate) mod model;
pub(crate) mod once;
pub(crate) mod promise;
pub(crate) mod remote;
#[cfg(feature = "sim")]
pub(crate) mod resource;
pub(crate) mod rwlock;
pub(crate) mod select;
pub(crate) mod select_io;
pub(crate) mod select_more;
pub(crate) mod signal;
pub(crate) mod watch;
