//! One request and its answer, whatever carries them.
#![forbid(unsafe_code)]

pub(in crate::http) mod body;
pub(in crate::http) mod builder;
pub(in crate::http) mod client_connection;
pub(in crate::http) mod draining;
mod early_hints;
pub(in crate::http) mod extract;
pub(in crate::http) mod forwarded;
pub(in crate::http) mod handler;
pub(in crate::http) mod received;
pub(in crate::http) mod request;
pub(in crate::http) mod request_id;
pub(in crate::http) mod route;
pub(in crate::http) mod write_to;
