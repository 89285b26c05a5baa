//! What the connections of a server share, on one shard.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use super::admission::Permit;
use super::buffers::Buffers;
use super::config::Config;
use super::drain::{CutConnection, CutState};
use super::early::Early;
use super::handler::Handler;
use super::lingering::Lingering;
use super::proto::encode::Opening;
use super::transport::Transport;
use crate::runtime::driver::wall_seconds;
use crate::runtime::scheduler::current;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::thread::Thread;

/// The state of a server that is being served.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) handler: Box<dyn Handler>,
    pub(super) buffers: Buffers,
    pub(super) early: Early,
    pub(super) lingering: Rc<Lingering>,
    opening: RefCell<Opening>,
    /// The turn of the scheduler in which the date of `opening` was looked at.
    date_turn: Cell<u64>,
    draining: Cell<bool>,
    /// While draining: no request is under way to an idle connection any more.
    closes_idle: Cell<bool>,
    /// All connections are cut, also those that may still be accepted.
    cut: Cell<bool>,
    /// Whoever waits for the last connection to end.
    watcher: RefCell<Option<Thread>>,
    connections: RefCell<Vec<Option<Member>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
}

/// One connection, as the server knows it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    /// It waits for a request.
    pub(super) idle: Cell<bool>,
    /// It speaks another protocol by now.
    pub(super) upgraded: Cell<bool>,
    /// What waits to be sent with what follows it.
    pub(super) output: RefCell<Vec<u8>>,
    /// It is among those whose output is looked at.
    pub(super) listed: Cell<bool>,
}

impl Connection {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            idle: Cell::new(false),
            upgraded: Cell::new(false),
            output: RefCell::default(),
            listed: Cell::new(false),
        }
    }
}

#[derive(Debug)]
struct Member {
    connection: Rc<Connection>,
    peer: Option<SocketAddr>,
    /// `None` before it is attached, and where the acceptor serves.
    ethread: Option<JoinHandle<()>>,
}

impl Shared {
    pub(super) fn new(config: Config, handler: Box<dyn Handler>, lingering: Rc<Lingering>) -> Self {
        Self {
            handler,
            lingering,
            buffers: Buffers::default(),
            early: Early::default(),
            opening: RefCell::new(Opening::new(wall_seconds(), config.server.as_ref())),
            config,
            date_turn: Cell::new(0),
            draining: Cell::new(false),
            closes_idle: Cell::new(false),
            cut: Cell::new(false),
            watcher: RefCell::default(),
            connections: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
        }
    }

    /// Calls `f` with what responses open with; the clock is read once per turn of the scheduler.
    #[inline(always)]
    pub(super) fn with_opening<R>(&self, f: impl FnOnce(&mut Opening) -> R) -> R {
        let turn = current::with(|scheduler| scheduler.map_or(0, |s| s.turn_began()));
        let mut opening = self.opening.borrow_mut();
        if self.date_turn.replace(turn) != turn {
            opening.update(wall_seconds());
        }
        f(&mut opening)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether a connection that has nothing to do ends.
    pub(super) fn closes_idle(&self) -> bool {
        self.closes_idle.get()
    }

    /// No connection lives beyond its current request. `watcher` is unparked when the last one is
    /// gone, and when the last one that lingers is.
    pub(super) fn start_draining(&self, watcher: &Thread) {
        self.draining.set(true);
        self.lingering.start_draining(watcher);
        *self.watcher.borrow_mut() = Some(watcher.clone());
    }

    /// Idle connections end, unless a request has arrived.
    pub(super) fn close_idle(&self) {
        self.closes_idle.set(true);
        for member in self.connections.borrow().iter().flatten() {
            if member.connection.idle.get() {
                member.connection.transport.look_again();
            } else if member.connection.upgraded.get() {
                // Whoever reads there meets the end, and may say goodbye. Where it fails the
                // connection is gone.
                let _ = member.connection.transport.shutdown(Shutdown::Read);
            }
        }
    }

    /// Adds a connection, and gives it a place.
    fn enter(&self, connection: Rc<Connection>, peer: Option<SocketAddr>) -> usize {
        let member = Some(Member {
            connection,
            peer,
            ethread: None,
        });
        let mut connections = self.connections.borrow_mut();
        self.count.set(self.count.get() + 1);
        match self.free.borrow_mut().pop() {
            Some(place) => {
                connections[place] = member;
                place
            }
            None => {
                connections.push(member);
                connections.len() - 1
            }
        }
    }

    /// Keeps the handle of a connection's ethread.
    pub(super) fn attach(&self, place: usize, ethread: JoinHandle<()>) {
        if self.cut.get() {
            ethread.cancel();
        }
        if let Some(Some(member)) = self.connections.borrow_mut().get_mut(place) {
            member.ethread = Some(ethread);
        }
    }

    fn leave(&self, place: usize) {
        let member = self.connections.borrow_mut()[place].take();
        self.free.borrow_mut().push(place);
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0
            && let Some(watcher) = &*self.watcher.borrow()
        {
            watcher.unpark();
        }
        drop(member);
    }

    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// Whether no connection is left, not even one that lingers.
    pub(super) fn is_quiet(&self) -> bool {
        self.count.get() == 0 && self.lingering.is_empty()
    }

    /// Those who lose something if they are cut now: idle ones do not.
    pub(super) fn busy(&self) -> Vec<CutConnection> {
        let busy: Vec<_> = {
            let connections = self.connections.borrow();
            let busy = connections.iter().flatten();
            let busy = busy.filter(|member| !member.connection.idle.get());
            busy.map(|member| {
                let ethread = member.ethread.as_ref().map(JoinHandle::thread);
                (ethread.cloned(), member.peer)
            })
            .collect()
        };
        // A name may be the user's to make, so nothing is borrowed.
        let name = |ethread: Option<Thread>, peer| match ethread.as_ref().and_then(Thread::name) {
            Some(name) => name.to_owned(),
            None => self.config.ethread_hooks.client_name(peer),
        };
        busy.into_iter()
            .map(|(ethread, peer)| CutConnection {
                name: name(ethread, peer),
                peer,
                state: CutState::Serving,
            })
            .collect()
    }

    /// Cancels the ethreads of all connections.
    pub(super) fn cut_all(&self) {
        self.cut.set(true);
        for member in self.connections.borrow().iter().flatten() {
            if let Some(ethread) = &member.ethread {
                ethread.cancel();
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("connections", &self.count())
            .finish_non_exhaustive()
    }
}

/// A connection's place among the others, and its permit; both are given back however it ends.
/// A connection that is taken over by its handler would take this along.
#[derive(Debug)]
pub(super) struct Membership {
    shared: Rc<Shared>,
    place: usize,
    /// Dropped last: what counts is the open connection.
    _permit: Permit,
}

impl Membership {
    pub(super) fn new(
        shared: &Rc<Shared>,
        connection: Rc<Connection>,
        peer: Option<SocketAddr>,
        permit: Permit,
    ) -> Self {
        Self {
            place: shared.enter(connection, peer),
            shared: shared.clone(),
            _permit: permit,
        }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.leave(self.place);
    }
}
