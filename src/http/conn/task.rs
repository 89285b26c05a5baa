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
use std::rc::Rc;

use super::connection::Connection;
use super::deadline::{Deadline, deadline_in};
use super::hooks::Observer;
use super::io::ConnIo;
use super::panics::{guarded, log_panic};
use super::registry::Membership;
use super::serve::{Turn, break_off, serve};
use crate::http::error::Error;
use crate::http::exchange::request::RequestState;
use crate::runtime::base::wait::Outcome;
use crate::runtime::task::work::Work;

/// The work of a connection's ethread.
pub(in crate::http) struct ConnTask {
    // Fields drop in this order: the membership lasts until the connection is closed.
    /// `None` during a turn, and before the first turn, which makes the state.
    state: Option<Box<RequestState>>,
    /// `None` before the first turn, which makes the observer, and without hooks.
    observer: Option<Box<Observer>>,
    /// The deadline for the next request to begin; zero before the first wait for a request.
    deadline: Deadline,
    connection: Rc<Connection>,
    member: Membership,
}

impl ConnTask {
    pub(in crate::http) fn new(member: Membership, connection: Rc<Connection>) -> Self {
        Self {
            state: None,
            observer: None,
            deadline: 0,
            connection,
            member,
        }
    }

    /// Takes up the connection, with the state that it keeps.
    #[inline(always)]
    fn io(&mut self) -> ConnIo {
        let state = match self.state.take() {
            Some(state) => state,
            None => self.begin(),
        };
        ConnIo::new(state, self.connection.clone())
    }

    /// Makes the state that lives as long as the connection.
    #[inline(never)]
    fn begin(&mut self) -> Box<RequestState> {
        let hooks = self.member.state.hooks.as_deref();
        self.observer = Observer::of(hooks, || self.connection.stream.peer_addr());
        RequestState::new()
    }

    /// Serves the requests that have arrived. Returns whether the connection continues, or the
    /// error that has broken it off. `late` means that the deadline for a request has passed. A
    /// request may still have arrived in time, as readiness is reported only by the next wait.
    #[inline]
    fn turn(&mut self, late: bool) -> Result<bool, Error> {
        let mut io = self.io();
        let turn = serve(&self.member.state, &mut io, self.observer.as_deref());
        io.give_buffers();
        let turn = turn?;
        let goes_on = turn == Turn::Idle || (turn == Turn::Nothing && !late);
        if goes_on {
            self.state = Some(io.request.state);
            // The peer can cause a wake-up without input. That does not extend its time.
            if turn == Turn::Idle || self.deadline == 0 {
                self.deadline = deadline_in(self.connection.context.config.timeouts.idle);
            }
        }
        Ok(goes_on)
    }

    /// Ends a connection after a wait for its socket failed.
    #[cold]
    fn fail(&mut self, error: io::Error) -> Error {
        let mut io = self.io();
        let error = break_off(&mut io, self.observer.as_deref(), error.into());
        io.give_buffers();
        error
    }

    /// Serves the connection to its end, on the stack of the caller, inside the program's
    /// `around_connections` closure, if any. Returns the error that has broken it off.
    pub(in crate::http) fn serve(self) -> Result<(), Error> {
        let context = self.connection.context.clone();
        let (mut task, mut result) = (Some(self), Ok(()));
        let mut serve = || {
            if let Some(task) = task.take() {
                result = task.serve_here();
            }
        };
        match &context.config.ethread_hooks.around {
            Some(around) => around(&mut serve),
            None => serve(),
        }
        result
    }

    /// As [`serve`](Self::serve), for a connection that nothing waits for: a panic is logged.
    pub(in crate::http) fn serve_alone(self) {
        // The error was reported when it broke the connection off. A panic, of `around_connections`
        // or a destructor, ends the connection. It does not end the acceptor, in whose ethread this
        // may run.
        guarded("connection", || drop(self.serve()));
    }

    fn serve_here(mut self) -> Result<(), Error> {
        let mut late = false;
        while self.turn(late)? {
            match self.connection.stream.wait(self.deadline) {
                Ok(in_time) => late = !in_time,
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(())
    }
}

impl Work<()> for ConnTask {
    fn go_on(&mut self, outcome: Outcome) -> Option<()> {
        let mut late = outcome == Outcome::TimedOut;
        while let Ok(true) = self.turn(late) {
            match self.connection.stream.park_stackless(self.deadline) {
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
        log_panic("connection", &*payload);
        Ok(())
    }
}

impl Drop for ConnTask {
    fn drop(&mut self) {
        // It holds values that handlers have stored.
        guarded("connection", || drop(self.state.take()));
    }
}
