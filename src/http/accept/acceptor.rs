//! The acceptor: accepts connections, and serves or refuses each. At the limit of connections it
//! has an idle one closed.
#![forbid(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::backoff::Exhaustion;
use super::listener::{AcceptError, Accepted, classify};
use super::source::AcceptSource;
use crate::http::admission::{Connections, Permit};
use crate::http::conn::connection::Connection;
use crate::http::conn::log_period::LogPeriod;
use crate::http::conn::registry::{Membership, ServerState};
use crate::http::conn::socket::Family;
use crate::http::conn::stream::Stream;
use crate::http::conn::task::ConnTask;
use crate::thread::{self, Thread};

/// The most connections that are refused in one sweep when a server ends. More than any listener's
/// queue holds: net.core.somaxconn has 16 bits unless it is raised by hand.
const SWEEP_LIMIT: usize = 1 << 16;

/// The acceptor of a server that is being served.
pub(in crate::http) struct Acceptor {
    state: Rc<ServerState>,
    connections: Rc<Connections>,
    /// The acceptor's own ethread serves the connections.
    is_alone: bool,
    family: Family,
    /// `None` once no more connections arrive.
    source: RefCell<Option<Rc<AcceptSource>>>,
    /// The ethread that runs the acceptor.
    ethread: OnceCell<Thread>,
    exhaustion: Exhaustion,
    failed: LogPeriod,
}

impl Acceptor {
    pub(in crate::http) fn new(
        state: Rc<ServerState>,
        source: AcceptSource,
        connections: Rc<Connections>,
        is_alone: bool,
    ) -> Rc<Self> {
        if let Some(listener) = source.listener() {
            listener.take_reserve();
        }
        Rc::new(Self {
            state,
            connections,
            is_alone,
            family: source.family(),
            source: RefCell::new(Some(Rc::new(source))),
            ethread: OnceCell::new(),
            exhaustion: Exhaustion::default(),
            failed: LogPeriod::default(),
        })
    }

    /// Runs until no more connections arrive, as the server drains, or until the listener fails.
    pub(in crate::http) fn run(&self) -> io::Result<()> {
        let me = thread::current();
        if let Some(source) = self.source() {
            source.accept_in(&me);
        }
        let _ = self.ethread.set(me);
        while let Some(source) = self.source() {
            let ends = || source.ends(self.state.context.draining.get());
            match source.accept(ends) {
                Ok(Accepted::Connection(socket, peer)) => self.admit(socket, peer),
                Ok(Accepted::OnReserve(socket, error)) => {
                    self.refuse_on_reserve(&source, socket, &error);
                }
                Ok(Accepted::Nothing) if ends() => {
                    // Closed as soon as no connection is pending, so that later ones are refused at
                    // once.
                    self.source.take();
                    self.admit_last(&source);
                }
                Ok(Accepted::Nothing) => {}
                Err(error) => match source.listener() {
                    Some(listener) => self.exhaustion.survive(listener, error)?,
                    None => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Admits the connections that another shard sent between the last check and the sender's end.
    fn admit_last(&self, source: &AcceptSource) {
        if source.listener().is_none() {
            while let Ok(Accepted::Connection(socket, peer)) = source.accept_now() {
                self.admit(socket, peer);
            }
        }
    }

    /// Makes the acceptor check whether the server drains.
    pub(in crate::http) fn wake(&self) {
        match (self.source(), self.ethread.get()) {
            (Some(source), ethread) => source.wake(ethread),
            (None, Some(ethread)) => ethread.unpark(),
            (None, None) => {}
        }
    }

    /// Refuses the pending connections, which are not accepted yet. From then on no peer can
    /// connect. Never waits.
    pub(in crate::http) fn refuse_rest(&self) {
        if let Some(source) = self.source.take() {
            source.close();
            self.sweep(&source);
        }
    }

    fn sweep(&self, source: &AcceptSource) {
        for _ in 0..SWEEP_LIMIT {
            match source.accept_now() {
                Ok(Accepted::Connection(socket, _) | Accepted::OnReserve(socket, _)) => {
                    self.refuse_and_close(source, socket);
                }
                Err(error) if classify(&error) == AcceptError::Connection => {}
                Ok(Accepted::Nothing) | Err(_) => return,
            }
        }
    }

    fn source(&self) -> Option<Rc<AcceptSource>> {
        self.source.borrow().clone()
    }

    /// Serves a new connection, in the place of an idle one at the limit; refuses it if none is
    /// idle.
    fn admit(&self, socket: OwnedFd, peer: Option<SocketAddr>) {
        if self.connections.have_room() {
            return self.begin(socket, peer, self.connections.permit());
        }
        if self.state.close_longest_idle() {
            self.begin(socket, peer, self.connections.permit());
            // The idle one closes before the next one is accepted.
            return thread::yield_now();
        }
        let state = &self.state;
        state.count_refusal();
        state.overload.answer(&self.connection(socket));
        let why = "too many connections, none of them idle";
        state.overload.log("connections", why, &state.context);
    }

    fn refuse_on_reserve(&self, source: &AcceptSource, socket: OwnedFd, error: &io::Error) {
        // This connection does not linger, as it uses the reserve descriptor. A connection that
        // lingers or is idle is closed, to free a descriptor for the next connection.
        self.refuse_and_close(source, socket);
        if !self.state.context.lingering.close_oldest() {
            self.state.close_longest_idle();
        }
        self.exhaustion.refused(error);
    }

    fn refuse_and_close(&self, source: &AcceptSource, socket: OwnedFd) {
        self.state.count_refusal();
        let overload = &self.state.overload;
        overload.answer_and_close(&self.state.context, socket);
        if let Some(listener) = source.listener() {
            listener.take_reserve();
        }
    }

    fn connection(&self, socket: OwnedFd) -> Rc<Connection> {
        let stream = Stream::socket(socket, self.family);
        Connection::new(stream, self.state.context.clone())
    }

    /// Serves a connection: in an ethread of its own, or here if the server has no other.
    fn begin(&self, socket: OwnedFd, peer: Option<SocketAddr>, permit: Permit) {
        let state = &self.state;
        let connection = self.connection(socket);
        let member = Membership::new(state, connection.clone(), peer, Some(permit));
        let place = member.place;
        if self.is_alone {
            state.count_served();
            return ConnTask::new(member, connection).serve_alone();
        }
        let task = ConnTask::new(member, connection.clone());
        let builder = thread::Builder::new()
            .name(state.client_name(peer))
            .stack_size(state.context.config.stack_size);
        let spawned = if state.context.config.ethread_hooks.around.is_some() {
            builder.spawn(move || task.serve_alone())
        } else {
            builder.spawn_work(task)
        };
        match spawned {
            Ok(ethread) => {
                state.count_served();
                state.attach(place, ethread);
            }
            Err(error) => {
                state.count_refusal();
                state.overload.answer(&connection);
                self.failed.tell(|times| {
                    log::error!(
                        "refused {times} connections with 503: no ethread for them: {error}"
                    );
                });
            }
        }
    }
}
