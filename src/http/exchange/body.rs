//! The body of a request, whatever carries it.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::rc::Rc;

use bytes::Bytes;

use super::received::{READ_BUFFER, Received};
use crate::http::error::Error;
use crate::http::message::Headers;
use crate::http::proto::limits::Limits;

/// Where a body comes from that does not stand in memory.
pub(in crate::http) trait BodySource {
    /// Reads from the body, suspending the caller until bytes arrive; 0 at its end, or for an empty
    /// `buf`. Bytes that arrived together with the head are in `received`, unless the body was
    /// [taken](Self::take).
    fn read(&self, received: &mut Received, buf: &mut [u8]) -> Result<usize, Error>;

    /// Makes the body readable without the request: moves what it needs out of `received`.
    fn take(&self, received: &mut Received);

    /// Whether the body was read to its end.
    fn is_done(&self) -> bool;

    /// The maximum length of a body that is collected into memory, in bytes.
    fn limit(&self) -> u64;

    /// Notes that a body was too long to be collected, after `got` bytes of it.
    fn refuse(&self, got: u64);

    /// The fields behind the body, once it was read to its end.
    fn trailers(&self) -> Option<&Headers>;
}

/// The body of a request, apart from the request. Made by
/// [`Request::take_body`](super::request::Request::take_body).
///
/// A read suspends the ethread until bytes arrive. It can be moved to another ethread, and read
/// while the response is sent. It ends with its request: once the response has been sent, reads
/// fail, unless the body was read to its end before. Reading never sends anything, whereas the
/// reads of [`Request::body`](super::request::Request::body) first send the output that was
/// collected.
///
/// # Examples
///
/// The upload is counted by an ethread of its own, while the response is sent:
///
/// ```
/// use std::io::{self, Write};
/// use ethreads::http::{Body, Request};
///
/// fn upload(request: &mut Request) -> Body {
///     let mut body = request.take_body();
///     Body::writer(move |out| {
///         let counted = ethreads::spawn(move || io::copy(&mut body, &mut io::sink()));
///         writeln!(out, "counting")?;
///         out.flush()?;
///         let count = counted.join().expect("it does not panic")?;
///         writeln!(out, "{count} bytes")
///     })
/// }
/// # let _ = upload;
/// ```
#[derive(Default)]
pub struct RequestBody {
    content: Content,
}

#[derive(Default)]
enum Content {
    #[default]
    Empty,
    Bytes(Bytes),
    Source(Rc<dyn BodySource>),
}

impl RequestBody {
    pub(in crate::http) fn of_source(source: Rc<dyn BodySource>) -> Self {
        Self {
            content: Content::Source(source),
        }
    }

    pub(in crate::http) fn of_bytes(bytes: Bytes) -> Self {
        Self {
            content: Content::Bytes(bytes),
        }
    }

    /// Returns the fields that followed a chunked body: as
    /// [`Request::trailers`](super::request::Request::trailers).
    #[must_use]
    pub fn trailers(&self) -> &Headers {
        static NONE: Headers = Headers::new();
        match &self.content {
            Content::Source(source) => source.trailers().unwrap_or(&NONE),
            Content::Empty | Content::Bytes(_) => &NONE,
        }
    }

    /// The maximum length of a body that is collected, in bytes, where the app sets no other one.
    #[cfg(feature = "multipart")]
    pub(in crate::http) fn limit(&self) -> u64 {
        match &self.content {
            Content::Source(source) => source.limit(),
            Content::Empty | Content::Bytes(_) => u64::MAX,
        }
    }

    /// Takes the body out of a request, and what it needs of the bytes that were received.
    pub(in crate::http) fn take_from(&mut self, received: &mut Received) -> Self {
        if let Content::Source(source) = &self.content {
            source.take(received);
        }
        mem::take(self)
    }

    /// Reads from a body whose first bytes may be in `received`.
    pub(in crate::http) fn read_from(
        &mut self,
        received: &mut Received,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        match &mut self.content {
            Content::Empty => Ok(0),
            Content::Bytes(bytes) => {
                let part = bytes.split_to(bytes.len().min(buf.len()));
                buf[..part.len()].copy_from_slice(&part);
                Ok(part.len())
            }
            Content::Source(source) => source.read(received, buf),
        }
    }

    /// Reads the rest of the body, up to the limit: that of its source, unless there is another
    /// one. `declared` is its length, where that is known.
    pub(in crate::http) fn collect(
        &mut self,
        received: &mut Received,
        declared: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Vec<u8>, Error> {
        let source = match &mut self.content {
            Content::Empty => return Ok(Vec::new()),
            Content::Bytes(bytes) => {
                return match limit {
                    Some(limit) if bytes.len() as u64 > limit => Err(Error::body_too_large(limit)),
                    _ => Ok(mem::take(bytes).into()),
                };
            }
            Content::Source(source) => source,
        };
        let limit = limit.unwrap_or_else(|| source.limit());
        if declared.is_some_and(|length| length > limit) {
            return Err(Error::body_too_large(limit));
        }
        // A declared length proves nothing, so memory is allocated as bytes arrive.
        let expected = declared.unwrap_or(0).min(READ_BUFFER as u64) as usize;
        let mut body = vec![0; expected];
        let mut filled = 0;
        loop {
            if filled == body.len() {
                if source.is_done() {
                    break;
                }
                body.resize((2 * filled).max(READ_BUFFER), 0);
            }
            match source.read(received, &mut body[filled..])? {
                0 => break,
                got => filled += got,
            }
            if filled as u64 > limit {
                source.refuse(filled as u64);
                return Err(Error::body_too_large(limit));
            }
        }
        body.truncate(filled);
        Ok(body)
    }
}

impl Read for RequestBody {
    /// Reads what has arrived; suspends the ethread until something has. `Ok(0)` is the end.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the peer ends within the body; `InvalidData` if the chunks are malformed;
    /// `TimedOut`; `ConnectionAborted` once the request has ended. They carry an [`Error`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_from(&mut Received::default(), buf)?)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.content {
            Content::Empty => "RequestBody::Empty",
            Content::Bytes(_) => "RequestBody::Bytes",
            Content::Source(_) => "RequestBody::Source",
        })
    }
}

/// A reader as the body of a request that no connection carries.
pub(super) struct ReaderSource<R> {
    reader: RefCell<R>,
    done: Cell<bool>,
}

impl<R: Read> ReaderSource<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: RefCell::new(reader),
            done: Cell::new(false),
        }
    }
}

impl<R: Read> BodySource for ReaderSource<R> {
    fn read(&self, _: &mut Received, buf: &mut [u8]) -> Result<usize, Error> {
        // Borrowed over a wait of the reader. Only the one owner of the body comes here.
        let got = self.reader.borrow_mut().read(buf)?;
        self.done.set(got == 0 && !buf.is_empty());
        Ok(got)
    }

    fn take(&self, _: &mut Received) {}

    fn is_done(&self) -> bool {
        self.done.get()
    }

    fn limit(&self) -> u64 {
        Limits::BODY_BYTES
    }

    fn refuse(&self, _: u64) {}

    fn trailers(&self) -> Option<&Headers> {
        None
    }
}
