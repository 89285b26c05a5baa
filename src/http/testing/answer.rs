//! The response that a test client receives.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::net::Shutdown;
use std::panic;
use std::rc::Rc;

use http::{HeaderName, StatusCode, Version};
use serde_core::de::DeserializeOwned;

use super::wire::{Framing, Head};
use crate::http::message::Headers;
use crate::io::Duplex;
use crate::thread::JoinHandle;

/// The longest body that [`ClientRequest::send`](super::ClientRequest::send) waits for.
const AT_ONCE: u64 = 1024 * 1024;

/// The response to a request of a [`Client`](super::Client).
///
/// The body is read by [`text`](Self::text), [`bytes`](Self::bytes) or [`json`](Self::json) to its
/// end, or as a reader in pieces as they come. A response that is dropped earlier closes its
/// connection, as a client that leaves does.
///
/// # Examples
///
/// A body without an end:
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use ethreads::http::testing::Client;
/// use ethreads::http::{Body, Request};
///
/// let ticks = |_: &mut Request| {
///     Body::writer(|out| {
///         loop {
///             out.write_all(b"tick\n")?;
///             out.flush()?;
///         }
///     })
/// };
/// let response = Client::new(ticks).get("/").send();
/// let mut lines = BufReader::new(response).lines();
/// assert_eq!(lines.next().transpose()?.as_deref(), Some("tick"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ClientResponse {
    version: Version,
    status: StatusCode,
    headers: Headers,
    framing: Framing,
    input: Input,
    /// `None` once the connection has ended.
    served: Option<JoinHandle<io::Result<()>>>,
}

/// What has arrived, and the stream that the rest comes from.
struct Input {
    stream: Rc<Duplex>,
    buffer: Vec<u8>,
    /// How much of `buffer` was used.
    used: usize,
}

impl Input {
    /// Waits for more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + 16 * 1024, 0);
        let got = (&*self.stream).read(&mut self.buffer[have..]);
        self.buffer.truncate(have + *got.as_ref().unwrap_or(&0));
        Ok(got? > 0)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Takes a head, and the empty line behind it; `None` if the connection ends before.
    fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let rest = self.rest();
            if let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = Head::parse(&rest[..end]);
                self.used += end + 4;
                return head.map(Some).ok_or_else(|| malformed("head"));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }
}

fn malformed(part: &str) -> io::Error {
    let text = format!("the response has a malformed {part}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl ClientResponse {
    /// Waits for the head of the final response.
    pub(super) fn receive(
        stream: Rc<Duplex>,
        served: JoinHandle<io::Result<()>>,
        is_head: bool,
    ) -> io::Result<Self> {
        let mut input = Input {
            stream,
            buffer: Vec::new(),
            used: 0,
        };
        let head = loop {
            match input.head()? {
                // RFC 9110 section 15.2: any number of interim responses. After a 101 no other
                // response follows.
                Some(head)
                    if head.status.is_informational()
                        && head.status != StatusCode::SWITCHING_PROTOCOLS => {}
                Some(head) => break head,
                None => {
                    end(served)?;
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection without a response",
                    ));
                }
            }
        };
        let framing = head.framing(is_head);
        let mut response = Self {
            version: head.version,
            status: head.status,
            headers: head.headers,
            framing: framing.ok_or_else(|| malformed("Content-Length"))?,
            input,
            served: Some(served),
        };
        response.read_short_body()?;
        Ok(response)
    }

    /// Reads a body of an announced length that is not long.
    fn read_short_body(&mut self) -> io::Result<()> {
        let Framing::Length(length @ ..=AT_ONCE) = self.framing else {
            return Ok(());
        };
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        self.framing = Framing::Length(length);
        self.input.buffer = body;
        self.input.used = 0;
        Ok(())
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the header fields, those that the connection has added among them.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the first field of this name, if there is one and it is text. The case of the name
    /// does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        self.headers.get(&name)?.to_str().ok()
    }

    /// Reads the rest of the body; suspends the caller until all of it has arrived.
    ///
    /// # Panics
    ///
    /// If the connection ends within the body; while the caller unwinds and has to wait. Reading it
    /// as a reader returns an error instead.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and the connection is closed.
    #[must_use]
    #[track_caller]
    pub fn bytes(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        match self.read_to_end(&mut body) {
            Ok(_) => body,
            Err(error) => panic!("the body of the response broke off: {error}"),
        }
    }

    /// Reads the rest of the body as text; suspends the caller until all of it has arrived.
    ///
    /// # Panics
    ///
    /// As [`bytes`](Self::bytes); and if the body is not UTF-8.
    ///
    /// # Cancellation
    ///
    /// As [`bytes`](Self::bytes).
    #[must_use]
    #[track_caller]
    pub fn text(self) -> String {
        match String::from_utf8(self.bytes()) {
            Ok(text) => text,
            Err(error) => panic!("the body of the response is not UTF-8: {error}"),
        }
    }

    /// Reads the rest of the body as JSON, whatever its type; suspends the caller until all of it
    /// has arrived.
    ///
    /// # Panics
    ///
    /// As [`bytes`](Self::bytes); and if the body is not the JSON of a `T`, with the body.
    ///
    /// # Cancellation
    ///
    /// As [`bytes`](Self::bytes).
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::testing::Client;
    /// use ethreads::http::{App, Json};
    ///
    /// let app = App::new().post("/double", |Json(n): Json<Vec<u32>>| {
    ///     Json(n.iter().map(|n| 2 * n).collect::<Vec<_>>())
    /// });
    /// let response = Client::new(app).post("/double").json(&[1, 2]).send();
    /// assert_eq!(response.json::<Vec<u32>>(), [2, 4]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(self) -> T {
        let body = self.bytes();
        match serde_json::from_slice(&body) {
            Ok(value) => value,
            Err(error) => {
                let body = String::from_utf8_lossy(&body);
                panic!("the body of the response is not the JSON expected: {error}: {body}")
            }
        }
    }

    /// Ends the connection, whose response has been read, and waits for its end.
    fn finish(&mut self) {
        if let Some(served) = self.served.take() {
            self.input.stream.shutdown(Shutdown::Both);
            // What the server makes of a client that has got its response is not of interest.
            let _ = end(served);
        }
    }

    fn read_piece(&mut self, buf: &mut [u8]) -> io::Result<Piece> {
        match &mut self.framing {
            Framing::Length(0) => return Ok(Piece::End),
            Framing::Chunked(decoder) if decoder.is_done() => return Ok(Piece::End),
            _ => {}
        }
        if self.input.rest().is_empty() && !self.input.fill()? {
            return match self.framing {
                Framing::Close => Ok(Piece::End),
                _ => Ok(Piece::Broken),
            };
        }
        let rest = &self.input.buffer[self.input.used..];
        let (used, got) = match &mut self.framing {
            Framing::Chunked(decoder) => {
                let progress = decoder.decode(rest, buf);
                let progress = progress.map_err(|_| malformed("chunk"))?;
                (progress.consumed, progress.produced)
            }
            Framing::Length(left) => {
                let wanted = buf.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let got = wanted.min(rest.len());
                buf[..got].copy_from_slice(&rest[..got]);
                *left -= got as u64;
                (got, got)
            }
            Framing::Close => {
                let got = buf.len().min(rest.len());
                buf[..got].copy_from_slice(&rest[..got]);
                (got, got)
            }
        };
        self.input.used += used;
        Ok(Piece::Bytes(got))
    }
}

/// What a read has found.
enum Piece {
    /// So many bytes, possibly none.
    Bytes(usize),
    End,
    /// The end of the connection within the body.
    Broken,
}

/// Waits for the end of a connection, and returns its error.
fn end(served: JoinHandle<io::Result<()>>) -> io::Result<()> {
    match served.join() {
        Ok(result) => result,
        Err(payload) => panic::resume_unwind(payload),
    }
}

impl Read for ClientResponse {
    /// Reads what has arrived of the body; suspends the caller until something has. `Ok(0)` is the
    /// end: the connection has ended then.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the connection ends within the body; `InvalidData` for malformed chunks;
    /// `Other` with the source [`WouldPark`](crate::runtime::WouldPark) where the caller would have
    /// to wait while it unwinds.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.read_piece(buf)? {
                // Framing alone.
                Piece::Bytes(0) => {}
                Piece::Bytes(got) => return Ok(got),
                Piece::End => {
                    self.finish();
                    return Ok(0);
                }
                Piece::Broken => {
                    if let Some(served) = self.served.take() {
                        end(served)?;
                    }
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection ended within the response",
                    ));
                }
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // An upload that still goes on has a handle of the stream, too.
        self.stream.shutdown(Shutdown::Both);
    }
}

impl fmt::Debug for ClientResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
