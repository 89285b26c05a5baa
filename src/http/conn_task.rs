//! Runs the requests of a connection and releases its stack between them.
//!
//! Between two requests the whole state is in [`RequestState`], so the ethread parks without a
//! stack; the freed stack, still warm in the cache, serves the next ethread. An idle connection
//! occupies no stack page.
//!
//! The stack is kept where user frames lie below the request loop: inside `around_connections`, and
//! in the acceptor of a single-threaded taskmaster.
#![forbid(unsafe_code)]

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use super::conn_io::ConnIo;
use super::connection::Connection;
use super::context::Context;
use super::hooks::Observer;
use super::request::{Request, RequestState};
use super::serve::{Turn, break_off, serve};
use super::state::Membership;
use super::transport::{Deadline, deadline_in};
use crate::runtime::base::panic::{drop_payload, message};
use crate::runtime::base::wait::Outcome;
use crate::runtime::task::work::Work;
use crate::thread;

/// The work of a connection's ethread.
pub(super) struct ConnTask {
    // Fields drop in this order: the membership lasts until the connection is closed.
    /// `None` during a turn, and before the first turn, which makes the state.
    request: Option<Box<RequestState>>,
    /// `None` before the first turn, which makes the observer, and without hooks.
    observer: Option<Box<Observer>>,
    /// The deadline for the next request to begin; zero before the first wait for a request.
    deadline: Deadline,
    connection: Rc<Connection>,
    member: Membership,
}

impl ConnTask {
    pub(super) fn new(member: Membership, connection: Rc<Connection>) -> Self {
        Self {
            request: None,
            observer: None,
            deadline: 0,
            connection,
            member,
        }
    }

    fn context(&self) -> &Rc<Context> {
        &self.member.state().context
    }

    /// Makes the next request, with the state that the connection keeps.
    #[inline(always)]
    fn request(&mut self) -> Request {
        Request {
            state: match self.request.take() {
                Some(state) => state,
                None => self.begin(),
            },
            io: ConnIo::new(self.context().clone(), self.connection.clone()),
        }
    }

    /// Makes the state that lives as long as the connection.
    #[inline(never)]
    fn begin(&mut self) -> Box<RequestState> {
        let hooks = self.member.state().hooks.as_deref();
        self.observer = Observer::of(hooks, || self.connection.transport.peer_addr());
        RequestState::new()
    }

    /// Serves the requests that have arrived. Returns whether the connection continues. `late`
    /// means that the deadline for a request has passed. A request may still have arrived in time,
    /// as readiness is reported only by the next wait.
    #[inline]
    fn turn(&mut self, late: bool) -> bool {
        let mut request = self.request();
        let turn = serve(self.member.state(), &mut request, self.observer.as_deref());
        let goes_on = turn == Turn::Idle || (turn == Turn::Nothing && !late);
        if goes_on {
            self.request = Some(request.state);
            // The peer can cause a wake-up without input. That does not extend its time.
            if turn == Turn::Idle || self.deadline == 0 {
                self.deadline = deadline_in(self.context().config.timeouts.idle);
            }
        }
        goes_on
    }

    /// Ends a connection after a wait for its socket failed.
    #[cold]
    fn fail(&mut self, error: io::Error) {
        let mut request = self.request();
        break_off(&mut request, self.observer.as_deref(), &error.into());
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

impl Work<()> for ConnTask {
    fn go_on(&mut self, outcome: Outcome) -> Option<()> {
        let mut late = outcome == Outcome::TimedOut;
        while self.turn(late) {
            match self.connection.transport.park_stackless(self.deadline) {
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

impl Drop for ConnTask {
    fn drop(&mut self) {
        // It holds values that handlers have stored.
        guarded(|| drop(self.request.take()));
    }
}

/// Calls a closure that runs user code. A panic in that code, such as `around_connections` or a
/// destructor, ends the connection, as a panic in a handler does. It does not end the acceptor, in
/// whose ethread the closure may run.
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
