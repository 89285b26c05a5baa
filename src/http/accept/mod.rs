//! Accepting: listeners, the settings of admission, and connections beyond their limit.
#![forbid(unsafe_code)]

pub(in crate::http) mod acceptor;
pub(in crate::http) mod backoff;
pub(in crate::http) mod handover;
pub(in crate::http) mod listener;
pub(in crate::http) mod source;
pub(in crate::http) mod taskmaster;
