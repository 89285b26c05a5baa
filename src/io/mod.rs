//! Input and output on any descriptor: ports, pipes and the standard streams.
//!
//! The traits, the buffers and the errors are [`std::io`]'s. Code that builds on them works in an
//! ethread, as long as the underlying reader or writer is one of this crate's.

mod convert;
pub(crate) mod description;
mod duplex;
mod eport;
mod pipe;
mod stdio;
mod watched;

pub(crate) use convert::conversions;
pub use duplex::{Duplex, duplex};
pub use eport::Eport;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use stdio::{Stderr, Stdin, Stdout, stderr, stdin, stdout};
pub(crate) use watched::Watched;
