//! The place where connections leave their requests and the program takes them.
//!
//! ```text
//!  connection                      pending                       program
//!  PullHandler::handle ── suspend ──► queue, or a reader ───► read ──► (Client, Request)
//!       ▲                        outstanding ◄───────────────── write, drop, close
//!       └──────── resume ────────────┘
//! ```
//! A request's connection is in `outstanding` from its arrival until it is taken out to be
//! answered. It can be taken out once, so it is answered once. A connection that was cut meanwhile
//! does not take the answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::Location;
use std::rc::Rc;

use http::StatusCode;

use super::request::Request;
use crate::bridge::suspend::suspend_at;
use crate::bridge::{Exit, Suspended, run_until, suspend};
use crate::http::error::HandlerError;
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request as Connected;
use crate::http::message::{IntoResponse, Response};
use crate::http::server::handle::check_unwinding;
use crate::runtime::RunError;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::scheduler::current;
use crate::runtime::scheduler::unwind::as_io;

/// Makes a response in the ethread of its connection, for another OS thread: a response is not
/// `Send`.
pub(super) type Make = Box<dyn FnOnce() -> Response + Send>;

/// A request on its way to a reader.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) id: u64,
    pub(super) request: Request,
}

/// A connection that waits for its answer.
pub(super) struct Waiting {
    pub(super) me: Suspended<Option<Make>>,
    slot: Rc<Slot>,
}

/// Holds the answer of a program on this shard until the connection takes it.
#[derive(Default)]
pub(super) struct Slot {
    response: Cell<Option<Response>>,
    /// The connection has taken the answer.
    taken: Cell<bool>,
}

impl Slot {
    pub(super) fn is_taken(&self) -> bool {
        self.taken.get()
    }
}

impl Waiting {
    /// Resumes the connection with its answer; an error if the connection no longer waits for it.
    pub(super) fn answer(self, response: Response) -> io::Result<Rc<Slot>> {
        self.slot.response.set(Some(response));
        match self.me.resume(None) {
            Ok(()) => Ok(self.slot),
            Err(_) => Err(gone()),
        }
    }
}

/// The error of an answer that comes too late.
pub(super) fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the request has been answered already: its server was closed, or its connection was cut",
    )
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        .into_response()
        .with_header("connection", "close")
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Requests that arrive are answered with 503.
    Closed,
    /// No request arrives any more.
    Ended,
}

/// A waiter for a request; it is resumed with `None` at the end.
enum Reader {
    Ethread(Suspended<Option<Arrived>>),
    /// The shard's own OS thread.
    Host(Exit<Option<Arrived>>),
}

impl Reader {
    /// Ends the wait; returns the request if the reader has gone.
    fn give(self, arrived: Option<Arrived>) -> Option<Arrived> {
        match self {
            Self::Ethread(ethread) => ethread.resume(arrived).err().flatten(),
            Self::Host(exit) => {
                exit.finish(arrived);
                None
            }
        }
    }
}

/// The state of a pull server.
#[derive(Default)]
pub(super) struct PendingRequests {
    last_number: Cell<u64>,
    phase: Cell<Phase>,
    /// Why the server has ended, until a call has returned the error.
    failure: Cell<Option<io::Error>>,
    /// Requests that have not been read, the oldest first. Empty while a reader waits.
    queue: RefCell<VecDeque<Arrived>>,
    /// The waiting readers by number, which is the order of their arrival.
    readers: RefCell<BTreeMap<u64, Reader>>,
    outstanding: RefCell<BTreeMap<u64, Waiting>>,
}

impl PendingRequests {
    /// A number for a request or a reader.
    fn number(&self) -> u64 {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        number
    }

    /// Takes the oldest request that has not been read.
    pub(super) fn next(&self) -> Option<Arrived> {
        self.queue.borrow_mut().pop_front()
    }

    /// Whether no request comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.phase.get() != Phase::Open
    }

    /// Waits for a request, behind the readers that wait already.
    #[track_caller]
    pub(super) fn wait(&self) -> io::Result<Option<Arrived>> {
        check_unwinding()?;
        let place = self.number();
        // Removes a reader that no longer waits: it was cancelled, or the shard failed.
        let _leave = OnDrop(|| {
            let reader = self.readers.borrow_mut().remove(&place);
            drop(reader);
        });
        let line_up = |reader| {
            self.readers.borrow_mut().insert(place, reader);
        };
        let is_host = current::with(|scheduler| {
            scheduler.is_none_or(|s| !s.in_ethread() && !s.on_scheduler_side())
        });
        if !is_host {
            let location = Location::caller();
            return as_io(|| Ok(suspend_at(location, |me| line_up(Reader::Ethread(me)))));
        }
        run_until(|exit| line_up(Reader::Host(exit))).map_err(|error| match error {
            RunError::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })
    }

    /// Hands a request to the reader that has waited longest, or queues it. Runs on the scheduler's
    /// side.
    fn arrive(&self, mut arrived: Arrived, waiting: Waiting) {
        if self.is_over() {
            // Cannot fail: the connection is parked.
            let _ = waiting.answer(unavailable());
            return;
        }
        self.outstanding.borrow_mut().insert(arrived.id, waiting);
        while let Some(reader) = self.pop_reader() {
            match reader.give(Some(arrived)) {
                Some(returned) => arrived = returned,
                None => return,
            }
        }
        self.queue.borrow_mut().push_back(arrived);
    }

    fn pop_reader(&self) -> Option<Reader> {
        let first = self.readers.borrow_mut().pop_first();
        first.map(|(_, reader)| reader)
    }

    /// Takes out the connection of a request, in order to answer it.
    pub(super) fn take(&self, id: u64) -> Option<Waiting> {
        self.outstanding.borrow_mut().remove(&id)
    }

    /// Answers all requests and ends all readers: from now on no request comes out, and none can be
    /// answered.
    pub(super) fn close(&self) {
        if !self.is_over() {
            self.phase.set(Phase::Closed);
        }
        self.queue.borrow_mut().clear();
        loop {
            let next = self.outstanding.borrow_mut().pop_first();
            let Some((_, waiting)) = next else { break };
            // Fails if the connection was cut, which then needs no answer.
            let _ = waiting.answer(unavailable());
        }
        while let Some(reader) = self.pop_reader() {
            reader.give(None);
        }
    }

    /// As [`close`](Self::close), when the server has ended.
    pub(super) fn end(&self) {
        self.phase.set(Phase::Ended);
        self.close();
    }

    /// Records that the server has failed; the next read returns the error.
    pub(super) fn fail(&self, error: io::Error) {
        self.failure.set(Some(error));
    }

    pub(super) fn take_failure(&self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// The handler of a pull server: leaves its request among the pending ones and waits for the
/// answer.
pub(super) struct PullHandler(pub(super) Rc<PendingRequests>);

impl Handler for PullHandler {
    fn handle(&self, connected: &mut Connected) -> Response {
        // Sends the answers to earlier pipelined requests completely, as `write` promises, although
        // this ethread is about to wait for something else. If that fails, the connection is at its
        // end and the value returned here does not matter.
        if connected.flush().is_err() {
            return Response::default();
        }
        let request = match Request::receive(connected) {
            Ok(request) => request,
            Err(error) => return HandlerError::from(error).into_response(),
        };
        let pending = &*self.0;
        let id = pending.number();
        let slot = Rc::<Slot>::default();
        let theirs = slot.clone();
        let make = suspend(|me| {
            let arrived = Arrived { id, request };
            pending.arrive(arrived, Waiting { me, slot: theirs });
        });
        slot.taken.set(true);
        let Some(make) = make else {
            let response = slot.response.take();
            return response.unwrap_or_else(Response::internal_error);
        };
        make()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread;

    #[test]
    fn readers_that_were_cancelled_do_not_pile_up() {
        let pending = Rc::<PendingRequests>::default();
        let readers: Vec<_> = (0..10)
            .map(|_| {
                let pending = pending.clone();
                thread::spawn(move || pending.wait().is_ok())
            })
            .collect();
        thread::yield_now();
        assert_eq!(pending.readers.borrow().len(), 10);
        for reader in readers {
            reader.cancel();
            assert!(reader.join().is_err());
        }
        assert!(pending.readers.borrow().is_empty());
    }

    #[test]
    fn an_os_thread_that_waits_in_vain_does_not_stay_in_line() {
        let pending = PendingRequests::default();
        let error = pending.wait().expect_err("no reader is there");
        assert!(error.to_string().contains("deadlock"), "{error}");
        assert!(pending.readers.borrow().is_empty());
    }
}
