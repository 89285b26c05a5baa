//! Input and output of a connection: heads and request bodies in, collected output out.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use http::StatusCode;

use super::buffers::READ_BUFFER;
use super::connection::Connection;
use super::context::Context;
use super::error::{Error, Phase};
use super::message::Headers;
use super::proto::chunked::ChunkedDecoder;
use super::proto::encode::CONTINUE;
use super::proto::framing::{Framing, RequestBody};
use super::proto::head::RequestHead;
use super::proto::trailers::parse_trailers;
use super::transport::{Deadline, Transport, deadline_in, turn_began};
use crate::runtime::base::error::is_elapsed;
use crate::runtime::base::wait::deadline_after;

/// How many bytes of output are collected before they are sent. A body is copied behind the
/// collected output only if the whole fits into this size; for a larger one a second piece of a
/// vectored write is cheaper than the copy.
pub(super) const COLLECT: usize = 16 * 1024;

/// An unread body up to this length is read to keep the connection. For a longer body, a new
/// connection is cheaper for both sides.
pub(super) const DRAIN_LIMIT: u64 = 64 * 1024;

/// The part of the current request's body that has not been read yet.
#[derive(Debug)]
enum Rest {
    Done,
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// How much of the next request has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Nothing yet.
    Nothing,
    /// Bytes of the request, or its head.
    Input,
    /// No request follows: the peer has closed, or the server drains.
    End,
}

/// The answer that was sent last, for the access log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    pub(super) status: Option<StatusCode>,
    /// Bytes of the body, without its framing.
    pub(super) bytes: u64,
}

/// The input and output of a connection, as its requests use them.
pub(super) struct ConnIo {
    pub(super) context: Rc<Context>,
    pub(super) connection: Rc<Connection>,
    /// Empty while the connection is idle.
    buffer: Box<[u8]>,
    /// Where the current head begins; the bytes before it are no longer needed.
    head_at: usize,
    /// Where unread bytes begin: the body, or the next head.
    cursor: usize,
    /// Where the unread bytes end.
    end: usize,
    head_len: usize,
    rest: Rest,
    declared: Option<u64>,
    /// The trailers, once the body has been read to its end.
    trailers: Option<Box<Headers>>,
    /// Bytes of the body that the handler has read.
    got: u64,
    /// How long the handler has waited for the body, in nanoseconds.
    waited: u64,
    /// The peer waits for a 100 before it sends the body.
    owes_continue: bool,
    /// The next request cannot be found: a read failed, or the body is too long to be read.
    broken: bool,
    pub(super) answered: Answered,
    /// A write failed. How much the peer got is unknown, so nothing more is sent.
    pub(super) write_failed: bool,
}

impl ConnIo {
    pub(super) fn new(context: Rc<Context>, connection: Rc<Connection>) -> Self {
        Self {
            context,
            connection,
            buffer: Box::default(),
            head_at: 0,
            cursor: 0,
            end: 0,
            head_len: 0,
            rest: Rest::Done,
            declared: Some(0),
            trailers: None,
            got: 0,
            waited: 0,
            owes_continue: false,
            broken: false,
            answered: Answered::default(),
            write_failed: false,
        }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.connection.transport
    }

    pub(super) fn head_bytes(&self) -> &[u8] {
        &self.buffer[self.head_at..self.head_at + self.head_len]
    }

    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.transport().peer_addr()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.transport().local_addr()
    }

    pub(super) fn declared_length(&self) -> Option<u64> {
        self.declared
    }

    pub(super) fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_deref()
    }

    /// Reads the input that has arrived, without waiting. Nothing may be buffered.
    #[inline(always)]
    pub(super) fn receive(&mut self) -> Result<Arrival, Error> {
        debug_assert_eq!((self.head_at, self.cursor), (0, 0));
        self.connection.idle.set(false);
        self.buffer = self.context.buffers.take_input();
        match self.connection.transport.read_now(&mut self.buffer) {
            Ok(0) => Ok(Arrival::End),
            Ok(got) => {
                self.end = got;
                Ok(Arrival::Input)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock if self.context.closes_idle() => Ok(Arrival::End),
                // After an interrupt the socket still counts as ready, so it is read again.
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                    self.connection.idle.set(true);
                    Ok(Arrival::Nothing)
                }
                // Between requests these errors are as good an end as a FIN.
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::TimedOut => Ok(Arrival::End),
                _ => Err(error.into()),
            },
        }
    }

    /// Parses the head of the next request. Waits for the rest of a head that has begun to arrive.
    #[inline]
    pub(super) fn next_head(&mut self, head: &mut RequestHead) -> Result<Arrival, Error> {
        self.head_at = self.cursor;
        self.head_len = 0;
        self.trailers = None;
        let mut deadline = None;
        loop {
            if self.head_at < self.end {
                let unread = &self.buffer[self.head_at..self.end];
                if let Some(len) = head.parse(unread, &self.context.config.limits)? {
                    self.begin_body(len, head.framing());
                    return Ok(Arrival::Input);
                }
            }
            self.flush()?;
            if self.head_at == self.end {
                if !self.context.closes_idle() {
                    self.connection.idle.set(true);
                    return Ok(Arrival::Nothing);
                }
                // A request that has arrived by now is still answered.
                self.give_buffers();
                match self.receive()? {
                    Arrival::Input => continue,
                    nothing => return Ok(nothing),
                }
            }
            let timeout = self.context.config.timeouts.head;
            let deadline = *deadline.get_or_insert_with(|| deadline_in(timeout));
            if self.read_more_head(deadline)? == 0 {
                let unread = &self.buffer[self.head_at..self.end];
                head.check_incomplete(unread, &self.context.config.limits)?;
                return Err(Error::head_incomplete());
            }
        }
    }

    /// Whether the refused input begins as a HEAD request.
    #[cold]
    pub(super) fn has_begun_with_head(&self) -> bool {
        let mut unread = &self.buffer[self.head_at..self.end];
        // RFC 9112 section 2.2: empty lines before a request line are skipped.
        while let [b'\r' | b'\n', rest @ ..] = unread {
            unread = rest;
        }
        unread.starts_with(b"HEAD ")
    }

    fn begin_body(&mut self, head_len: usize, framing: Framing) {
        self.head_len = head_len;
        self.cursor = self.head_at + head_len;
        debug_assert!(self.is_done(), "no request comes before the last one's end");
        match framing.body {
            RequestBody::None | RequestBody::Length(0) => self.declared = Some(0),
            _ => self.begin_content(framing),
        }
    }

    /// Begins a body that is not empty. Most requests have none. Not inlined: a decoder is large.
    #[inline(never)]
    fn begin_content(&mut self, framing: Framing) {
        (self.got, self.waited) = (0, 0);
        if let RequestBody::Length(length) = framing.body {
            (self.rest, self.declared) = (Rest::Length(length), Some(length));
        } else {
            self.rest = Rest::Chunked(ChunkedDecoder::new(&self.context.config.limits));
            self.declared = None;
        }
        // RFC 9110 section 10.1.1: no 100 is due if the body has begun to arrive.
        self.owes_continue = framing.expect_continue && self.cursor == self.end;
    }

    fn give_buffers(&mut self) {
        let buffers = &self.context.buffers;
        buffers.give_input(mem::take(&mut self.buffer));
        buffers.give_output(self.connection.output.take());
        (self.head_at, self.cursor, self.end, self.head_len) = (0, 0, 0, 0);
    }

    /// Returns the bytes that were received behind the request, and gives back all buffers.
    pub(super) fn take_unread(&mut self) -> Box<[u8]> {
        let unread = self.buffer[self.cursor..self.end].into();
        self.give_buffers();
        unread
    }

    fn read_more_head(&mut self, deadline: Deadline) -> Result<usize, Error> {
        if self.end == self.buffer.len() {
            if self.head_at > 0 {
                self.buffer.copy_within(self.head_at..self.end, 0);
                self.end -= self.head_at;
                (self.head_at, self.cursor) = (0, 0);
            } else {
                self.grow();
            }
        }
        let transport = &self.connection.transport;
        let got = transport
            .read(&mut self.buffer[self.end..], deadline)
            .map_err(|error| timed_out_in(error, Phase::Head))?;
        self.end += got;
        Ok(got)
    }

    /// Makes the buffer larger. A head is bounded by its limit, and a body needs this at most once.
    fn grow(&mut self) {
        let mut larger = vec![0; self.buffer.len() + READ_BUFFER].into_boxed_slice();
        larger[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = larger;
    }

    /// Whether the body was read to its end.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    /// Whether the next request can be found, even if the current body was not read to its end.
    pub(super) fn can_go_on(&self) -> bool {
        match &self.rest {
            _ if self.broken => false,
            Rest::Done => true,
            _ if self.owes_continue => false,
            Rest::Length(left) => *left <= DRAIN_LIMIT,
            Rest::Chunked(_) => true,
        }
    }

    /// Whether pipelined input is buffered.
    pub(super) fn has_more(&self) -> bool {
        self.cursor < self.end
    }

    /// Reads from the body; 0 at its end, or for an empty `buf`.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if buf.is_empty() || self.is_done() {
            return Ok(0);
        }
        if self.broken {
            return Err(Error::body_incomplete(self.got, self.declared));
        }
        let result = self.send_continue().and_then(|()| match self.rest {
            Rest::Chunked(_) => self.read_chunked(buf),
            _ => self.read_plain(buf),
        });
        match &result {
            Ok(got) => self.got += *got as u64,
            Err(_) => self.broken = true,
        }
        result
    }

    /// Sends a 100 if the peer withholds the body until then.
    pub(super) fn send_continue(&mut self) -> Result<(), Error> {
        if mem::take(&mut self.owes_continue) {
            self.connection
                .output
                .borrow_mut()
                .extend_from_slice(CONTINUE);
            self.flush()?;
        }
        Ok(())
    }

    fn read_plain(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let Rest::Length(left) = self.rest else {
            return Ok(0);
        };
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = self.take_or_read(&mut buf[..wanted])?;
        self.rest = match left - got as u64 {
            0 => Rest::Done,
            left => Rest::Length(left),
        };
        Ok(got)
    }

    fn read_chunked(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            let Rest::Chunked(decoder) = &mut self.rest else {
                return Ok(0);
            };
            let progress = decoder.decode(&self.buffer[self.cursor..self.end], buf)?;
            self.cursor += progress.consumed;
            if progress.done {
                if !decoder.trailers().is_empty() {
                    self.trailers = Some(Box::new(parse_trailers(decoder.trailers())));
                }
                self.rest = Rest::Done;
                return Ok(progress.produced);
            }
            if progress.produced > 0 {
                return Ok(progress.produced);
            }
            let run = decoder.data_run();
            if run > 0 {
                // Data comes next, and none of it is buffered, so it is read directly into `buf`.
                let wanted = buf.len().min(usize::try_from(run).unwrap_or(usize::MAX));
                let got = self.take_or_read(&mut buf[..wanted])?;
                if let Rest::Chunked(decoder) = &mut self.rest {
                    decoder.advance(got as u64);
                }
                return Ok(got);
            }
            self.read_more_body()?;
        }
    }

    /// Copies unread bytes, or reads from the transport if there are none.
    fn take_or_read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let unread = &self.buffer[self.cursor..self.end];
        if !unread.is_empty() {
            let got = unread.len().min(buf.len());
            buf[..got].copy_from_slice(&unread[..got]);
            self.cursor += got;
            return Ok(got);
        }
        self.flush()?;
        let (began, deadline) = self.body_deadline();
        let got = self.transport().read(buf, deadline);
        self.received(got, began)
    }

    /// Returns when this turn began, and the deadline for the next bytes of the body. The deadline
    /// bounds each pause, and the sum of all pauses. The bound of the sum grows with the bytes that
    /// have arrived.
    fn body_deadline(&self) -> (Deadline, Deadline) {
        let timeouts = &self.context.config.timeouts;
        let now = turn_began();
        let pause = deadline_after(now, timeouts.body);
        let Some(rate) = NonZeroU32::new(timeouts.body_rate) else {
            return (now, pause);
        };
        let earned = self.got.saturating_mul(1_000_000_000) / u64::from(rate.get());
        let granted = deadline_after(earned, timeouts.body_grace);
        let left = granted.saturating_sub(self.waited);
        (now, pause.min(now.saturating_add(left)))
    }

    /// Adds the wait since `began` to `waited`. Fails if the input ended within the body.
    fn received(&mut self, got: io::Result<usize>, began: Deadline) -> Result<usize, Error> {
        self.waited += turn_began() - began;
        match got.map_err(|error| timed_out_in(error, Phase::Body))? {
            0 => Err(Error::body_incomplete(self.got, self.declared)),
            got => Ok(got),
        }
    }

    /// Reads framing of a chunked body into the buffer, behind the head.
    fn read_more_body(&mut self) -> Result<(), Error> {
        self.flush()?;
        let behind_head = self.head_at + self.head_len;
        if self.cursor == self.end {
            (self.cursor, self.end) = (behind_head, behind_head);
        }
        if self.end == self.buffer.len() {
            self.grow();
        }
        let (began, deadline) = self.body_deadline();
        let transport = &self.connection.transport;
        let got = transport.read(&mut self.buffer[self.end..], deadline);
        self.end += self.received(got, began)?;
        Ok(())
    }

    /// Reads the rest of the body, up to the limit `body_bytes`.
    pub(super) fn collect(&mut self) -> Result<Vec<u8>, Error> {
        let limit = self.context.config.limits.body_bytes;
        if self.declared.is_some_and(|length| length > limit) {
            return Err(Error::body_too_large(limit));
        }
        // A declared length proves nothing, so memory is allocated as bytes arrive.
        let expected = self.declared.unwrap_or(0).min(READ_BUFFER as u64) as usize;
        let mut body = vec![0; expected];
        let mut filled = 0;
        loop {
            if filled == body.len() {
                if self.is_done() {
                    break;
                }
                body.resize((2 * filled).max(READ_BUFFER), 0);
            }
            match self.read(&mut body[filled..])? {
                0 => break,
                got => filled += got,
            }
            if filled as u64 > limit {
                // The length of the rest is unknown. If much has arrived already, the connection is
                // given up now, so that the answer says so, and not after an attempt to drain the
                // rest.
                self.broken = filled as u64 > DRAIN_LIMIT;
                return Err(Error::body_too_large(limit));
            }
        }
        body.truncate(filled);
        Ok(body)
    }

    /// Reads and discards what the handler left of the body, up to [`DRAIN_LIMIT`]; see
    /// [`can_go_on`](Self::can_go_on). Returns false if the end of the body was not reached.
    #[inline(never)]
    pub(super) fn drain(&mut self) -> bool {
        let mut drained = 0;
        let mut scratch = [0; 1024];
        while !self.is_done() && drained <= DRAIN_LIMIT {
            match self.read(&mut scratch) {
                Ok(got) => drained += got as u64,
                Err(error) => {
                    log::debug!("an unread body did not end: {error}");
                    return false;
                }
            }
        }
        self.is_done()
    }

    /// Has the collected output sent if this ethread waits before it sends; see
    /// [`flusher`](super::flusher).
    #[inline]
    pub(super) fn send_early(&self) {
        self.context.flusher.look_at(&self.connection);
    }

    /// Sends the collected output.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if !self.connection.output.borrow().is_empty() {
            self.send(&[])?;
        }
        Ok(())
    }

    /// Sends the collected output, and `data` after it.
    pub(super) fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        let Connection {
            transport, output, ..
        } = &*self.connection;
        // A cancel unwinds out of the write. Code that catches it must find neither the output that
        // was sent in part, nor a way to send more.
        let mut collected = output.take();
        let result = if mem::replace(&mut self.write_failed, true) {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            let config = &self.context.config;
            transport.write_all(&collected, data, config.timeouts.write, config.write_slice)
        };
        collected.clear();
        output.replace(collected);
        self.write_failed = result.is_err();
        result.map_err(|error| self.write_error(error))
    }

    /// Has the kernel send what it takes of a file; `None` if it cannot send this file. The
    /// collected output must be empty.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<Option<usize>, Error> {
        let timeout = self.context.config.timeouts.write;
        match self.transport().send_file(file, offset, count, timeout) {
            Ok(sent) => Ok(Some(sent)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => {
                self.write_failed = true;
                Err(self.write_error(error))
            }
        }
    }

    /// Ends a connection within a response. The collected output, above all the earlier responses,
    /// is still sent.
    #[cold]
    pub(super) fn break_off(&mut self) {
        if !self.write_failed && self.flush().is_ok() {
            self.linger();
        }
    }

    /// Returns why a write failed. A peer that takes nothing gets a reset: otherwise the output
    /// would stay in the kernel for minutes after the close, megabytes per connection.
    #[cold]
    fn write_error(&self, error: io::Error) -> Error {
        if is_timeout(&error) {
            self.transport().reset_at_close();
        }
        timed_out_in(error, Phase::Write)
    }

    /// Ends a connection whose peer may still be sending: see [`lingering`](super::lingering). The
    /// caller need not do anything more with the connection.
    #[cold]
    #[inline(never)]
    pub(super) fn linger(&self) {
        self.context.lingering.begin(self.connection.clone());
    }
}

impl Drop for ConnIo {
    fn drop(&mut self) {
        self.give_buffers();
    }
}

/// Whether the connection's own deadline has passed, and not that of a scope in the handler.
fn is_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && !is_elapsed(error)
}

/// Converts an error. A timeout names its phase.
fn timed_out_in(error: io::Error, phase: Phase) -> Error {
    if is_timeout(&error) {
        Error::timeout(phase)
    } else {
        error.into()
    }
}
