//! Sources: descriptors that ethreads wait on, and the try-park-retry protocol.

mod error;
pub(crate) mod operation;
pub(crate) mod registration;
pub(crate) mod source;
mod stackless;
