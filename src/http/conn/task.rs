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
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::deadline::{Deadline, deadline_from_now, deadline_in};
use super::hooks::Observer;
use super::io::ConnIo;
use super::panics::{guarded, log_panic};
use super::proxy;
use super::registry::Membership;
use super::serve::{Turn, break_off, serve};
use crate::http::admission::Place;
use crate::http::error::Error;
use crate::http::exchange::request::RequestState;
use crate::runtime::base::wait::Outcome;
use crate::runtime::scheduler::current;
use crate::runtime::task::work::Work;
use crate::thread;

/// The work of a connection's ethread.
pub(in crate::http) struct ConnTask {
    // Fields drop in this order: the membership lasts until the connection is closed.
    /// `None` during a turn, and before the first turn, which makes the state.
    state: Option<Box<RequestState>>,
    /// The request that waits for a slot.
    queued: Option<Box<Queued>>,
    /// `None` before the first turn, which makes the observer, and without hooks.
    observer: Option<Box<Observer>>,
    /// The deadline for the next request to begin; zero before the first wait for a request.
    deadline: Deadline,
    connection: Rc<Connection>,
    member: Membership,
}

/// A request that waits for a slot, with what was received behind it.
struct Queued {
    place: Place,
    deadline: Deadline,
    io: ConnIo,
}

/// What a connection waits for between two turns.
enum Rest {
    Input,
    /// A slot, until this deadline.
    Slot(Deadline),
    /// Nothing: it has ended.
    Over,
}

impl ConnTask {
    pub(in crate::http) fn new(member: Membership, connection: Rc<Connection>) -> Self {
        Self {
            state: None,
            queued: None,
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
        proxy::expect_header(&self.connection);
        let hooks = self.member.state.hooks.as_deref();
        self.observer = Observer::of(hooks, || self.connection.stream.peer_addr());
        let mut state = RequestState::new();
        state.head.take_connect(self.member.state.takes_connect);
        state
    }

    /// Serves the requests that have arrived, or one that has waited for a slot. Returns the error
    /// that has broken the connection off. `late` means that the deadline of the wait has passed. A
    /// request may still have arrived in time, as readiness is reported only by the next wait.
    #[inline]
    fn turn(&mut self, late: bool) -> Result<Rest, Error> {
        let (mut io, place);
        match self.queued.take() {
            None => (io, place) = (self.io(), None),
            Some(queued) if queued.place.is_granted() || late => {
                self.connection.queued.set(false);
                (io, place) = (queued.io, Some(queued.place));
            }
            Some(queued) => return Ok(self.wait_on(queued)),
        }
        let turn = serve(&self.member.state, &mut io, self.observer.as_deref(), place);
        if let Ok(Turn::Queued(place)) = turn {
            return Ok(self.queue(io, place));
        }
        io.give_buffers();
        let is_idle = match turn? {
            Turn::Idle => true,
            Turn::Nothing => false,
            _ => return Ok(Rest::Over),
        };
        if !is_idle && late {
            return Ok(Rest::Over);
        }
        self.state = Some(io.request.state);
        // The peer can cause a wake-up without input. That does not extend its time.
        if is_idle || self.deadline == 0 {
            self.deadline = deadline_in(self.connection.context.config.timeouts.idle);
        }
        Ok(Rest::Input)
    }

    #[cold]
    #[inline(never)]
    fn queue(&mut self, io: ConnIo, place: Place) -> Rest {
        self.connection.queued.set(true);
        self.wait_on(Box::new(Queued {
            place,
            deadline: deadline_from_now(self.member.state.queue_timeout),
            io,
        }))
    }

    #[cold]
    #[inline(never)]
    fn wait_on(&mut self, queued: Box<Queued>) -> Rest {
        let deadline = queued.deadline;
        self.queued = Some(queued);
        Rest::Slot(deadline)
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
        loop {
            match self.turn(late)? {
                Rest::Input => match self.connection.stream.wait(self.deadline) {
                    Ok(in_time) => late = !in_time,
                    Err(error) => return Err(self.fail(error)),
                },
                Rest::Slot(deadline) => {
                    let now = deadline_from_now(Duration::ZERO);
                    thread::park_timeout(Duration::from_nanos(deadline.saturating_sub(now)));
                    late = deadline <= deadline_from_now(Duration::ZERO);
                }
                Rest::Over => return Ok(()),
            }
        }
    }
}

impl Work<()> for ConnTask {
    fn go_on(&mut self, outcome: Outcome) -> Option<()> {
        let mut late = outcome == Outcome::TimedOut;
        loop {
            let rests = match self.turn(late) {
                Ok(Rest::Input) => self.connection.stream.park_stackless(self.deadline),
                Ok(Rest::Slot(deadline)) => Ok(rest_until_unparked(deadline)),
                Ok(Rest::Over) | Err(_) => return Some(()),
            };
            match rests {
                Ok(true) => return None,
                Ok(false) => late = false,
                Err(error) => {
                    self.fail(error);
                    return Some(());
                }
            }
        }
    }

    fn panicked(&mut self, payload: Box<dyn Any + Send>) -> std::thread::Result<()> {
        log_panic("connection", &*payload);
        Ok(())
    }
}

/// Parks the ethread as its last act on this stack; false if it was unparked before.
#[cold]
#[track_caller]
fn rest_until_unparked(deadline: Deadline) -> bool {
    let location = Location::caller();
    current::with(|scheduler| {
        let scheduler = scheduler.expect("an ethread runs this");
        scheduler.begin_until_unparked(deadline, location)
    })
}

impl Drop for ConnTask {
    fn drop(&mut self) {
        // These hold values that handlers have stored.
        guarded("connection", || drop(self.state.take()));
        guarded("connection", || drop(self.queued.take()));
    }
}
