//! What the encoders of all codings have in common.
#![forbid(unsafe_code)]

use std::io;

/// An encoder of one coding. All calls append to `out`.
pub(super) trait Codec {
    /// Encodes `data`, of which the encoder may keep the end.
    fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Encodes all that was written, so that a decoder gets it.
    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Encodes the last part, and the end.
    fn finish(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Makes the encoder as it was at its beginning; false if it cannot be used again.
    fn restart(&mut self) -> bool;
}
