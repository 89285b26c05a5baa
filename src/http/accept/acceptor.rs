//! The acceptor: accepts connections, serves, queues or refuses each as the taskmaster decides, and
//! holds the queue.
//!
//! One ethread runs the acceptor, and only this ethread starts connections. So a permit that is
//! given back does not start a connection itself: it wakes the acceptor, which checks its queue.
#![forbid(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::{Exhaustion, LogPeriod};
use super::listener::{AcceptError, Accepted, classify};
use super::overload::Overload;
use super::source::AcceptSource;
use super::taskmaster::Taskmaster;
use crate::http::admission::{Admission, Bounds, Decision, GlobalLimit, Permit, Place};
use crate::http::conn::connection::Connection;
use crate::http::conn::deadline::{Deadline, deadline_from_now};
use crate::http::conn::registry::{Membership, ServerState};
use crate::http::conn::report::{CutConnection, CutState};
use crate::http::conn::socket::Family;
use crate::http::conn::stream::Stream;
use crate::http::conn::task::ConnTask;
use crate::runtime::base::error::is_elapsed;
use crate::thread::{self, Thread};

/// The most connections that are refused in one sweep when a server ends. More than any listener's
/// queue holds: net.core.somaxconn has 16 bits unless it is raised by hand.
const SWEEP_LIMIT: usize = 1 << 16;

/// The acceptor of a server that is being served.
pub(in crate::http) struct Acceptor {
    state: Rc<ServerState>,
    admission: Rc<Admission>,
    taskmaster: Taskmaster,
    overload: Overload,
    family: Family,
    /// `None` once no more connections arrive.
    source: RefCell<Option<Rc<AcceptSource>>>,
    queue: RefCell<VecDeque<Queued>>,
    /// The ethread that runs the acceptor.
    ethread: OnceCell<Thread>,
    overloaded: LogPeriod,
    exhaustion: Exhaustion,
    failed: LogPeriod,
}

/// A connection in the queue. Dropping it sends no refusal: the code that takes it out of the queue
/// does that.
struct Queued {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    deadline: Deadline,
    place: Place,
}

impl Acceptor {
    pub(in crate::http) fn new(
        state: Rc<ServerState>,
        source: AcceptSource,
        taskmaster: Taskmaster,
        bounds: Bounds,
        global: Option<Arc<GlobalLimit>>,
    ) -> Rc<Self> {
        if let Some(listener) = source.listener() {
            listener.take_reserve();
        }
        Rc::new_cyclic(|this: &std::rc::Weak<Self>| {
            let this = this.clone();
            let freed = move || {
                if let Some(acceptor) = this.upgrade() {
                    acceptor.wake();
                }
            };
            Self {
                admission: Admission::new(bounds, state.context.counts.clone(), global, freed),
                overload: Overload::new(&taskmaster),
                state,
                taskmaster,
                family: source.family(),
                source: RefCell::new(Some(Rc::new(source))),
                queue: RefCell::default(),
                ethread: OnceCell::new(),
                overloaded: LogPeriod::default(),
                exhaustion: Exhaustion::default(),
                failed: LogPeriod::default(),
            }
        })
    }

    /// Runs until no more connections arrive, as the server drains, and the queue is empty; or
    /// until the listener fails.
    pub(in crate::http) fn run(&self) -> io::Result<()> {
        let me = thread::current();
        if let Some(source) = self.source() {
            source.accept_in(&me);
        }
        let _ = self.ethread.set(me);
        while let Some(source) = self.source() {
            let ends = || source.ends(self.state.context.draining.get());
            let look = || ends() || self.admission.has_room_for_queued();
            match source.accept(self.next_in_queue(), look) {
                Ok(Accepted::Connection(socket, peer)) => {
                    // Queued connections arrived first.
                    self.tend_queue();
                    self.admit(socket, peer);
                }
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
                // The queue's deadline has passed. ETIMEDOUT of a pending connection carries an OS
                // error, and the deadline of a scope around the acceptor is recognized by
                // `is_elapsed`.
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && error.raw_os_error().is_none()
                        && !is_elapsed(&error) => {}
                Err(error) => match source.listener() {
                    Some(listener) => self.exhaustion.survive(listener, error)?,
                    None => return Err(error),
                },
            }
            self.tend_queue();
        }
        while let Some(deadline) = self.next_in_queue() {
            let now = deadline_from_now(Duration::ZERO);
            thread::park_timeout(Duration::from_nanos(deadline.saturating_sub(now)));
            self.tend_queue();
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

    /// Makes the acceptor check its queue, and whether the server drains.
    pub(in crate::http) fn wake(&self) {
        match (self.source(), self.ethread.get()) {
            (Some(source), ethread) => source.wake(ethread),
            (None, Some(ethread)) => ethread.unpark(),
            (None, None) => {}
        }
    }

    /// Makes the acceptor check its queue if a queued connection may be served. If this queue is
    /// empty, wakes another shard whose queued connections may be served.
    pub(in crate::http) fn wake_for_queue(&self) {
        if self.admission.has_room_for_queued() {
            self.wake();
        } else {
            self.admission.pass_on();
        }
    }

    /// Refuses all connections that are not served yet: the queued ones, and the pending ones,
    /// which are not accepted yet. From then on no peer can connect. Returns the queued
    /// connections. Never waits.
    pub(in crate::http) fn refuse_rest(&self) -> Vec<CutConnection> {
        let mut cut = Vec::new();
        while let Some(queued) = self.take_from_queue() {
            cut.push(CutConnection {
                name: self.state.client_name(queued.peer),
                peer: queued.peer,
                state: CutState::Queued,
            });
            self.admission.count_refusal();
            self.overload
                .answer_and_close(&self.state.context, queued.socket);
        }
        if let Some(source) = self.source.take() {
            source.close();
            self.sweep(&source);
        }
        cut
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

    fn next_in_queue(&self) -> Option<Deadline> {
        self.queue.borrow().front().map(|queued| queued.deadline)
    }

    fn take_from_queue(&self) -> Option<Queued> {
        self.queue.borrow_mut().pop_front()
    }

    /// Serves queued connections in order while there is room, and refuses connections that have
    /// waited for too long.
    fn tend_queue(&self) {
        if self.next_in_queue().is_none() {
            return;
        }
        let now = deadline_from_now(Duration::ZERO);
        while let Some(mut queued) = self.take_from_queue() {
            match queued.place.into_permit() {
                Ok(permit) => self.begin(queued.socket, queued.peer, permit),
                Err(place) if queued.deadline <= now => {
                    drop(place);
                    self.admission.count_refusal();
                    self.refuse("queued for too long", queued.socket);
                }
                Err(place) => {
                    queued.place = place;
                    self.queue.borrow_mut().push_front(queued);
                    break;
                }
            }
        }
    }

    /// Serves, queues or refuses a new connection, as the taskmaster decides.
    fn admit(&self, socket: OwnedFd, peer: Option<SocketAddr>) {
        match self.admission.decide() {
            Decision::Serve(permit) => self.begin(socket, peer, permit),
            Decision::Queue(place) => self.queue.borrow_mut().push_back(Queued {
                socket,
                peer,
                deadline: deadline_from_now(self.taskmaster.queue_timeout),
                place,
            }),
            Decision::Refuse => self.refuse("too many connections", socket),
        }
    }

    fn refuse(&self, why: &str, socket: OwnedFd) {
        let connection = self.connection(socket);
        self.overload.answer(&connection);
        self.overloaded.tell(|times| {
            let counts = &self.state.context.counts;
            log::warn!("refused {times} connections with 503: {why}; {counts:?}");
        });
    }

    fn refuse_on_reserve(&self, source: &AcceptSource, socket: OwnedFd, error: &io::Error) {
        // This connection does not linger, as it uses the reserve descriptor. The oldest lingering
        // connection is closed, to free a descriptor for the next connection.
        self.refuse_and_close(source, socket);
        self.state.context.lingering.close_oldest();
        self.exhaustion.refused(error);
    }

    fn refuse_and_close(&self, source: &AcceptSource, socket: OwnedFd) {
        self.admission.count_refusal();
        self.overload.answer_and_close(&self.state.context, socket);
        if let Some(listener) = source.listener() {
            listener.take_reserve();
        }
    }

    fn connection(&self, socket: OwnedFd) -> Rc<Connection> {
        let stream = Stream::socket(socket, self.family);
        Connection::new(stream, self.state.context.clone())
    }

    /// Serves a connection: in an ethread of its own, or here if the taskmaster is single-threaded.
    fn begin(&self, socket: OwnedFd, peer: Option<SocketAddr>, permit: Permit) {
        let state = &self.state;
        let connection = self.connection(socket);
        let member = Membership::new(state, connection.clone(), peer, Some(permit));
        let place = member.place;
        if self.taskmaster.is_single_threaded() {
            self.admission.count_served();
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
                self.admission.count_served();
                state.attach(place, ethread);
            }
            Err(error) => {
                self.admission.count_refusal();
                self.overload.answer(&connection);
                self.failed.tell(|times| {
                    log::error!(
                        "refused {times} connections with 503: no ethread for them: {error}"
                    );
                });
            }
        }
    }
}
