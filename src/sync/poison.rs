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

/// Gives a lock, which has a `poison` and a `value`, the methods for the poison, and for the value
/// without locking: `poisonable!(Mutex, "a holder");`. The docs say what poisons the lock.
macro_rules! poisonable {
    ($Lock:ident, $holder:literal) => {
        impl<T> $Lock<T> {
            /// Returns the value.
            ///
            /// # Errors
            ///
            #[doc = concat!("If ", $holder, " has unwound. The error contains the value.")]
            pub fn into_inner(self) -> LockResult<T> {
                self.poison.guard(self.value.into_inner())
            }
        }

        impl<T: ?Sized> $Lock<T> {
            #[doc = concat!("Whether ", $holder, " has unwound.")]
            #[must_use]
            pub fn is_poisoned(&self) -> bool {
                self.poison.is_set()
            }

            /// Clears the poison: the value counts as consistent again.
            pub fn clear_poison(&self) {
                self.poison.clear();
            }

            /// Returns the value. `&mut self` guarantees that nothing else refers to it.
            ///
            /// # Errors
            ///
            #[doc = concat!("If ", $holder, " has unwound. The error contains the value.")]
            pub fn get_mut(&mut self) -> LockResult<&mut T> {
                self.poison.guard(self.value.get_mut())
            }
        }
    };
}

pub(super) use poisonable;
