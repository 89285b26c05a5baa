//! Panics of the user's code: where they must not go on, and what they say.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Calls a logger, which is user code, where no unwinding may leave.
pub(crate) fn without_unwinding(log: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(log)) {
        std::mem::forget(payload);
    }
}

/// Drops the payload of a panic, which is user code, where no unwinding may leave.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    without_unwinding(|| drop(payload));
}

/// The text of a panic, where it has one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a payload that is not a text)"
    }
}
