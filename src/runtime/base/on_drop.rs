//! A guard that calls a closure.
#![forbid(unsafe_code)]

/// Calls the closure when dropped, while unwinding too.
pub(crate) struct OnDrop<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
