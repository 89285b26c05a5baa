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
use crate::runtime::task::{Work, message};
use crate::runtime::wait::Outcome;
use crate::thread;

/// A connection, as the work of its ethread.
pub(super) struct Service {
    // The order is that of their ends: what counts as a member is the open connection.
    /// `None` before the first turn, whose ethread it is made in, and during a turn.
    kept: Option<Box<Kept>>,
    connection: Rc<Connection>,
    member: Membership,
}

impl Service {
    pub(super) fn new(member: Membership, connection: Rc<Connection>) -> Self {
        Self {
            kept: None,
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

    /// Serves what has arrived; whether more may come.
    #[inline]
    fn turn(&mut self) -> bool {
        let mut request = self.request();
        let goes_on = connection::serve(self.member.shared(), &mut request) == Turn::Idle;
        if goes_on {
            self.kept = Some(request.kept);
        }
        goes_on
    }

    /// Ends a connection that cannot be waited for.
    #[cold]
    fn fail(&mut self, error: io::Error) {
        break_off(&mut self.request(), &error.into());
    }

    /// Until when the next request may begin.
    fn idle_deadline(&self) -> Deadline {
        deadline_in(self.member.shared().config.timeouts.idle)
    }

    /// Serves the connection to its end, on the stack of the caller.
    pub(super) fn serve(mut self) {
        while self.turn() {
            match self.connection.transport.wait(self.idle_deadline()) {
                Ok(true) => {}
                Ok(false) => break,
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
        let idle_for_too_long = outcome == Outcome::TimedOut;
        while !idle_for_too_long && self.turn() {
            match self.connection.transport.rest(self.idle_deadline()) {
                Ok(true) => return None,
                Ok(false) => {}
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
