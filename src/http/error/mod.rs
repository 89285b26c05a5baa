//! The errors of an exchange, and of a handler.
#![forbid(unsafe_code)]

mod causes;
mod fault;
mod handler;

pub(crate) use causes::WithCauses;
pub use fault::Error;
#[cfg(feature = "multipart")]
pub(super) use fault::FormLimit;
pub(super) use fault::Phase;
pub(super) use handler::log_error_of;
pub use handler::{HandlerError, Result};
