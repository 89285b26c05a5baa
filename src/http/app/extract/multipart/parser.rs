//! The crate multer, which parses, fed by hand from the body of a request.
//!
//! multer wants a stream that is `Send`, which the body of a request is not. So the stream is a
//! queue, and whenever multer asks for more than is in the queue, a piece of the body is read and
//! put there.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;

use crate::http::error::{Error, FormLimit};
use crate::http::exchange::body::RequestBody;

/// How many bytes are read at a time.
const PIECE: usize = 64 * 1024;

/// The default limits of a form.
pub(super) const PARTS: u64 = 1_000;
pub(super) const HEADER_BYTES: u64 = 8 * 1024;
pub(super) const MEMORY_BYTES: u64 = 2 * 1024 * 1024;

/// The limits of a form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body: u64,
    pub(super) parts: u64,
    pub(super) header: u64,
    pub(super) field: u64,
    pub(super) memory: u64,
}

/// A form that is being read.
pub(super) struct Parser {
    pub(super) limits: Limits,
    form: multer::Multipart<'static>,
    feed: Feed,
    /// The current part, until the next one is asked for.
    part: Option<multer::Field<'static>>,
    /// Bytes of the current part that were parsed and not read.
    parsed: Bytes,
    /// The length of the current part so far.
    part_len: u64,
    parts: u64,
    /// An error was returned, so the place of the next part is unknown.
    has_failed: bool,
}

impl Parser {
    pub(super) fn new(body: RequestBody, boundary: String, limit: u64) -> Self {
        let queue = Queue::default();
        Self {
            limits: Limits {
                body: limit,
                parts: PARTS,
                header: HEADER_BYTES,
                field: u64::MAX,
                memory: MEMORY_BYTES,
            },
            form: multer::Multipart::new(queue.clone(), boundary),
            feed: Feed {
                body,
                queue,
                buffer: Vec::new(),
                got: 0,
            },
            part: None,
            parsed: Bytes::new(),
            part_len: 0,
            parts: 0,
            has_failed: false,
        }
    }

    /// Goes to the next part; false at the end of the form.
    pub(super) fn next_part(&mut self) -> Result<bool, Error> {
        self.check_sound()?;
        while self.part.is_some() && !self.next_bytes()?.is_empty() {}
        // There may be one part at a time.
        self.part = None;
        let limits = self.limits;
        let (form, before) = (&mut self.form, self.feed.got);
        let found = self.feed.poll(&limits, |context, got| {
            if got - before > limits.header {
                return Poll::Ready(Err(Error::form_limit(FormLimit::Header, limits.header)));
            }
            form.poll_next_field(context).map_err(error_of)
        });
        let found = self.checked(found)?;
        let Some(part) = found else {
            return Ok(false);
        };
        if header_len(part.headers()) > limits.header {
            return self.checked(Err(Error::form_limit(FormLimit::Header, limits.header)));
        }
        if self.parts == limits.parts {
            return self.checked(Err(Error::form_limit(FormLimit::Parts, limits.parts)));
        }
        self.parts += 1;
        self.part_len = 0;
        self.part = Some(part);
        Ok(true)
    }

    /// The current part; `None` at its end.
    pub(super) fn part(&self) -> Option<&multer::Field<'static>> {
        self.part.as_ref()
    }

    /// Returns bytes of the current part; none at its end.
    pub(super) fn next_bytes(&mut self) -> Result<Bytes, Error> {
        self.check_sound()?;
        if !self.parsed.is_empty() {
            return Ok(std::mem::take(&mut self.parsed));
        }
        let Some(part) = &mut self.part else {
            return Ok(Bytes::new());
        };
        let limits = self.limits;
        loop {
            let bytes = self.feed.poll(&limits, |context, _| {
                let next = Pin::new(&mut *part).poll_next(context);
                next.map(Option::transpose).map_err(error_of)
            });
            let bytes = match bytes {
                // The part is over, or this piece of it was empty.
                Ok(None) => return Ok(Bytes::new()),
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => Ok(bytes),
                Err(error) => Err(error),
            };
            let limit = limits.field;
            return self.checked(bytes).and_then(|bytes| {
                self.part_len = self.part_len.saturating_add(bytes.len() as u64);
                match self.part_len > limit {
                    true => self.checked(Err(Error::form_limit(FormLimit::Field, limit))),
                    false => Ok(bytes),
                }
            });
        }
    }

    /// Reads from the current part; 0 at its end.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut bytes = self.next_bytes()?;
        let part = bytes.split_to(bytes.len().min(buf.len()));
        buf[..part.len()].copy_from_slice(&part);
        self.parsed = bytes;
        Ok(part.len())
    }

    fn check_sound(&self) -> Result<(), Error> {
        match self.has_failed {
            true => Err(Error::form_malformed(
                "the form could not be read to its end",
            )),
            false => Ok(()),
        }
    }

    /// Notes that the form cannot be read any further, if this is an error.
    fn checked<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.has_failed = true;
        }
        result
    }
}

/// The body, and the queue that multer takes it from.
struct Feed {
    body: RequestBody,
    queue: Queue,
    buffer: Vec<u8>,
    /// Bytes of the body so far.
    got: u64,
}

impl Feed {
    /// Polls until there is a result. `poll` is given the number of bytes of the body so far.
    fn poll<T>(
        &mut self,
        limits: &Limits,
        mut poll: impl FnMut(&mut Context<'_>, u64) -> Poll<Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(result) = poll(&mut context, self.got) {
                return result;
            }
            self.next_piece(limits)?;
        }
    }

    /// Reads a piece of the body into the queue.
    fn next_piece(&mut self, limits: &Limits) -> Result<(), Error> {
        if self.queue.is_ended() {
            return Err(Error::form_malformed("the form ends within a field"));
        }
        self.buffer.resize(PIECE, 0);
        let got = loop {
            match self.body.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.got += got as u64;
        if self.got > limits.body {
            return Err(Error::form_too_large(limits.body));
        }
        self.queue.push(&self.buffer[..got]);
        Ok(())
    }
}

/// Pieces of the body on their way to multer. Only one OS thread uses it.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Pieces>>);

#[derive(Default)]
struct Pieces {
    waiting: VecDeque<Bytes>,
    is_ended: bool,
}

impl Queue {
    fn with<T>(&self, f: impl FnOnce(&mut Pieces) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a piece; an empty one is the end.
    fn push(&self, piece: &[u8]) {
        self.with(|pieces| match piece.is_empty() {
            true => pieces.is_ended = true,
            false => pieces.waiting.push_back(Bytes::copy_from_slice(piece)),
        });
    }

    fn is_ended(&self) -> bool {
        self.with(|pieces| pieces.is_ended)
    }
}

impl Stream for Queue {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.with(|pieces| match pieces.waiting.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None if pieces.is_ended => Poll::Ready(None),
            None => Poll::Pending,
        })
    }
}

fn header_len(headers: &HeaderMap) -> u64 {
    let lens = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    lens.sum::<usize>() as u64
}

fn error_of(error: multer::Error) -> Error {
    Error::form_malformed(match error {
        multer::Error::IncompleteFieldData { .. } => "the form ends within a field",
        multer::Error::IncompleteHeaders
        | multer::Error::ReadHeaderFailed(_)
        | multer::Error::DecodeHeaderName { .. }
        | multer::Error::DecodeHeaderValue { .. } => "the header of a field is malformed",
        multer::Error::IncompleteStream => "the form ends without its last boundary",
        _ => "the form is malformed",
    })
}
