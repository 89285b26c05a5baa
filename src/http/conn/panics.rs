//! Panics of the program's code, which are logged and go no further.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::AssertUnwindSafe;

use crate::runtime::base::panic::{drop_payload, message};
use crate::thread;

/// Calls code of the program. `None` if it panicked, which is logged as the panic of `what`.
pub(in crate::http) fn guarded<R>(what: &str, f: impl FnOnce() -> R) -> Option<R> {
    match thread::catch_panic(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) => {
            log_panic(what, &*payload);
            drop_payload(payload);
            None
        }
    }
}

#[cold]
pub(in crate::http) fn log_panic(what: &str, payload: &(dyn Any + Send)) {
    let text = message(payload);
    log::error!("{what} panicked in ethread {}: {text}", thread::current());
}
