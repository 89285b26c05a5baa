//! How an error is written with its causes.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;

/// An error and all its causes, separated by colons.
pub(crate) struct WithCauses<'a>(pub(crate) &'a dyn StdError);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(cause) => write!(f, ": {}", Self(cause)),
            None => Ok(()),
        }
    }
}
