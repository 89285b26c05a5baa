//! Where a request's body ends, and whether the connection lives on after it.
//!
//! RFC 9112 section 6.3 leaves a recipient some ways to repair a request whose length is in doubt.
//! Each of them has been used to smuggle a second request past a proxy that repairs differently, so
//! this server uses none: it refuses what is ambiguous.
#![forbid(unsafe_code)]

use http::Version;

use super::ProtoError;
use super::codings::Codings;
use super::grammar::members;
use crate::http::message::authority_is_valid;

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// That many bytes follow the head; possibly zero.
    Known(u64),
    /// Chunks follow the head.
    Chunked,
}

/// What the fields of a head say about the message and the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    pub(crate) body: BodyLength,
    /// Whether the peer wants the connection to stay open.
    pub(crate) keep_alive: bool,
    /// Whether the peer waits for a 100 (Continue) before it sends the body.
    pub(crate) expect_continue: bool,
}

/// Collects, field by field, what [`Framing`] is decided from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    host: bool,
    length: Option<u64>,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expectation: Expectation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    /// The field is there, but names no coding so far.
    Empty,
    /// The last coding so far is chunked.
    Chunked,
    /// The last coding so far is another one.
    Other,
    /// Chunked, preceded by a coding that this server does not decode.
    OtherThenChunked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expectation {
    #[default]
    None,
    Continue,
    Unknown,
}

impl Survey {
    /// Whether a field may concern the framing, by the length of its name and its first letter.
    /// Rules out most fields cheaply.
    #[inline]
    pub(crate) fn concerns(name: &[u8]) -> bool {
        const LENGTHS: u32 = 1 << 4 | 1 << 6 | 1 << 10 | 1 << 14 | 1 << 17;
        const LETTERS: u32 =
            1 << (b'h' & 31) | 1 << (b'e' & 31) | 1 << (b'c' & 31) | 1 << (b't' & 31);
        let first = name.first().map_or(0, |first| first & 31);
        name.len() < 18 && LENGTHS >> name.len() & LETTERS >> first & 1 == 1
    }

    /// Takes note of one field line.
    ///
    /// # Errors
    ///
    /// If the field alone, or together with those before it, makes the message malformed.
    #[inline(never)]
    pub(crate) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), ProtoError> {
        match name.len() {
            4 if is_word(name, b"Host") => self.note_host(value)?,
            10 if is_word(name, b"Connection") => self.note_connection(value),
            14 if is_word(name, b"Content-Length") => self.note_length(value)?,
            17 if is_word(name, b"Transfer-Encoding") => self.note_coding(value)?,
            6 if is_word(name, b"Expect") => self.note_expect(value),
            _ => {}
        }
        Ok(())
    }

    /// Decides, once all fields were noted.
    ///
    /// # Errors
    ///
    /// If the fields together leave the length in doubt, lack what the version demands, or ask
    /// for what this server does not do.
    pub(crate) fn decide(self, version: Version) -> Result<Framing, ProtoError> {
        let is_http10 = version == Version::HTTP_10;
        // RFC 9112 section 3.2.
        if !self.host && !is_http10 {
            return Err(ProtoError::HostMissing);
        }
        let body = match (self.coding, self.length) {
            (Coding::Absent, None) => BodyLength::None,
            (Coding::Absent, Some(length)) => BodyLength::Known(length),
            // RFC 9112 section 6.1: the framing of such a message is faulty.
            _ if is_http10 => return Err(ProtoError::CodingOnHttp10),
            // RFC 9112 section 6.1 allows to refuse it, as "might indicate an attempt to perform
            // request smuggling".
            (_, Some(_)) => return Err(ProtoError::LengthAndCoding),
            // RFC 9112 section 6.3, item 4: the length cannot be determined.
            (Coding::Empty | Coding::Other, None) => return Err(ProtoError::CodingNotChunkedLast),
            // RFC 9112 section 6.1: a coding that is not understood.
            (Coding::OtherThenChunked, None) => return Err(ProtoError::CodingUnknown),
            (Coding::Chunked, None) => BodyLength::Chunked,
        };
        // RFC 9110 section 10.1.1: HTTP/1.0 knows no expectations, they must be ignored.
        let expectation = if is_http10 {
            Expectation::None
        } else {
            self.expectation
        };
        if expectation == Expectation::Unknown {
            return Err(ProtoError::ExpectationUnknown);
        }
        Ok(Framing {
            body,
            // RFC 9112 section 9.3: close takes precedence, then the version's default applies.
            keep_alive: !self.close && (!is_http10 || self.keep_alive),
            expect_continue: expectation == Expectation::Continue
                && !matches!(body, BodyLength::None | BodyLength::Known(0)),
        })
    }

    /// RFC 9112 section 3.2: more than one host line, or a malformed one, must be refused.
    fn note_host(&mut self, value: &[u8]) -> Result<(), ProtoError> {
        if std::mem::replace(&mut self.host, true) {
            return Err(ProtoError::HostRepeated);
        }
        if authority_is_valid(value) {
            Ok(())
        } else {
            Err(ProtoError::HostMalformed)
        }
    }

    /// RFC 9110 section 8.6: `1*DIGIT`. The section allows to repair a list of identical values. It
    /// is refused here: no sender makes one on purpose.
    #[inline(never)]
    fn note_length(&mut self, value: &[u8]) -> Result<(), ProtoError> {
        if self.length.is_some() {
            return Err(ProtoError::LengthRepeated);
        }
        if value.is_empty() {
            return Err(ProtoError::LengthMalformed);
        }
        let append = |length: u64, &byte: &u8| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        };
        let length = value
            .iter()
            .try_fold(0, append)
            .ok_or(ProtoError::LengthMalformed)?;
        self.length = Some(length);
        Ok(())
    }

    /// RFC 9112 section 6.1. Several lines are one list (RFC 9110 section 5.3).
    #[inline(never)]
    fn note_coding(&mut self, value: &[u8]) -> Result<(), ProtoError> {
        if self.coding == Coding::Absent {
            self.coding = Coding::Empty;
        }
        for coding in Codings::new(value) {
            let coding = coding.ok_or(ProtoError::CodingMalformed)?;
            let is_chunked = coding.name.eq_ignore_ascii_case(b"chunked");
            // RFC 9112 section 7.1: parameters of chunked are an error. Parameters of other codings
            // do not matter, as none of these codings is decoded here.
            if is_chunked && coding.has_parameters {
                return Err(ProtoError::CodingMalformed);
            }
            self.coding = match self.coding {
                Coding::Absent | Coding::Empty if is_chunked => Coding::Chunked,
                Coding::Other if is_chunked => Coding::OtherThenChunked,
                // RFC 9112 section 6.1: chunked must not be applied twice.
                Coding::Chunked | Coding::OtherThenChunked if is_chunked => {
                    return Err(ProtoError::CodingRepeated);
                }
                _ => Coding::Other,
            };
        }
        Ok(())
    }

    /// RFC 9110 section 7.6.1: a list of options, case-insensitive, of which two matter here.
    #[inline]
    fn note_connection(&mut self, value: &[u8]) {
        // What nearly all senders write is recognised without parsing.
        if is_word(value, b"keep-alive") {
            self.keep_alive = true;
        } else {
            self.note_options(value);
        }
    }

    #[inline(never)]
    fn note_options(&mut self, value: &[u8]) {
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9110 section 10.1.1: a case-insensitive list with one member that has a meaning.
    #[inline(never)]
    fn note_expect(&mut self, value: &[u8]) {
        for member in members(value) {
            if member.eq_ignore_ascii_case(b"100-continue") {
                if self.expectation == Expectation::None {
                    self.expectation = Expectation::Continue;
                }
            } else {
                self.expectation = Expectation::Unknown;
            }
        }
    }
}

/// Whether `text` is the word `usual`, in any case.
#[inline]
fn is_word<const N: usize>(text: &[u8], usual: &[u8; N]) -> bool {
    // The usual spelling is compared all at once.
    text == usual || text.eq_ignore_ascii_case(usual)
}

#[cfg(test)]
mod tests;
