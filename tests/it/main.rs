//! The library as its users see it, one module per concept.
//!
//! The suite runs on the default driver, and again with `ETHREADS_DRIVER=polling`. Tests of time
//! run on the simulation driver (feature `sim`).

// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]

mod support;

mod bridge;
mod fs;
mod hostile;
#[cfg(feature = "http")]
mod http;
mod net;
#[cfg(feature = "http")]
mod rfc;
mod runtime;
mod suspends;
mod sync;
