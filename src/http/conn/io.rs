//! The input of a connection: the heads of its requests, and where their bodies end.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use http::StatusCode;

use super::body::IncomingBody;
use super::connection::{Connection, timed_out_in};
use super::deadline::{Deadline, deadline_in};
use crate::http::error::{Error, Phase};
use crate::http::exchange::body::{BodySource, RequestBody};
use crate::http::exchange::received::Received;
use crate::http::exchange::request::{Request, RequestState};
use crate::http::proto::framing::BodyLength;
use crate::runtime::io::operation::Limit;

/// How much of the next request has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Arrival {
    /// Nothing yet.
    Nothing,
    /// Bytes of the request, or its head.
    Input,
    /// No request follows: the peer has closed, or the server drains.
    End,
}

/// The answer that was sent last, for the access log.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Answered {
    pub(in crate::http) status: Option<StatusCode>,
    /// Bytes of the body, without its framing.
    pub(in crate::http) bytes: u64,
}

/// The body of the current request, unless it is empty. A handler that has taken it can read it
/// until this is dropped.
#[derive(Default)]
struct CurrentBody(Option<Rc<IncomingBody>>);

impl Drop for CurrentBody {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            revoke_and_drop(body);
        }
    }
}

#[cold]
#[inline(never)]
fn revoke_and_drop(body: Rc<IncomingBody>) {
    body.revoke();
}

/// A connection that is not idle, with its current request.
pub(in crate::http) struct ConnIo {
    pub(in crate::http) request: Request,
    pub(in crate::http) connection: Rc<Connection>,
    body: CurrentBody,
    pub(in crate::http) answered: Answered,
}

impl ConnIo {
    #[inline(always)]
    pub(in crate::http) fn new(state: Box<RequestState>, connection: Rc<Connection>) -> Self {
        let mut request = Request::new(state, connection.clone());
        request.cancel_by_default(connection.context.config.cancel_on_disconnect);
        Self {
            request,
            connection,
            body: CurrentBody::default(),
            answered: Answered::default(),
        }
    }

    /// Reads the input that has arrived, without waiting where that is possible. Nothing may be
    /// buffered.
    #[inline(always)]
    pub(in crate::http) fn receive(&mut self) -> Result<Arrival, Error> {
        let connection = &*self.connection;
        let context = &*connection.context;
        connection.idle.set(true);
        let buffer = self.request.received.begin(context.buffers.take_input());
        let idle_end = || deadline_in(context.config.timeouts.idle);
        let result = connection.stream.read_now(buffer, idle_end);
        connection.idle.set(false);
        match result {
            Ok(0) => Ok(Arrival::End),
            Ok(got) => {
                self.request.received.received(got);
                connection.recent.set(true);
                Ok(Arrival::Input)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock if connection.ends_idle() => Ok(Arrival::End),
                // After an interrupt the socket still counts as ready, so it is read again.
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                    connection.idle.set(true);
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
    pub(in crate::http) fn next_head(&mut self) -> Result<Arrival, Error> {
        self.request.received.begin_head();
        self.forget_body();
        let mut deadline = None;
        loop {
            let limits = &self.connection.context.config.limits;
            let Request {
                state, received, ..
            } = &mut self.request;
            if received.has_unread()
                && let Some(len) = state.head.parse(received.unread(), limits)?
            {
                received.end_head(len);
                self.begin_body();
                return Ok(Arrival::Input);
            }
            match self.await_head(&mut deadline)? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(arrival) => return Ok(arrival),
            }
        }
    }

    /// Waits for more of a head, unless none of it has arrived.
    fn await_head(
        &mut self,
        deadline: &mut Option<Deadline>,
    ) -> Result<ControlFlow<Arrival>, Error> {
        self.connection.flush()?;
        let context = &*self.connection.context;
        let Request {
            state, received, ..
        } = &mut self.request;
        if !received.has_unread() {
            if !self.connection.ends_idle() {
                self.connection.idle.set(true);
                return Ok(ControlFlow::Break(Arrival::Nothing));
            }
            // A request that has arrived by now is still answered.
            self.give_buffers();
            return Ok(match self.receive()? {
                Arrival::Input => ControlFlow::Continue(()),
                nothing => ControlFlow::Break(nothing),
            });
        }
        let timeout = context.config.timeouts.head;
        let limit = Limit::At(*deadline.get_or_insert_with(|| deadline_in(timeout)));
        let stream = &self.connection.stream;
        let got = stream
            .read(received.room_for_head(), limit, || Ok(()))
            .map_err(|error| timed_out_in(error, Phase::Head))?;
        received.received(got);
        if got == 0 {
            let limits = &context.config.limits;
            state.head.check_incomplete(received.unread(), limits)?;
            return Err(Error::head_incomplete());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the refused input begins as a HEAD request.
    #[cold]
    pub(in crate::http) fn has_begun_with_head(&self) -> bool {
        let mut unread = self.request.received.unread();
        // RFC 9112 section 2.2: empty lines before a request line are skipped.
        while let [b'\r' | b'\n', rest @ ..] = unread {
            unread = rest;
        }
        unread.starts_with(b"HEAD ")
    }

    #[inline(always)]
    fn begin_body(&mut self) {
        let length = self.request.state.head.framing().body;
        if !matches!(length, BodyLength::None | BodyLength::Known(0)) {
            self.begin_content();
        }
    }

    /// Begins a body that is not empty. Most requests have none.
    #[inline(never)]
    fn begin_content(&mut self) {
        let framing = self.request.state.head.framing();
        // RFC 9110 section 10.1.1: no 100 is due if the body has begun to arrive.
        let owes_continue = framing.expect_continue && !self.request.received.has_unread();
        let connection = self.connection.clone();
        let spare = connection.context.spare_bodies.take();
        let body = IncomingBody::new(connection, framing.body, owes_continue);
        let body = body.in_place_of(spare);
        self.request.body = RequestBody::of_source(body.clone());
        self.body = CurrentBody(Some(body));
    }

    /// Gives back the buffers, with what was received.
    pub(in crate::http) fn give_buffers(&mut self) {
        self.forget_body();
        let buffers = &self.connection.context.buffers;
        buffers.give_input(self.request.received.take_buffer());
        buffers.give_output(self.connection.output.take());
    }

    /// Returns the bytes that were received behind the request, and gives back all buffers.
    pub(in crate::http) fn take_unread(&mut self) -> Box<[u8]> {
        let unread = self.request.received.unread().into();
        self.give_buffers();
        unread
    }

    /// Whether the body was read to its end.
    pub(in crate::http) fn is_done(&self) -> bool {
        self.body.0.as_ref().is_none_or(|body| body.is_done())
    }

    /// Whether the next request can be found once the response is out. That is assumed of a body
    /// that was taken, as it is read meanwhile.
    pub(in crate::http) fn can_go_on(&self) -> bool {
        let body = self.body.0.as_ref();
        body.is_none_or(|body| body.is_taken() || body.can_go_on())
    }

    /// Lets go of the body, whose allocation is used again unless the handler has kept it.
    #[inline(always)]
    fn forget_body(&mut self) {
        if self.body.0.is_some() {
            self.forget_content();
        }
    }

    #[inline(never)]
    fn forget_content(&mut self) {
        if let Some(body) = self.body.0.take() {
            body.revoke();
            self.request.body = RequestBody::default();
            if Rc::strong_count(&body) == 1 {
                self.connection.context.spare_bodies.give(body);
            }
        }
    }

    /// Ends the body for a handler that has taken it.
    #[inline]
    pub(in crate::http) fn end_body(&mut self) {
        if let Some(body) = &self.body.0 {
            revoke(body, &mut self.request.received);
        }
    }

    /// Reads and discards what was left of the body. Returns false if there is too much of it, or
    /// its end was not reached.
    pub(in crate::http) fn drain(&mut self) -> bool {
        self.end_body();
        let Self {
            connection,
            request,
            body,
            ..
        } = self;
        let body = body.0.as_ref();
        body.is_none_or(|body| body.drain(connection, &mut request.received))
    }
}

#[inline(never)]
fn revoke(body: &IncomingBody, received: &mut Received) {
    if let Some(own) = body.revoke() {
        received.push(own.unread());
    }
}
