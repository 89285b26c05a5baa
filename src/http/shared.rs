//! What the connections of a server share, on one shard.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::Shutdown;
use std::rc::Rc;

use super::buffers::Buffers;
use super::config::Config;
use super::early::Early;
use super::handler::Handler;
use super::proto::date::DateCache;
use super::transport::Transport;
use crate::runtime::current;
use crate::runtime::driver::wall_seconds;
use crate::runtime::handle::{JoinHandle, Thread};

/// The state of a server that is being served.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) handler: Box<dyn Handler>,
    pub(super) buffers: Buffers,
    pub(super) early: Early,
    date: RefCell<DateCache>,
    /// The turn of the scheduler in which `date` was looked at.
    date_turn: Cell<u64>,
    draining: Cell<bool>,
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

#[derive(Debug)]
struct Member {
    connection: Rc<Connection>,
    ethread: Option<JoinHandle<()>>,
}

impl Shared {
    pub(super) fn new(config: Config, handler: Box<dyn Handler>) -> Self {
        Self {
            handler,
            buffers: Buffers::default(),
            early: Early::default(),
            date: RefCell::new(DateCache::new(wall_seconds(), config.server.as_ref())),
            config,
            date_turn: Cell::new(0),
            draining: Cell::new(false),
            cut: Cell::new(false),
            watcher: RefCell::default(),
            connections: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
        }
    }

    /// Calls `f` with the date; the clock is read once per turn of the scheduler.
    pub(super) fn with_date<R>(&self, f: impl FnOnce(&DateCache) -> R) -> R {
        let turn = current::with(|scheduler| scheduler.map_or(0, |s| s.turn_began()));
        let mut date = self.date.borrow_mut();
        if self.date_turn.replace(turn) != turn {
            date.update(wall_seconds());
        }
        f(&date)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The flag itself, for the acceptor.
    pub(super) fn draining(&self) -> &Cell<bool> {
        &self.draining
    }

    /// No connection lives beyond its current request; idle ones end, unless one has arrived.
    /// `watcher` is unparked when the last one is gone.
    pub(super) fn start_draining(&self, watcher: &Thread) {
        self.draining.set(true);
        *self.watcher.borrow_mut() = Some(watcher.clone());
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
    pub(super) fn enter(&self, connection: Rc<Connection>) -> usize {
        let member = Some(Member {
            connection,
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

    pub(super) fn leave(&self, place: usize) {
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
