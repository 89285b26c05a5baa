//! Middleware that are ready to use, for [`App::around`](crate::http::App::around).
#![forbid(unsafe_code)]

#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
mod compression;

#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
pub use compression::{Coding, Compression, compression};
