//! Files and folders.

pub(crate) mod file;
pub(crate) mod paths;
