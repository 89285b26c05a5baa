//! The body of an HTTP/1 request, read from its connection.
//!
//! While the request holds the body, only the ethread of the connection reads it, and each read
//! first flushes the collected output. A body that was taken out of its request may be read in any
//! ethread of the shard, and never writes. It has a buffer of its own for received bytes. When its
//! request ends, the body is revoked: received bytes behind its end return to the connection.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;

use super::connection::{Connection, timed_out_in};
use super::deadline::{Deadline, turn_began};
use crate::http::error::{Error, Phase};
use crate::http::exchange::body::BodySource;
use crate::http::exchange::received::Received;
use crate::http::message::Headers;
use crate::http::proto::chunked::ChunkedDecoder;
use crate::http::proto::encode::CONTINUE;
use crate::http::proto::framing::BodyLength;
use crate::http::proto::trailers::parse_trailers;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::base::wait::deadline_after;
use crate::runtime::io::operation::Limit;

/// An unread body up to this length is drained to keep the connection. For a longer body, a new
/// connection is cheaper for both sides.
pub(in crate::http) const DRAIN_LIMIT: u64 = 64 * 1024;

/// The part of a body that has not been read yet.
#[derive(Debug)]
enum Rest {
    Done,
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// The next step of a read.
enum Step {
    /// The read is complete: this many received bytes were copied to the caller's buffer.
    Got(usize),
    /// Read body data, at most this many bytes, directly into the caller's buffer.
    Data(usize),
    /// Read chunk framing.
    Framing,
}

/// The body of the current request of a connection.
pub(super) struct IncomingBody {
    /// `None` once the body was revoked.
    connection: RefCell<Option<Rc<Connection>>>,
    declared: Option<u64>,
    rest: RefCell<Rest>,
    /// Bytes of the body that were read.
    got: Cell<u64>,
    /// The sum of all waits for the body, in nanoseconds.
    waited: Cell<u64>,
    /// The peer waits for a 100 before it sends the body.
    owes_continue: Cell<bool>,
    /// The beginning of the next request is unknown: a read failed, or the body is too long to be
    /// drained.
    broken: Cell<bool>,
    /// The body was read to its end before it was revoked.
    whole: Cell<bool>,
    trailers: OnceCell<Headers>,
    /// Received bytes that were not read, once the body was taken.
    own: RefCell<Option<Received>>,
    /// The number of reads that wait for input.
    waiting: Cell<usize>,
}

impl IncomingBody {
    pub(super) fn new(connection: Rc<Connection>, length: BodyLength, owes_continue: bool) -> Self {
        let (rest, declared) = match length {
            BodyLength::None => (Rest::Done, Some(0)),
            BodyLength::Known(length) => (Rest::Length(length), Some(length)),
            BodyLength::Chunked => {
                let limits = &connection.context.config.limits;
                (Rest::Chunked(ChunkedDecoder::new(limits)), None)
            }
        };
        Self {
            connection: RefCell::new(Some(connection)),
            declared,
            rest: RefCell::new(rest),
            got: Cell::new(0),
            waited: Cell::new(0),
            owes_continue: Cell::new(owes_continue),
            broken: Cell::new(false),
            whole: Cell::new(false),
            trailers: OnceCell::new(),
            own: RefCell::default(),
            waiting: Cell::new(0),
        }
    }

    /// Moves the body into the allocation of `spare`, if that is a body without other references.
    pub(super) fn in_place_of(self, spare: Option<Rc<dyn Any>>) -> Rc<Self> {
        let spare = spare.and_then(|spare| spare.downcast::<Self>().ok());
        if let Some(mut spare) = spare
            && let Some(place) = Rc::get_mut(&mut spare)
        {
            *place = self;
            return spare;
        }
        Rc::new(self)
    }

    /// Whether the connection can serve another request: the body is at its end, or the unread rest
    /// may be drained.
    pub(super) fn can_go_on(&self) -> bool {
        match &*self.rest.borrow() {
            _ if self.broken.get() => false,
            Rest::Done => true,
            _ if self.owes_continue.get() => false,
            Rest::Length(left) => *left <= DRAIN_LIMIT,
            Rest::Chunked(_) => true,
        }
    }

    /// Whether the body was taken out of its request, and was not dropped since.
    pub(super) fn is_taken(self: &Rc<Self>) -> bool {
        self.own.borrow().is_some() && Rc::strong_count(self) > 1
    }

    /// Makes a waiting read and all later reads fail. Returns the received bytes that a body that
    /// was taken has not read.
    pub(super) fn revoke(&self) -> Option<Received> {
        let connection = self.connection.take()?;
        self.whole.set(self.is_done());
        if self.waiting.get() > 0 {
            connection.stream.look_again();
        }
        self.own.take()
    }

    /// Sends a 100 if the peer waits for it before it sends the body.
    fn send_continue(&self, connection: &Connection) -> Result<(), Error> {
        if self.owes_continue.take() {
            connection.output.borrow_mut().extend_from_slice(CONTINUE);
            connection.flush()?;
        }
        Ok(())
    }

    /// Reads and discards the unread rest of the body, up to [`DRAIN_LIMIT`]. Returns false if the
    /// end of the body was not reached.
    #[inline(never)]
    pub(super) fn drain(&self, connection: &Connection, received: &mut Received) -> bool {
        let mut drained = 0;
        let mut scratch = [0; 1024];
        while !self.is_done() && drained <= DRAIN_LIMIT {
            match self.read_with(connection, received, &mut scratch) {
                Ok(got) => drained += got as u64,
                Err(error) => {
                    log::debug!("draining an unread request body failed: {error}");
                    return false;
                }
            }
        }
        self.is_done()
    }

    /// Reads for the request, in the ethread of the connection, or from a body that was taken.
    fn read_with(
        &self,
        connection: &Connection,
        received: &mut Received,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        if buf.is_empty() || self.is_done() {
            return Ok(0);
        }
        if self.broken.get() {
            return Err(Error::body_incomplete(self.got.get(), self.declared));
        }
        let is_taken = self.own.borrow().is_some();
        let result = self
            .send_continue(connection)
            .and_then(|()| self.read_on(connection, received, buf));
        if is_taken && self.is_revoked() {
            return Err(Error::body_revoked());
        }
        match &result {
            Ok(got) => self.got.set(self.got.get() + *got as u64),
            Err(_) => self.broken.set(true),
        }
        result
    }

    fn read_on(
        &self,
        connection: &Connection,
        received: &mut Received,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        loop {
            let step = match &mut *self.own.borrow_mut() {
                Some(own) => self.step(own, buf)?,
                None => self.step(received, buf)?,
            };
            match step {
                Step::Got(got) => return Ok(got),
                Step::Data(most) => {
                    let got = self.receive(connection, &mut buf[..most])?;
                    self.advance(got as u64);
                    return Ok(got);
                }
                Step::Framing => self.receive_framing(connection, received)?,
            }
        }
    }

    /// Copies received bytes of the body to `buf`; without any, returns the read to make next.
    fn step(&self, received: &mut Received, buf: &mut [u8]) -> Result<Step, Error> {
        let room = buf.len();
        let bound = |count: u64| room.min(usize::try_from(count).unwrap_or(usize::MAX));
        let mut rest = self.rest.borrow_mut();
        match &mut *rest {
            Rest::Done => Ok(Step::Got(0)),
            Rest::Length(left) => {
                let most = bound(*left);
                if !received.has_unread() {
                    return Ok(Step::Data(most));
                }
                let got = received.copy_to(&mut buf[..most]);
                drop(rest);
                self.advance(got as u64);
                Ok(Step::Got(got))
            }
            Rest::Chunked(decoder) => {
                let progress = decoder.decode(received.unread(), buf)?;
                received.consume(progress.consumed);
                if progress.done {
                    if !decoder.trailers().is_empty() {
                        let _ = self.trailers.set(parse_trailers(decoder.trailers()));
                    }
                    *rest = Rest::Done;
                } else if progress.produced == 0 {
                    // Data that has not arrived yet is read without the decoder.
                    return Ok(match decoder.data_run() {
                        0 => Step::Framing,
                        run => Step::Data(bound(run)),
                    });
                }
                Ok(Step::Got(progress.produced))
            }
        }
    }

    /// Counts bytes of the body that were read without the decoder.
    fn advance(&self, got: u64) {
        let mut rest = self.rest.borrow_mut();
        match &mut *rest {
            Rest::Done => {}
            Rest::Length(left) if *left == got => *rest = Rest::Done,
            Rest::Length(left) => *left -= got,
            Rest::Chunked(decoder) => decoder.advance(got),
        }
    }

    /// Reads chunk framing, and appends it to the received bytes.
    fn receive_framing(
        &self,
        connection: &Connection,
        received: &mut Received,
    ) -> Result<(), Error> {
        if self.own.borrow().is_none() {
            let got = self.receive(connection, received.room_behind_head())?;
            received.received(got);
            return Ok(());
        }
        let mut arrived = [0; 1024];
        let got = self.receive(connection, &mut arrived)?;
        if let Some(own) = &mut *self.own.borrow_mut() {
            own.push(&arrived[..got]);
        }
        Ok(())
    }

    /// Reads from the stream, and adds the wait to `waited`. Fails at the end of the input.
    fn receive(&self, connection: &Connection, buf: &mut [u8]) -> Result<usize, Error> {
        let apart = self.own.borrow().is_some();
        if !apart {
            connection.flush()?;
        }
        let check = || match apart && self.is_revoked() {
            true => Err(Error::body_revoked().into()),
            false => Ok(()),
        };
        let (began, deadline) = self.deadline(connection);
        self.waiting.set(self.waiting.get() + 1);
        let _waits = OnDrop(|| self.waiting.set(self.waiting.get() - 1));
        // A stream of a user may lose bytes where its read unwinds, or lasts until the body is
        // revoked.
        let may_lose = !connection.stream.can_try();
        if may_lose {
            self.broken.set(true);
        }
        let got = connection.stream.read(buf, Limit::At(deadline), check);
        if may_lose && !self.is_revoked() {
            self.broken.set(false);
        }
        self.waited.set(self.waited.get() + turn_began() - began);
        match got.map_err(|error| timed_out_in(error, Phase::Body))? {
            0 => Err(Error::body_incomplete(self.got.get(), self.declared)),
            got => Ok(got),
        }
    }

    /// Returns the time at which this turn of the scheduler began, and the deadline of the next
    /// read. The deadline bounds each wait, and the sum of all waits. The bound of the sum grows
    /// with the bytes that have arrived.
    fn deadline(&self, connection: &Connection) -> (Deadline, Deadline) {
        let timeouts = &connection.context.config.timeouts;
        let now = turn_began();
        let single = deadline_after(now, timeouts.body);
        let Some(rate) = NonZeroU32::new(timeouts.body_rate) else {
            return (now, single);
        };
        let earned = self.got.get().saturating_mul(1_000_000_000) / u64::from(rate.get());
        let granted = deadline_after(earned, timeouts.body_grace);
        let left = granted.saturating_sub(self.waited.get());
        (now, single.min(now.saturating_add(left)))
    }

    fn is_revoked(&self) -> bool {
        self.connection.borrow().is_none()
    }
}

impl BodySource for IncomingBody {
    fn read(&self, received: &mut Received, buf: &mut [u8]) -> Result<usize, Error> {
        let Some(connection) = self.connection.borrow().clone() else {
            return match self.whole.get() {
                true => Ok(0),
                false => Err(Error::body_revoked()),
            };
        };
        self.read_with(&connection, received, buf)
    }

    fn take(&self, received: &mut Received) {
        let Some(connection) = self.connection.borrow().clone() else {
            return;
        };
        let mut own = Received::default();
        own.push(received.unread());
        received.consume(received.unread().len());
        self.own.replace(Some(own));
        // A body that was taken never sends, and a 100 must not follow the head of the response.
        if self.owes_continue.take() {
            connection.output.borrow_mut().extend_from_slice(CONTINUE);
            // An error is reported by the next write of the connection.
            let _ = connection.send_early();
        }
    }

    fn is_done(&self) -> bool {
        matches!(*self.rest.borrow(), Rest::Done)
    }

    fn limit(&self) -> u64 {
        let connection = self.connection.borrow();
        let connection = connection.as_ref();
        connection.map_or(0, |connection| connection.context.config.limits.body_bytes)
    }

    fn refuse(&self, got: u64) {
        // The length of the rest is unknown. After this many bytes the connection is closed without
        // an attempt to drain the rest, so the answer can announce the close.
        if got > DRAIN_LIMIT {
            self.broken.set(true);
        }
    }

    fn trailers(&self) -> Option<&Headers> {
        self.trailers.get()
    }
}
