//! The state of a server that is being served, on one shard: its handler, how requests are admitted
//! to it, and its open connections.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slab::Slab;

use super::config::Config;
use super::connection::Connection;
use super::context::Context;
use super::hooks::Hooks;
use super::lingering::Lingering;
use super::overload::Overload;
use super::report::{CutConnection, CutState};
use crate::http::admission::{Admission, Permit};
use crate::http::exchange::handler::Handler;
use crate::runtime::task::join::JoinHandle;
use crate::runtime::task::thread::Thread;

/// What accepting, serving and draining share.
pub(in crate::http) struct ServerState {
    pub(in crate::http) context: Rc<Context>,
    pub(in crate::http) handler: Box<dyn Handler>,
    /// Whether the handler answers CONNECT.
    pub(super) takes_connect: bool,
    pub(in crate::http) hooks: Option<Box<Hooks>>,
    pub(in crate::http) admission: Rc<Admission>,
    /// How long a request may wait for a slot.
    pub(in crate::http) queue_timeout: Duration,
    pub(in crate::http) overload: Overload,
    /// Whether a client that leaves ends the call of the handler.
    pub(in crate::http) cancels: bool,
    /// All connections are cut, including any that are accepted later.
    cut: Cell<bool>,
    /// The ethread that waits for the last connection to end.
    watcher: RefCell<Option<Thread>>,
    connections: RefCell<Slab<Member>>,
    /// All places that were ever taken are below this one.
    places: Cell<usize>,
    /// Where the next search for the connection that is idle for longest begins.
    hand: Cell<usize>,
}

/// How many connections one search looks at, so that a new one costs little while all are busy.
const SEARCHED: usize = 512;

/// How many places one search looks at: many are vacant after a peak.
const SEARCHED_PLACES: usize = 16 * SEARCHED;

struct Member {
    connection: Rc<Connection>,
    peer: Option<SocketAddr>,
    /// `None` before the ethread is attached, and if the acceptor itself serves the connection.
    ethread: Option<JoinHandle<()>>,
}

impl ServerState {
    pub(in crate::http) fn new(
        config: Config,
        handler: Box<dyn Handler>,
        hooks: Option<Box<Hooks>>,
        lingering: Rc<Lingering>,
        (admission, queue_timeout, overload): (Rc<Admission>, Duration, Overload),
    ) -> Self {
        Self {
            cancels: config.cancel_on_disconnect && !handler.cancels_inside(),
            context: Rc::new(Context::new(config, lingering)),
            takes_connect: handler.takes_connect(),
            handler,
            hooks,
            admission,
            queue_timeout,
            overload,
            cut: Cell::new(false),
            watcher: RefCell::default(),
            connections: RefCell::default(),
            places: Cell::new(0),
            hand: Cell::new(0),
        }
    }

    /// Counts a connection as served, once nothing can turn it into a refusal any more.
    pub(in crate::http) fn count_served(&self) {
        self.context.counts.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is answered with 503.
    pub(in crate::http) fn count_refusal(&self) {
        self.context.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Has about the connection that is idle for longest closed, unless a request arrives
    /// meanwhile; false if none is idle.
    ///
    /// A hand goes around the connections, as in the page replacement of that name: one that was
    /// used since the hand came by is passed over, if there is another. So a request costs no more
    /// than a flag.
    pub(in crate::http) fn close_longest_idle(&self) -> bool {
        let connections = self.connections.borrow();
        let (begin, places) = (self.hand.get(), self.places.get());
        let (mut searched, mut found) = (0, 0);
        while searched < SEARCHED_PLACES.min(places) && found < SEARCHED {
            found += usize::from(connections.contains((begin + searched) % places));
            searched += 1;
        }
        for step in 0..2 * searched {
            let place = (begin + step % searched) % places;
            let Some(member) = connections.get(place) else {
                continue;
            };
            let connection = &member.connection;
            let may_leave = connection.idle.get() && !connection.leaves.get();
            if may_leave && !connection.recent.replace(false) && !connection.stream.has_input() {
                self.hand.set(place + 1);
                connection.leave();
                return true;
            }
        }
        self.hand.set(begin + searched);
        false
    }

    /// Answers the requests that wait for a slot with 503, and ends their connections.
    pub(in crate::http) fn refuse_queued(&self) {
        for (_, member) in &*self.connections.borrow() {
            let connection = &member.connection;
            if connection.queued.replace(false) {
                self.count_refusal();
                self.overload.answer(connection);
                connection.write_failed.set(true);
            }
        }
    }

    /// Begins a drain: no connection lives beyond its current request. `watcher` is unparked when
    /// the last served connection is gone, and when the last lingering connection is gone.
    pub(in crate::http) fn start_draining(&self, watcher: &Thread) {
        self.context.begin_draining();
        self.context.lingering.start_draining(watcher);
        *self.watcher.borrow_mut() = Some(watcher.clone());
    }

    /// Ends idle connections, unless a request has arrived, and the reading halves of upgraded
    /// ones.
    pub(in crate::http) fn close_idle(&self) {
        self.context.closes_idle.set(true);
        for (_, member) in &*self.connections.borrow() {
            if member.connection.idle.get() {
                member.connection.stream.look_again();
            } else if member.connection.upgraded.get() {
                // Reads return the end of the stream, and the protocol may still write. The call
                // fails only if the connection is gone.
                let _ = member.connection.stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Adds a connection and returns its place.
    fn enter(&self, connection: Rc<Connection>, peer: Option<SocketAddr>) -> usize {
        let place = self.connections.borrow_mut().insert(Member {
            connection,
            peer,
            ethread: None,
        });
        self.places.set(self.places.get().max(place + 1));
        place
    }

    /// Keeps the handle of a connection's ethread.
    pub(in crate::http) fn attach(&self, place: usize, ethread: JoinHandle<()>) {
        if self.cut.get() {
            ethread.cancel();
        }
        if let Some(member) = self.connections.borrow_mut().get_mut(place) {
            member.ethread = Some(ethread);
        }
    }

    fn leave(&self, place: usize) {
        let member = self.connections.borrow_mut().remove(place);
        if self.connections.borrow().is_empty()
            && let Some(watcher) = &*self.watcher.borrow()
        {
            watcher.unpark();
        }
        drop(member);
    }

    /// Whether no connection is left, neither served nor lingering.
    pub(in crate::http) fn is_quiet(&self) -> bool {
        self.connections.borrow().is_empty() && self.context.lingering.is_empty()
    }

    /// Returns the connections that lose something if they are cut now: all except idle
    /// connections.
    pub(in crate::http) fn busy(&self) -> Vec<CutConnection> {
        let busy: Vec<_> = {
            let connections = self.connections.borrow();
            let busy = connections.iter().map(|(_, member)| member);
            let busy = busy.filter(|member| !member.connection.idle.get());
            let ethread = |member: &Member| Some(member.ethread.as_ref()?.thread().clone());
            let state = |member: &Member| match member.connection.queued.get() {
                true => CutState::Queued,
                false => CutState::Serving,
            };
            busy.map(|member| (ethread(member), member.peer, state(member)))
                .collect()
        };
        // User code may make the name, so nothing is borrowed here.
        let name = |ethread: Option<Thread>, peer| match ethread.as_ref().and_then(Thread::name) {
            Some(name) => name.to_owned(),
            None => self.client_name(peer),
        };
        busy.into_iter()
            .map(|(ethread, peer, state)| CutConnection {
                name: name(ethread, peer),
                peer,
                state,
            })
            .collect()
    }

    /// The name of the ethread of a connection with this peer.
    pub(in crate::http) fn client_name(&self, peer: Option<SocketAddr>) -> String {
        self.context.config.ethread_hooks.client_name(peer)
    }

    /// Closes the streams of all connections.
    pub(in crate::http) fn close_streams(&self) {
        for (_, member) in &*self.connections.borrow() {
            // The call fails only if the connection is gone.
            let _ = member.connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Cancels the ethreads of all connections.
    pub(in crate::http) fn cut_all(&self) {
        self.cut.set(true);
        self.context.drain_begun.begin();
        for (_, member) in &*self.connections.borrow() {
            if let Some(ethread) = &member.ethread {
                ethread.cancel();
            }
        }
    }
}

/// The place of a connection in its [`ServerState`], and its permit. Both are given back on drop,
/// however the connection ends. If a handler took the connection over, this would move along with
/// it.
pub(in crate::http) struct Membership {
    pub(in crate::http) state: Rc<ServerState>,
    pub(in crate::http) place: usize,
    /// Dropped last: the connection counts as long as it is open. `None` for a connection that
    /// needs none.
    _permit: Option<Permit>,
}

impl Membership {
    pub(in crate::http) fn new(
        state: &Rc<ServerState>,
        connection: Rc<Connection>,
        peer: Option<SocketAddr>,
        permit: Option<Permit>,
    ) -> Self {
        Self {
            place: state.enter(connection, peer),
            state: state.clone(),
            _permit: permit,
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.state.leave(self.place);
    }
}
