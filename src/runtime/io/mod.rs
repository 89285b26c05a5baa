//! Sources: descriptors that ethreads wait on, and the try-park-retry protocol.

pub(crate) mod by_value;
pub(crate) mod operation;
#[cfg(feature = "http")]
mod peer;
pub(crate) mod registration;
pub(crate) mod source;
#[cfg(feature = "http")]
mod stackless;
