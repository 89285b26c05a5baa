//! Who carries a connection from one request to the next.
//!
//! Between two requests a connection needs no stack: what it keeps for the next one is [`Kept`]. So
//! its ethread rests then, and the stack that it gives up is the next one's, while its lines are
//! still in the cache. That is why a server with many connections touches little more memory than
//! one with few, and why an idle connection costs no page.
//!
//! Where something of the program's lies below all requests, the stack stays: the closure of
//! `around_connections`, or the acceptor of a single-threaded taskmaster.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use super::body::Incoming;
use super::connection::{self, Turn, break_off};
use super::request::{Kept, Request};
use super::shared::{Connection, Membership};
use super::transport::{Deadline, deadline_in};
use crate::runtime::base::panic::{drop_payload, message};
use crate::runtime::base::wait::Outcome;
use crate::runtime::task::work::Work;
use crate::thread;

/// A connection, as the work of its ethread.
pub(super) struct Service {
    // The order is that of their ends: what counts as a member is the open connection.
    /// `None` before the first turn, whose ethread it is made in, and during a turn.
    kept: Option<Box<Kept>>,
    /// Until when the next request may begin; zero before the first wait for one.
    deadline: Deadline,
    connection: Rc<Connection>,
    member: Membership,
}

impl Service {
    pub(super) fn new(member: Membership, connection: Rc<Connection>) -> Self {
        Self {
            kept: None,
            deadline: 0,
            connection,
            member,
        }
    }

    /// The request that comes next.
    #[inline(always)]
    fn request(&mut self) -> Request {
        let shared = self.member.shared();
        Request {
            kept: match self.kept.take() {
                Some(kept) => kept,
                None => Kept::new(shared, &self.connection),
            },
            incoming: Incoming::new(shared.clone(), self.connection.clone()),
        }
    }

    /// Serves what has arrived; whether more may come. If it is `late`, the time for a request is
    /// over. Even so one may have arrived within it, as reports come with the next wait only.
    #[inline]
    fn turn(&mut self, late: bool) -> bool {
        let mut request = self.request();
        let turn = connection::serve(self.member.shared(), &mut request);
        let goes_on = turn == Turn::Idle || (turn == Turn::Nothing && !late);
        if goes_on {
            self.kept = Some(request.kept);
            // The peer can cause a wake-up without input. That buys it no time.
            if turn == Turn::Idle || self.deadline == 0 {
                self.deadline = deadline_in(self.member.shared().config.timeouts.idle);
            }
        }
        goes_on
    }

    /// Ends a connection that cannot be waited for.
    #[cold]
    fn fail(&mut self, error: io::Error) {
        break_off(&mut self.request(), &error.into());
    }

    /// Serves the connection to its end, on the stack of the caller.
    pub(super) fn serve(mut self) {
        let mut late = false;
        while self.turn(late) {
            match self.connection.transport.wait(self.deadline) {
                Ok(in_time) => late = !in_time,
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
    }
}

impl Work<()> for Service {
    fn go_on(&mut self, outcome: Outcome) -> Option<()> {
        let mut late = outcome == Outcome::TimedOut;
        while self.turn(late) {
            match self.connection.transport.rest(self.deadline) {
                Ok(true) => return None,
                Ok(false) => late = false,
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
        Some(())
    }

    fn panicked(&mut self, payload: Box<dyn Any + Send>) -> std::thread::Result<()> {
        report_panic(&*payload);
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It holds values of the handler's.
        guarded(|| drop(self.kept.take()));
    }
}

/// Calls what runs code of the user's. Like a handler's, a panic around it, or in a destructor,
/// costs this connection and not the acceptor that it may run in.
pub(super) fn guarded(f: impl FnOnce()) {
    if let Err(payload) = thread::catch_panic(AssertUnwindSafe(f)) {
        report_panic(&*payload);
        drop_payload(payload);
    }
}

#[cold]
fn report_panic(payload: &(dyn Any + Send)) {
    let text = message(payload);
    log::error!(
        "connection panicked in ethread {}: {text}",
        thread::current()
    );
}
