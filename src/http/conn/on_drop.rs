//! A guard that calls a closure.
#![forbid(unsafe_code)]

/// Calls its closure when it is dropped.
pub(in crate::http) struct OnDrop<F: Fn()>(pub(in crate::http) F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
