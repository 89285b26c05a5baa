//! One HTTP/1 connection: its stream, its input and output, and the loop that serves its requests.
#![forbid(unsafe_code)]

pub(in crate::http) mod body;
mod boxed;
pub(in crate::http) mod buffers;
pub(in crate::http) mod config;
pub(in crate::http) mod connection;
pub(in crate::http) mod context;
pub(in crate::http) mod deadline;
pub(in crate::http) mod file;
pub(in crate::http) mod flusher;
pub(in crate::http) mod hooks;
pub(in crate::http) mod io;
pub(in crate::http) mod lingering;
pub(in crate::http) mod log_period;
pub(in crate::http) mod overload;
pub(in crate::http) mod panics;
mod proxy;
pub(in crate::http) mod registry;
pub(in crate::http) mod report;
pub(in crate::http) mod serve;
pub(in crate::http) mod socket;
pub(in crate::http) mod stream;
pub(in crate::http) mod task;
pub(in crate::http) mod upgrade;
