//! Whether a holder of a lock has unwound, so that what it protects may be half changed.
#![forbid(unsafe_code)]

use std::cell::Cell;

use super::{LockResult, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Poison(Cell<bool>);

impl Poison {
    pub(super) const fn new() -> Self {
        Self(Cell::new(false))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.get()
    }

    pub(super) fn clear(&self) {
        self.0.set(false);
    }

    /// What a holder gets, or an owner.
    pub(super) fn guard<G>(&self, guard: G) -> LockResult<G> {
        if self.is_set() {
            Err(PoisonError::new(guard))
        } else {
            Ok(guard)
        }
    }
}

/// How a holder began. What one does that was unwinding already is no reason to poison anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    unwinding: bool,
}

impl Holding {
    pub(super) fn begin() -> Self {
        Self {
            unwinding: std::thread::panicking(),
        }
    }

    pub(super) fn end(self, poison: &Poison) {
        if !self.unwinding && std::thread::panicking() {
            poison.0.set(true);
        }
    }
}
