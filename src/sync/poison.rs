//! Whether a holder of a lock has unwound, so that the protected value may be half changed.
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

    /// What a holder of the lock gets, or its owner: an error with `guard` if the lock is poisoned.
    pub(super) fn guard<G>(&self, guard: G) -> LockResult<G> {
        if self.is_set() {
            Err(PoisonError::new(guard))
        } else {
            Ok(guard)
        }
    }
}

/// Whether a holder was unwinding when it got the lock. If so, it does not poison the lock.
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
