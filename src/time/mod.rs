//! Time as the ethreads of this OS thread see it: real, or virtual under the simulation driver.

pub use crate::runtime::clock::Instant;
