//! Panics of user code: where they are stopped, and their messages.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Calls a logger, which is user code, where unwinding must not escape.
pub(crate) fn without_unwinding(log: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(log)) {
        std::mem::forget(payload);
    }
}

/// Drops the payload of a panic. Its destructor is user code; unwinding must not escape from it.
#[cfg(feature = "http")]
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    without_unwinding(|| drop(payload));
}

/// The message of a panic, if it has one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a payload that is not a text)"
    }
}
