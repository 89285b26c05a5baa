//! The loop of one connection: read a request, call the handler, send the response.
//!
//! Responses are collected while pipelined requests are in the buffer, and sent before the loop
//! waits for anything: one write for a burst of requests. If a handler waits, the earlier responses
//! are sent meanwhile: see [`flusher`](super::flusher).
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::rc::Rc;

use http::{StatusCode, Version};

use super::connection::{COLLECT, Connection};
use super::file::send_file;
use super::hooks::Observer;
use super::io::{Answered, Arrival, ConnIo};
use super::panics::guarded;
use super::proxy;
use super::registry::ServerState;
use super::upgrade::{self, Switch, TakeOver};
use crate::http::admission::{Decision, Place, Slot};
use crate::http::error::{Error, HandlerError, WithCauses, log_error_of};
use crate::http::exchange::draining::DrainSlot;
use crate::http::exchange::request::{Carrier, Request};
use crate::http::message::{Body, BodyWriter, Content, IntoResponse, Response};
use crate::http::proto::encode::{
    AnswerTo, LAST_CHUNK, Plan, ResponseBody, encode_head, encode_tunnel_head, write_chunk,
};
use crate::thread;

/// What happens to a connection after a response.
enum Next {
    Request,
    /// Close; no more input is expected.
    Close,
    /// Close, but the peer may still be sending.
    Linger,
}

/// How a connection continues after a turn.
pub(in crate::http) enum Turn {
    /// The connection waits for input; no request is in progress.
    Idle,
    /// As `Idle`, and no input had arrived in this turn.
    Nothing,
    /// The request waits for a slot at this place.
    Queued(Place),
    Over,
}

/// Serves the requests that have arrived, after the one that has waited at `place`. Returns the
/// error that has broken the connection off.
// Inlined into its only caller, so that the state of the loop stays in registers.
#[inline(always)]
pub(in crate::http) fn serve(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
    place: Option<Place>,
) -> Result<Turn, Error> {
    if let Some(place) = place {
        match go_on_with(state, io, observer, place) {
            Ok(Next::Request) => {}
            ended => return end(io, observer, ended),
        }
    } else {
        match io.receive() {
            Ok(Arrival::Input) if io.connection.expects_proxy_header.get() => {
                if let Err(error) = proxy::take_header(io) {
                    return Err(break_off(io, observer, error));
                }
                if let Some(observer) = observer {
                    observer.set_peer(Carrier::peer_addr(&*io.connection));
                }
            }
            Ok(Arrival::Input) => {}
            Ok(Arrival::Nothing) => return Ok(Turn::Nothing),
            Ok(Arrival::End) => return Ok(Turn::Over),
            Err(error) => return give_up(state, io, observer, error),
        }
    }
    loop {
        let next = match io.next_head() {
            Ok(Arrival::Input) => match (state.admission.slot(), observer) {
                (Some(slot), None) => answer(state, io, None, slot),
                (Some(slot), Some(observer)) => answer_observed(state, io, observer, slot),
                (None, observer) => match without_slot(state, io, observer) {
                    Ok(ControlFlow::Continue(next)) => Ok(next),
                    Ok(ControlFlow::Break(place)) => return Ok(Turn::Queued(place)),
                    Err(error) => Err(error),
                },
            },
            Ok(Arrival::Nothing) => return Ok(Turn::Idle),
            Ok(Arrival::End) => return Ok(Turn::Over),
            Err(error) => return give_up(state, io, observer, error),
        };
        match next {
            // More input may be buffered.
            Ok(Next::Request) => {}
            ended => return end(io, observer, ended),
        }
    }
}

/// Ends a connection after a response.
#[inline(never)]
fn end(
    io: &mut ConnIo,
    observer: Option<&Observer>,
    next: Result<Next, Error>,
) -> Result<Turn, Error> {
    match next {
        Ok(Next::Linger) => io.connection.linger(),
        Ok(_) => {}
        Err(error) => return Err(break_off(io, observer, error)),
    }
    Ok(Turn::Over)
}

/// Goes on with a request that has waited until it has its slot, or for too long.
#[cold]
#[inline(never)]
fn go_on_with(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
    place: Place,
) -> Result<Next, Error> {
    let next = if let Some(slot) = place.slot() {
        answer(state, io, observer, slot)
    } else {
        drop(place);
        state.count_refusal();
        turn_away(state, io, "queued for too long")
    };
    if let Some(observer) = observer {
        observer.end(io, false, next.is_ok());
        end_exchange(io);
    }
    next
}

/// Ends a connection whose input is no valid request, after an answer where there can be one.
#[cold]
#[inline(never)]
fn give_up(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
    error: Error,
) -> Result<Turn, Error> {
    let refused = match error.status() {
        Some(_) => refuse(state, io, observer, &error),
        None => Err(error),
    };
    match refused {
        Ok(()) => {
            io.connection.linger();
            Ok(Turn::Over)
        }
        Err(error) => Err(break_off(io, observer, error)),
    }
}

/// Ends a connection that cannot go on, and returns the error.
#[cold]
#[inline(never)]
pub(in crate::http) fn break_off(
    io: &mut ConnIo,
    observer: Option<&Observer>,
    error: Error,
) -> Error {
    log::debug!("connection ended: {}", WithCauses(&error));
    io.connection.context.counts.broken_off.add_one();
    if let Some(observer) = observer {
        observer.report_error(&io.connection, &error);
    }
    io.connection.break_off();
    error
}

/// Decides about a request for which no slot was at hand.
#[cold]
#[inline(never)]
fn without_slot(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
) -> Result<ControlFlow<Place, Next>, Error> {
    // The responses to earlier requests do not wait, and a client that does not read them holds up
    // no queue.
    if state.admission.is_full() {
        io.connection.flush()?;
    }
    let me = thread::current();
    let decision = state.admission.decide(move || me.unpark());
    match (decision, observer) {
        (Decision::Handle(slot), None) => answer(state, io, None, slot),
        (Decision::Handle(slot), Some(observer)) => answer_observed(state, io, observer, slot),
        (Decision::Queue(place), observer) => {
            io.answered = Answered::default();
            if let Some(observer) = observer {
                observer.begin();
            }
            io.connection.flush()?;
            return Ok(ControlFlow::Break(place));
        }
        (Decision::Refuse, observer) => {
            io.answered = Answered::default();
            if let Some(observer) = observer {
                observer.begin();
            }
            let result = turn_away(state, io, "too many requests");
            if let Some(observer) = observer {
                observer.end(io, false, result.is_ok());
            }
            result
        }
    }
    .map(ControlFlow::Continue)
}

/// Answers a request with 503 instead of handling it.
#[cold]
#[inline(never)]
fn turn_away(state: &ServerState, io: &mut ConnIo, why: &str) -> Result<Next, Error> {
    let next = respond(io, &mut state.overload.response(), None);
    io.request.end_exchange();
    state.overload.log("requests", why, &io.connection.context);
    next
}

/// As [`answer`], for a server with hooks.
#[cold]
#[inline(never)]
fn answer_observed(
    state: &ServerState,
    io: &mut ConnIo,
    observer: &Observer,
    slot: Slot<'_>,
) -> Result<Next, Error> {
    io.answered = Answered::default();
    observer.begin();
    let result = answer(state, io, Some(observer), slot);
    observer.end(io, false, result.is_ok());
    end_exchange(io);
    result
}

/// Calls the handler and sends its response. The request holds its slot meanwhile.
#[inline]
fn answer(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
    slot: Slot<'_>,
) -> Result<Next, Error> {
    io.connection.send_early()?;
    io.connection.context.counts.requests.add_one();
    // The conversion into a response is user code too. The response is stored where it is used, as
    // copies of it would be most of the memory that a request touches.
    let mut response = None;
    if state.cancels {
        response = handle_while_connected(state, io);
    } else {
        let handle = || response = Some(state.handler.handle(&mut io.request));
        guarded("handler", handle);
    }
    // Not by the place of the request's state: it may have been freed, and used again.
    if !io.request.is_of(&io.connection) {
        return Err(request_replaced(&io.connection));
    }
    let response = response.get_or_insert_with(internal_error);
    if response.has_aside() {
        guarded("text of an error", || log_error_of(response));
        upgrade::mark_tunnel(response);
        for slot in response.held::<DrainSlot>() {
            slot.fill(&io.connection.context.drain_begun);
        }
    }
    let next = if response.status().is_informational() {
        answer_with_interim(io, observer, response, slot)
    } else {
        respond(io, response, Some(slot))
    };
    if response.has_aside() {
        drop_aside(response);
    }
    // The hook of an observer sees the route and the values.
    if observer.is_none() {
        end_exchange(io);
    }
    next
}

/// Lets go of what routing and the program have kept with a request that was answered.
#[inline(always)]
fn end_exchange(io: &mut ConnIo) {
    if io.request.has_values() {
        drop_values(io);
    }
    io.request.end_exchange();
}

/// Calls a handler that ends when the client leaves.
#[cold]
#[inline(never)]
fn handle_while_connected(state: &ServerState, io: &mut ConnIo) -> Option<Response> {
    let handle = |request: &mut Request| guarded("handler", || state.handler.handle(request));
    let handled = io.request.while_connected(handle);
    handled.unwrap_or_else(|| Some(HandlerError::client_left().into_response()))
}

/// Drops what the program has kept with a response. A destructor that panics does not cost the
/// answer, which may still be in the output.
#[cold]
#[inline(never)]
fn drop_aside(response: &mut Response) {
    guarded("destructor", || response.drop_aside());
}

/// Drops what the program has kept with a request, as [`drop_aside`].
#[cold]
#[inline(never)]
fn drop_values(io: &mut ConnIo) {
    guarded("destructor", || io.request.drop_values());
}

/// Ends a connection whose handler has put another request into the place of its own, and with it
/// the bytes that were received.
#[cold]
#[inline(never)]
fn request_replaced(connection: &Connection) -> Error {
    log::error!(
        "connection closed in ethread {}: its handler has replaced the request; take the body out \
         with `take_body` instead",
        thread::current()
    );
    // The request may live on, and with it the stream.
    let _ = connection.flush();
    let _ = connection.stream.shutdown(Shutdown::Both);
    connection.write_failed.set(true);
    Error::response_failed(io::Error::other("the handler has replaced the request"))
}

/// The answer to a request whose handler panicked.
#[cold]
#[inline(never)]
fn internal_error() -> Response {
    Response::internal_error().with_header("connection", "close")
}

/// Sends the response to a request that was read.
#[inline(always)]
fn respond(
    io: &mut ConnIo,
    response: &mut Response,
    slot: Option<Slot<'_>>,
) -> Result<Next, Error> {
    let answer = AnswerTo {
        version: io.request.state.head.version(),
        is_head: io.request.state.head.is_head(),
        keep_alive: io.request.state.head.framing().keep_alive
            && io.can_go_on()
            && io.connection.context.config.persistent
            && !io.connection.context.draining.get()
            && !io.connection.leaves.get(),
    };
    let keep_alive = send(io, answer, response)?;
    io.end_body();
    if !keep_alive {
        io.connection.flush()?;
        // A peer that did not ask to close may have sent its next request already.
        let done = io.is_done() && !io.request.received.has_unread();
        let expected = !io.request.state.head.framing().keep_alive;
        return Ok(if done && expected {
            Next::Close
        } else {
            Next::Linger
        });
    }
    if !io.is_done() {
        io.connection.flush()?;
        // A peer that goes on sending what is not read holds no slot.
        drop(slot);
        if !io.drain() {
            return Ok(Next::Linger);
        }
    }
    Ok(Next::Request)
}

/// Answers with 101 and hands the connection over, or answers with a refusal.
#[cold]
#[inline(never)]
fn answer_with_interim(
    io: &mut ConnIo,
    observer: Option<&Observer>,
    response: &mut Response,
    slot: Slot<'_>,
) -> Result<Next, Error> {
    if let Err(fault) = response.make_final() {
        log::error!("a handler gave a response that cannot be sent: {fault}");
        return respond(io, response, Some(slot));
    }
    match upgrade::prepare(io, response) {
        Switch::Refused(mut refusal) => respond(io, &mut refusal, Some(slot)),
        Switch::Tunnel(take_over) => {
            send_tunnel_head(io, response)?;
            switch(io, observer, slot, take_over)
        }
        Switch::Agreed(take_over) => {
            let answer = AnswerTo {
                version: Version::HTTP_11,
                is_head: false,
                keep_alive: false,
            };
            send(io, answer, response)?;
            switch(io, observer, slot, take_over)
        }
    }
}

/// Hands the connection over, behind the head that announces it.
fn switch(
    io: &mut ConnIo,
    observer: Option<&Observer>,
    slot: Slot<'_>,
    take_over: TakeOver,
) -> Result<Next, Error> {
    io.connection.flush()?;
    drop(slot);
    // From here on the connection speaks another protocol.
    if let Some(observer) = observer {
        observer.end(io, false, true);
    }
    Ok(if upgrade::hand_over(io, take_over) {
        Next::Linger
    } else {
        Next::Close
    })
}

/// Collects the head of a response behind which a tunnel begins.
fn send_tunnel_head(io: &mut ConnIo, response: &Response) -> Result<(), Error> {
    let context = &io.connection.context;
    let mut output = io.connection.output.borrow_mut();
    let headers = response.headers();
    context.with_head_cache(|cache| encode_tunnel_head(&mut output, headers, cache));
    io.answered.status = Some(StatusCode::OK);
    Ok(())
}

/// Answers input that is no valid request.
fn refuse(
    state: &ServerState,
    io: &mut ConnIo,
    observer: Option<&Observer>,
    error: &Error,
) -> Result<(), Error> {
    log::debug!("refused a request: {}", WithCauses(error));
    if let Some(observer) = observer {
        observer.report_error(&io.connection, error);
    }
    let answer = AnswerTo {
        version: Version::HTTP_11,
        // RFC 9110 section 9.3.2: no content in answer to HEAD, not even an explanation.
        is_head: io.has_begun_with_head(),
        keep_alive: false,
    };
    let render = || state.handler.refuse(error, None);
    let mut response = guarded("handler", render).unwrap_or_else(internal_error);
    if response.has_aside() {
        guarded("text of an error", || log_error_of(&mut response));
    }
    if let Err(fault) = response.make_final() {
        log::error!("a handler gave a response that cannot be sent: {fault}");
    }
    io.answered = Answered::default();
    let sent = send(io, answer, &mut response);
    let sent = sent.and_then(|_| io.connection.flush());
    if let Some(observer) = observer {
        observer.end(io, true, sent.is_ok());
    }
    sent
}

/// Sends a response, or collects it to be sent with other responses. Returns whether the connection
/// is kept.
#[inline(always)]
fn send(io: &mut ConnIo, answer: AnswerTo, response: &mut Response) -> Result<bool, Error> {
    let context = &io.connection.context;
    let mut output = io.connection.output.borrow_mut();
    if output.capacity() == 0 {
        *output = context.buffers.take_output();
    }
    let (status, headers, len) = (response.status(), response.headers(), response.body().len());
    let plan = context
        .with_head_cache(|cache| encode_head(&mut output, answer, status, headers, len, cache));
    io.answered.status = Some(status);
    let is_full = output.len() >= COLLECT;
    drop(output);
    if is_full {
        io.connection.flush()?;
    }
    if plan.body != ResponseBody::None {
        match response.body().as_bytes() {
            Some(bytes) => {
                send_bytes(io, bytes)?;
                io.answered.bytes = bytes.len() as u64;
            }
            None => send_stream(io, plan, mem::take(response.body_mut()))?,
        }
    }
    Ok(plan.keep_alive)
}

/// Sends a body that is not in memory. If it breaks off or has the wrong length, the connection
/// ends: the peer must not take the part for the whole.
fn send_stream(io: &mut ConnIo, plan: Plan, body: Body) -> Result<(), Error> {
    let result = match body.into_content() {
        Content::Empty | Content::Static(_) | Content::Bytes(_) | Content::TakeOver(_) => Ok(()),
        Content::File { file, offset, len } => send_file(io, file, offset, len),
        Content::Reader { mut reader, .. } => stream(io, plan, move |out| {
            let buffers = &out.connection.context.buffers;
            let mut buffer = buffers.take_input();
            let result = match plan.body {
                ResponseBody::Length(length) => copy(&mut reader.take(length), out, &mut buffer),
                _ => copy(&mut reader, out, &mut buffer),
            };
            buffers.give_input(buffer);
            result
        }),
        Content::Writer { write, .. } => stream(io, plan, |out| write(&mut BodyWriter::new(out))),
    };
    if let Err(error) = &result
        && !io.connection.write_failed.get()
    {
        log::warn!("a response was broken off: {}", WithCauses(error));
    }
    result
}

fn send_bytes(io: &mut ConnIo, bytes: &[u8]) -> Result<(), Error> {
    let mut output = io.connection.output.borrow_mut();
    if output.len() + bytes.len() <= COLLECT {
        output.extend_from_slice(bytes);
        return Ok(());
    }
    drop(output);
    io.connection.send(bytes)
}

fn copy(reader: &mut dyn Read, out: &mut Outgoing<'_>, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                out.write_all(&buffer[..got])?;
                // The peer gets this piece while the reader waits for the next one.
                out.frame_pending()?;
                out.connection.send_early()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a body that is produced while it is sent.
#[inline(never)]
fn stream(
    io: &mut ConnIo,
    plan: Plan,
    produce: impl FnOnce(&mut Outgoing<'_>) -> io::Result<()>,
) -> Result<(), Error> {
    let connection = &io.connection;
    let pending = connection.context.buffers.take_output();
    connection.send_early()?;
    let mut out = Outgoing {
        connection,
        framing: plan.body,
        pending,
        sent: 0,
    };
    let produce = || guarded("response body", || produce(&mut out));
    let produced = match io.request.cancels() {
        false => produce(),
        true => connection
            .stream
            .while_connected(produce)
            .unwrap_or_else(|| Some(Err(client_left(connection)))),
    };
    let result = match produced {
        Some(Ok(())) => out.finish(),
        // A write failed, so the error is the connection's, not the producer's.
        Some(Err(error)) if connection.write_failed.get() => Err(error.into()),
        Some(Err(error)) => Err(Error::response_failed(error)),
        None => Err(Error::response_failed(io::Error::other("it panicked"))),
    };
    io.answered.bytes = out.sent;
    connection.context.buffers.give_output(out.pending);
    result
}

/// The error of a response body that ends as the client has left, to which nothing more is sent.
#[cold]
fn client_left(connection: &Connection) -> io::Error {
    // Earlier responses: the client may have ended its writing side only.
    let _ = connection.flush();
    connection.write_failed.set(true);
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client has left")
}

/// The sink of a streamed body.
struct Outgoing<'a> {
    connection: &'a Rc<Connection>,
    framing: ResponseBody,
    /// Small writes, collected into one chunk.
    pending: Vec<u8>,
    /// Bytes taken from the handler.
    sent: u64,
}

impl Outgoing<'_> {
    /// Frames the pending bytes and moves them to the output.
    fn frame_pending(&mut self) -> Result<(), Error> {
        let mut output = self.connection.output.borrow_mut();
        match self.framing {
            ResponseBody::Chunked => write_chunk(&mut output, &self.pending),
            _ => output.extend_from_slice(&self.pending),
        }
        self.pending.clear();
        if output.len() < COLLECT {
            return Ok(());
        }
        drop(output);
        self.connection.flush()
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.frame_pending()?;
        match self.framing {
            ResponseBody::Chunked => {
                let mut output = self.connection.output.borrow_mut();
                output.extend_from_slice(LAST_CHUNK);
                Ok(())
            }
            ResponseBody::Length(declared) if self.sent < declared => {
                self.connection.flush()?;
                Err(Error::response_too_short(declared, self.sent))
            }
            _ => Ok(()),
        }
    }
}

impl Write for Outgoing<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let ResponseBody::Length(declared) = self.framing
            && self.sent + data.len() as u64 > declared
        {
            return Err(Error::response_too_long(declared).into());
        }
        // A large piece is taken in parts, so that a body of any size needs little memory.
        let data = &data[..data.len().min(COLLECT)];
        self.pending.extend_from_slice(data);
        self.sent += data.len() as u64;
        if self.pending.len() >= COLLECT / 2 {
            self.frame_pending()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.frame_pending()?;
        Ok(self.connection.flush()?)
    }
}
