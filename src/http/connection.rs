//! The loop of one connection: read a request, call the handler, send the response.
//!
//! Responses are collected while pipelined requests are waiting in the buffer, and sent before the
//! loop waits for anything: one write for a burst of requests. If a handler waits, the answers
//! before its own go out all the same: see `early`.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io::{self, Read, Write};
use std::mem;
use std::panic::AssertUnwindSafe;

use http::{Method, Version};

use super::body::{Answered, Arrival, Incoming};
use super::error::{Error, WithCauses};
use super::file::send_file;
use super::message::{Body, BodyWriter, Content, IntoResponse, Response};
use super::proto::encode::{AnswerTo, LAST_CHUNK, Plan, ResponseBody, encode_head, write_chunk};
use super::request::Request;
use super::shared::Shared;
use super::upgrade::{self, Switch};
use crate::runtime::base::panic::{drop_payload, message};
use crate::thread;

/// Output that is collected before it is sent, and the largest body that is copied to its head.
/// Beyond it a second piece of a vectored write is cheaper than the copy.
pub(super) const COLLECT: usize = 16 * 1024;

/// What becomes of a connection after a response.
enum Next {
    Request,
    /// Close; nothing is under way.
    Close,
    /// Close, but the peer may still be sending.
    Linger,
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Once input has arrived: nothing is under way.
    Idle,
    /// Likewise, and nothing had come this time.
    Nothing,
    Over,
}

/// Serves the requests that have arrived.
pub(super) fn serve(shared: &Shared, request: &mut Request) -> Turn {
    let mut arrival = request.incoming.receive();
    if matches!(arrival, Ok(Arrival::Nothing)) {
        return Turn::Nothing;
    }
    loop {
        if matches!(arrival, Ok(Arrival::Input)) {
            arrival = request.incoming.next_head(&mut request.kept.head);
        }
        let next = match arrival {
            Ok(Arrival::Nothing) => return Turn::Idle,
            Ok(Arrival::End) => return Turn::Over,
            Ok(Arrival::Input) if request.kept.observer.is_some() => {
                answer_observed(shared, request)
            }
            Ok(Arrival::Input) => answer(shared, request),
            Err(error) => refuse(request, &error),
        };
        match next {
            // Perhaps there is more.
            Ok(Next::Request) => arrival = Ok(Arrival::Input),
            Ok(Next::Close) => return Turn::Over,
            Ok(Next::Linger) => {
                request.incoming.linger();
                return Turn::Over;
            }
            Err(error) => {
                break_off(request, &error);
                return Turn::Over;
            }
        }
    }
}

/// Ends a connection that cannot go on.
#[cold]
pub(super) fn break_off(request: &mut Request, error: &Error) {
    log::debug!("connection ended: {}", WithCauses(error));
    request.report_error(error);
    request.incoming.break_off();
}

/// As [`answer`], for a server with hooks.
#[cold]
#[inline(never)]
fn answer_observed(shared: &Shared, request: &mut Request) -> Result<Next, Error> {
    request.incoming.answered = Answered::default();
    if let Some(observer) = &request.kept.observer {
        observer.begin();
    }
    let result = answer(shared, request);
    request.report(false, result.is_ok());
    result
}

/// Calls the handler and sends its response.
#[inline]
fn answer(shared: &Shared, request: &mut Request) -> Result<Next, Error> {
    request.incoming.send_early();
    // The conversion into a response is the handler's too. The response is used where it lies, as
    // its copies would be most of the memory that a request touches.
    let handle = AssertUnwindSafe(|| shared.handler.handle(request));
    let mut result = thread::catch_panic(handle);
    let mut failed = None;
    let response = match &mut result {
        Ok(response) => response,
        Err(payload) => failed.insert(internal_error(&**payload)),
    };
    respond(request, response)
}

/// The answer to a request whose handler panicked.
#[cold]
#[inline(never)]
fn internal_error(payload: &(dyn Any + Send)) -> Response {
    let text = message(payload);
    log::error!("handler panicked in ethread {}: {text}", thread::current());
    Response::internal_error().with_header("connection", "close")
}

/// Sends the response to a request that was read.
#[inline(always)]
fn respond(request: &mut Request, response: &mut Response) -> Result<Next, Error> {
    if response.status().is_informational() {
        return answer_with_interim(request, response);
    }
    let incoming = &mut request.incoming;
    let answer = AnswerTo {
        version: request.kept.head.version(),
        is_head: *request.kept.head.method() == Method::HEAD,
        keep_alive: request.kept.head.framing().keep_alive
            && incoming.can_go_on()
            && incoming.shared.config.persistent
            && !incoming.shared.is_draining(),
    };
    let keep_alive = send(incoming, answer, response)?;
    if !keep_alive {
        incoming.flush()?;
        // A peer that did not ask for the end may have sent its next request already.
        let done = incoming.is_done() && !incoming.has_more();
        let expected = !request.kept.head.framing().keep_alive;
        return Ok(if done && expected {
            Next::Close
        } else {
            Next::Linger
        });
    }
    if !incoming.is_done() {
        incoming.flush()?;
        if !incoming.drain() {
            return Ok(Next::Linger);
        }
    }
    Ok(Next::Request)
}

/// Answers with 101 and hands the connection over, or answers why not.
#[cold]
#[inline(never)]
fn answer_with_interim(request: &mut Request, response: &mut Response) -> Result<Next, Error> {
    if let Err(fault) = response.make_final() {
        log::error!("a handler gave a response that cannot be sent: {fault}");
        return respond(request, response);
    }
    match upgrade::prepare(request, response) {
        Switch::Refused(mut refusal) => respond(request, &mut refusal),
        Switch::Agreed(take_over) => {
            let answer = AnswerTo {
                version: Version::HTTP_11,
                is_head: false,
                keep_alive: false,
            };
            send(&mut request.incoming, answer, response)?;
            request.incoming.flush()?;
            // What follows is another protocol's.
            request.report(false, true);
            Ok(if upgrade::hand_over(request, take_over) {
                Next::Linger
            } else {
                Next::Close
            })
        }
    }
}

/// Answers input that is no request, where that is possible, and closes.
#[cold]
#[inline(never)]
fn refuse(request: &mut Request, error: &Error) -> Result<Next, Error> {
    log::debug!("refused a request: {}", WithCauses(error));
    request.report_error(error);
    let Some(status) = error.status() else {
        return Ok(Next::Close);
    };
    let answer = AnswerTo {
        version: Version::HTTP_11,
        // RFC 9110 section 9.3.2: no content in answer to HEAD, not even this.
        is_head: request.incoming.has_begun_with_head(),
        keep_alive: false,
    };
    // RFC 9110 section 15.5: with an explanation.
    let text = format!(
        "{}: {error}\n",
        status.canonical_reason().unwrap_or_default()
    );
    request.incoming.answered = Answered::default();
    let sent = send(
        &mut request.incoming,
        answer,
        &mut (status, text).into_response(),
    );
    let sent = sent.and_then(|_| request.incoming.flush());
    request.report(true, sent.is_ok());
    sent.map(|()| Next::Linger)
}

/// Sends a response, or collects it to be sent with others; whether the connection lives on.
#[inline(always)]
fn send(incoming: &mut Incoming, answer: AnswerTo, response: &mut Response) -> Result<bool, Error> {
    let shared = &incoming.shared;
    let mut output = incoming.connection.output.borrow_mut();
    if output.capacity() == 0 {
        *output = shared.buffers.take_output();
    }
    let (status, headers, len) = (response.status(), response.headers(), response.body().len());
    let plan = shared
        .with_opening(|opening| encode_head(&mut output, answer, status, headers, len, opening));
    incoming.answered.status = Some(status);
    let is_full = output.len() >= COLLECT;
    drop(output);
    if is_full {
        incoming.flush()?;
    }
    if plan.body != ResponseBody::None {
        match response.body().as_bytes() {
            Some(bytes) => {
                send_bytes(incoming, bytes)?;
                incoming.answered.bytes = bytes.len() as u64;
            }
            None => send_stream(incoming, plan, mem::take(response.body_mut()))?,
        }
    }
    Ok(plan.keep_alive)
}

fn send_stream(incoming: &mut Incoming, plan: Plan, body: Body) -> Result<(), Error> {
    match body.into_content() {
        Content::Empty | Content::Static(_) | Content::Bytes(_) | Content::TakeOver(_) => Ok(()),
        Content::File { file, offset, len } => send_file(incoming, file, offset, len),
        Content::Reader { mut reader, .. } => stream(incoming, plan, move |out| {
            let mut buffer = out.incoming.shared.buffers.take_input();
            let result = match plan.body {
                ResponseBody::Length(length) => copy(&mut reader.take(length), out, &mut buffer),
                _ => copy(&mut reader, out, &mut buffer),
            };
            out.incoming.shared.buffers.give_input(buffer);
            result
        }),
        Content::Writer { write, .. } => {
            stream(incoming, plan, |out| write(&mut BodyWriter::new(out)))
        }
    }
}

fn send_bytes(incoming: &mut Incoming, bytes: &[u8]) -> Result<(), Error> {
    let mut output = incoming.connection.output.borrow_mut();
    if output.len() + bytes.len() <= COLLECT {
        output.extend_from_slice(bytes);
        return Ok(());
    }
    drop(output);
    incoming.send(bytes)
}

fn copy(reader: &mut dyn Read, out: &mut Outgoing<'_>, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                out.write_all(&buffer[..got])?;
                // The peer has this piece while the reader waits for the next one.
                out.frame_pending()?;
                out.incoming.send_early();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a body that is made while it is sent. If it breaks off or has the wrong length, so does
/// the connection: the peer must not take what it has for the whole.
#[inline(never)]
fn stream(
    incoming: &mut Incoming,
    plan: Plan,
    produce: impl FnOnce(&mut Outgoing<'_>) -> io::Result<()>,
) -> Result<(), Error> {
    let pending = incoming.shared.buffers.take_output();
    incoming.send_early();
    let mut out = Outgoing {
        incoming,
        framing: plan.body,
        pending,
        sent: 0,
    };
    let result = thread::catch_panic(AssertUnwindSafe(|| produce(&mut out)));
    let result = match result {
        Ok(Ok(())) => out.finish(),
        // What it says of a write that failed is not its own fault.
        Ok(Err(error)) if out.incoming.write_failed => Err(error.into()),
        Ok(Err(error)) => Err(Error::response_failed(error)),
        Err(payload) => {
            let text = message(&*payload);
            log::error!(
                "response body panicked in ethread {}: {text}",
                thread::current()
            );
            drop_payload(payload);
            Err(Error::response_failed(io::Error::other("it panicked")))
        }
    };
    let pending = mem::take(&mut out.pending);
    out.incoming.answered.bytes = out.sent;
    out.incoming.shared.buffers.give_output(pending);
    if let Err(error) = &result
        && !out.incoming.write_failed
    {
        log::warn!("a response was broken off: {}", WithCauses(error));
    }
    result
}

/// The sink of a streamed body.
struct Outgoing<'a> {
    incoming: &'a mut Incoming,
    framing: ResponseBody,
    /// Small writes on their way to one chunk.
    pending: Vec<u8>,
    /// Bytes taken from the handler.
    sent: u64,
}

impl Outgoing<'_> {
    /// Moves what is pending to the output, framed.
    fn frame_pending(&mut self) -> Result<(), Error> {
        let mut output = self.incoming.connection.output.borrow_mut();
        match self.framing {
            ResponseBody::Chunked => write_chunk(&mut output, &self.pending),
            _ => output.extend_from_slice(&self.pending),
        }
        self.pending.clear();
        if output.len() < COLLECT {
            return Ok(());
        }
        drop(output);
        self.incoming.flush()
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.frame_pending()?;
        match self.framing {
            ResponseBody::Chunked => {
                let mut output = self.incoming.connection.output.borrow_mut();
                output.extend_from_slice(LAST_CHUNK);
                Ok(())
            }
            ResponseBody::Length(declared) if self.sent < declared => {
                self.incoming.flush()?;
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
        // Large pieces are taken bit by bit, so that a body of any size needs little memory.
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
        Ok(self.incoming.flush()?)
    }
}
