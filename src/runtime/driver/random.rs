//! Random numbers of the system.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that a peer cannot foresee.
pub(crate) fn unforeseen() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        assert_ne!(unforeseen(), unforeseen());
    }
}
