//! A number of handles, which are made and dropped one by one.
#![forbid(unsafe_code)]

use std::cell::Cell;

#[derive(Default)]
pub(super) struct Count(Cell<usize>);

impl Count {
    pub(super) const fn new(count: usize) -> Self {
        Self(Cell::new(count))
    }

    #[inline]
    pub(super) fn get(&self) -> usize {
        self.0.get()
    }

    pub(super) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// Takes one off; returns whether it was the last.
    pub(super) fn remove(&self) -> bool {
        let left = self.0.get() - 1;
        self.0.set(left);
        left == 0
    }
}
