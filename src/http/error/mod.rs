//! The errors of an exchange, and of a handler.
#![forbid(unsafe_code)]

mod causes;
mod fault;
mod handler;

pub(crate) use causes::WithCauses;
pub use fault::Error;
pub(super) use fault::Phase;
pub(super) use handler::log_error_of;
pub use handler::{HandlerError, Result};
