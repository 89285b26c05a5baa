//! The decoder of chunked bodies (RFC 9112 section 7.1).
//!
//! ```text
//!  Size --> Extension* --> SizeLf --> Data --> DataCr --> DataLf --> Size
//!                            | size 0
//!                            v
//!                          Line --> TrailerName --> TrailerValue --> TrailerLf --> Line
//!                            | CR
//!                            v
//!                          EndLf --> Done
//! ```
//!
//! Framing is matched byte by byte against the grammar, so it makes no difference where the input
//! is cut. Data is copied in runs, or the caller reads it and bypasses this decoder.
#![forbid(unsafe_code)]

use super::ProtoError;
use super::grammar::{is_token_byte, is_value_byte};
use super::limits::Limits;

/// Digits of the largest chunk size that fits into 64 bits. More digits are leading zeros, which
/// the grammar allows but no sender needs: they are counted with the extensions.
const SIZE_DIGITS_MAX: u8 = 16;

/// Decodes one chunked body, in whatever pieces it arrives.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    /// The size being read, then what is left of the chunk's data.
    /// Invariant: not zero in [`State::Data`].
    remaining: u64,
    size_digits: u8,
    extension_bytes: Budget,
    trailer_bytes: Budget,
    /// The trailer section, once some of it has come.
    trailers: Vec<u8>,
}

/// Bytes that may still come, of those allowed.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u32,
    limit: u32,
}

/// What one call of [`ChunkedDecoder::decode`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of the source that were used up.
    pub(crate) consumed: usize,
    /// Bytes of the destination that were filled.
    pub(crate) produced: usize,
    /// Whether the body has ended; what follows in the source is the next message.
    pub(crate) done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the empty line that ends the body.
    Line,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Position in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// After a complete size or extension and some whitespace.
    Between,
    NameStart,
    Name,
    NameSpace,
    ValueStart,
    Token,
    Quoted,
    QuotedPair,
    QuotedEnd,
}

impl ChunkedDecoder {
    /// Creates a decoder that expects the first chunk's size.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size,
            remaining: 0,
            size_digits: 0,
            extension_bytes: Budget::new(limits.chunk_extension_bytes),
            trailer_bytes: Budget::new(limits.trailer_bytes),
            trailers: Vec::new(),
        }
    }

    /// Decodes from `src` into `dst` until one of them is used up or the body has ended.
    ///
    /// With an empty `dst` it still takes in the framing up to the next data.
    ///
    /// # Errors
    ///
    /// If the input is not a chunked body within the limits. Then the decoder is of no further use.
    pub(crate) fn decode(&mut self, src: &[u8], dst: &mut [u8]) -> Result<Progress, ProtoError> {
        let mut consumed = 0;
        let mut produced = 0;
        loop {
            let (taken, result) = self.take_framing(&src[consumed..]);
            consumed += taken;
            // The data before a violation is valid, and is returned however much was received with
            // it: the next call meets the violation again.
            if produced == 0 {
                result?;
            }
            let run = self
                .data_run()
                .min((src.len() - consumed) as u64)
                .min((dst.len() - produced) as u64) as usize;
            if run == 0 {
                return Ok(Progress {
                    consumed,
                    produced,
                    done: self.is_done(),
                });
            }
            dst[produced..produced + run].copy_from_slice(&src[consumed..consumed + run]);
            self.advance(run as u64);
            consumed += run;
            produced += run;
        }
    }

    /// Takes in framing until data, the end of the body or the end of `src`. Returns how many bytes
    /// were valid, and what is wrong with the next byte.
    fn take_framing(&mut self, src: &[u8]) -> (usize, Result<(), ProtoError>) {
        for (at, &byte) in src.iter().enumerate() {
            if matches!(self.state, State::Data | State::Done) {
                return (at, Ok(()));
            }
            match self.step(byte) {
                Ok(state) => self.state = state,
                Err(error) => return (at, Err(error)),
            }
        }
        (src.len(), Ok(()))
    }

    /// How many bytes of data come next, with no framing in between; zero if framing comes next.
    ///
    /// The caller may take these bytes straight from the transport, and must then call
    /// [`ChunkedDecoder::advance`].
    #[inline]
    pub(crate) fn data_run(&self) -> u64 {
        match self.state {
            State::Data => self.remaining,
            _ => 0,
        }
    }

    /// Notes that `len` bytes of data were taken without this decoder.
    ///
    /// # Panics
    ///
    /// If `len` is more than [`ChunkedDecoder::data_run`].
    pub(crate) fn advance(&mut self, len: u64) {
        assert!(
            len <= self.data_run(),
            "no more data is taken than the chunk has"
        );
        if len != 0 {
            self.remaining -= len;
            if self.remaining == 0 {
                self.state = State::DataCr;
            }
        }
    }

    /// Whether the body has ended.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The lines of the trailer section, complete once the body has ended.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Returns the state after `byte`. On an error the state is unchanged.
    fn step(&mut self, byte: u8) -> Result<State, ProtoError> {
        match (self.state, byte) {
            (State::Size, _) => self.step_size(byte),
            (State::Extension(position), _) => {
                let next = step_extension(position, byte)?;
                self.count_extension_byte()?;
                Ok(next)
            }
            (State::SizeLf, b'\n') => {
                self.size_digits = 0;
                Ok(match self.remaining {
                    0 => State::Line,
                    _ => State::Data,
                })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            // RFC 9112 section 2.2 lets a bare LF end a line of a head. Inside a body recipients
            // are known to disagree about it, and no client sends it.
            (State::SizeLf | State::DataCr | State::DataLf, got) => {
                Err(ProtoError::ChunkLineEnd { got })
            }
            (State::Line, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::EndLf, got) => Err(ProtoError::ChunkLineEnd { got }),
            (State::Line | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => {
                self.step_trailer(byte)
            }
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn step_size(&mut self, byte: u8) -> Result<State, ProtoError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            // RFC 9112 section 7.1: sizes must not overflow.
            if self.remaining >> (u64::BITS - 4) != 0 {
                return Err(ProtoError::ChunkSizeTooLarge);
            }
            if self.size_digits == SIZE_DIGITS_MAX {
                self.count_extension_byte()?;
            } else {
                self.size_digits += 1;
            }
            // The previous chunk has used up its size, so this is zero at the start.
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        if self.size_digits == 0 {
            return Err(ProtoError::ChunkSize { got: byte });
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' | b' ' | b'\t' => {
                self.count_extension_byte()?;
                Ok(State::Extension(match byte {
                    b';' => Extension::NameStart,
                    _ => Extension::Between,
                }))
            }
            got @ b'\n' => Err(ProtoError::ChunkLineEnd { got }),
            got => Err(ProtoError::ChunkSize { got }),
        }
    }

    /// Checks the syntax of the trailer section, and keeps its bytes as they are.
    fn step_trailer(&mut self, byte: u8) -> Result<State, ProtoError> {
        let next = match (self.state, byte) {
            (State::Line | State::TrailerName, _) if is_token_byte(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value_byte(byte) => State::TrailerValue,
            (State::TrailerLf, b'\n') => State::Line,
            (State::TrailerLf, got) => return Err(ProtoError::ChunkLineEnd { got }),
            (_, got) => return Err(ProtoError::Trailer { got }),
        };
        self.trailer_bytes
            .spend()
            .map_err(|limit| ProtoError::TrailerTooLarge { limit })?;
        self.trailers.push(byte);
        Ok(next)
    }

    fn count_extension_byte(&mut self) -> Result<(), ProtoError> {
        self.extension_bytes
            .spend()
            .map_err(|limit| ProtoError::ChunkExtensionsTooLarge { limit })
    }
}

impl Budget {
    fn new(limit: u32) -> Self {
        Self { left: limit, limit }
    }

    /// Takes one byte off, or fails with the limit.
    fn spend(&mut self) -> Result<(), u32> {
        self.left = self.left.checked_sub(1).ok_or(self.limit)?;
        Ok(())
    }
}

/// RFC 9112 section 7.1.1. The content of an extension is ignored, but its end is determined by the
/// grammar.
fn step_extension(position: Extension, byte: u8) -> Result<State, ProtoError> {
    use Extension::{
        Between, Name, NameSpace, NameStart, Quoted, QuotedEnd, QuotedPair, Token, ValueStart,
    };
    let next = match (position, byte) {
        (Name | Token | QuotedEnd, b'\r') => return Ok(State::SizeLf),
        (Between | Name | NameSpace | Token | QuotedEnd, b';') => NameStart,
        (Name | NameSpace, b'=') => ValueStart,
        (Between | Token | QuotedEnd, b' ' | b'\t') => Between,
        (Name | NameSpace, b' ' | b'\t') => NameSpace,
        (NameStart | ValueStart, b' ' | b'\t') => position,
        (NameStart | Name, _) if is_token_byte(byte) => Name,
        (ValueStart | Token, _) if is_token_byte(byte) => Token,
        (ValueStart, b'"') => Quoted,
        (Quoted, b'"') => QuotedEnd,
        (Quoted, b'\\') => QuotedPair,
        (Quoted | QuotedPair, _) if is_value_byte(byte) => Quoted,
        (_, got) => return Err(ProtoError::ChunkExtension { got }),
    };
    Ok(State::Extension(next))
}

#[cfg(test)]
mod tests;
