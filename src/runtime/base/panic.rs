//! Panics of user code: where they are stopped, and their messages.
#![forbid(unsafe_code)]

use std::any::Any;
#[cfg(feature = "http")]
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
#[cfg(feature = "http")]
use std::sync::Once;

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

#[cfg(feature = "http")]
thread_local! {
    /// The place of the latest panic of this OS thread.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Makes the places of panics known to [`take_place`] from now on, by a hook around the one that is
/// there. Does nothing while the OS thread panics, when no hook can be set.
#[cfg(feature = "http")]
pub(crate) fn note_places() {
    static SET: Once = Once::new();
    if std::thread::panicking() {
        return;
    }
    SET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            // It may be called after the destructors of the OS thread.
            let _ = PLACE.try_with(|latest| latest.set(place));
            before(info);
        }));
    });
}

/// Takes the place of the latest panic of this OS thread, if it is known.
#[cfg(feature = "http")]
pub(crate) fn take_place() -> Option<String> {
    PLACE.try_with(Cell::take).ok().flatten()
}
