//! The acceptor of a server on several shards with a single listener: hands the connections to the
//! shards in turn.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use crate::http::accept::backoff::Exhaustion;
use crate::http::accept::handover::{Handed, Sender};
use crate::http::accept::listener::{Accepted, Listener};
use crate::http::conn::context::Context;
use crate::http::conn::lingering::Lingering;
use crate::http::conn::overload::Overload;
use crate::http::server::Server;
use crate::runtime::base::on_drop::OnDrop;
use crate::runtime::task::join::JoinHandle;
use crate::thread::{self, Thread};

/// How long the dispatcher pauses when the queues of all shards are full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The ethread that accepts. Dropping the dispatcher cancels the ethread.
pub(in crate::http) struct Dispatcher {
    accepting: Rc<Accepting>,
    ethread: thread::CancelOnDrop<io::Result<()>>,
}

struct Accepting {
    /// `None` once the server no longer listens.
    listener: RefCell<Option<Rc<Listener>>>,
    /// Empty once no more connections are handed over.
    senders: RefCell<Vec<Sender>>,
    next: Cell<usize>,
    /// For the 503 that the dispatcher itself sends, for example when descriptors run out.
    context: Context,
    overload: Overload,
    exhaustion: Exhaustion,
}

impl Dispatcher {
    /// Starts to accept; `me` is unparked when accepting ends.
    pub(in crate::http) fn start(
        server: &Server,
        listener: Listener,
        senders: Vec<Sender>,
        me: Thread,
    ) -> io::Result<Self> {
        let config = server.plan.config.clone();
        let counts = server.control.counts.clone();
        // Connections linger on the shards only.
        let lingering = Lingering::new(config.timeouts.clone(), 1, counts);
        listener.take_reserve();
        let accepting = Rc::new(Accepting {
            overload: server.plan.taskmaster.overload(),
            context: Context::new(config, lingering),
            listener: RefCell::new(Some(Rc::new(listener))),
            senders: RefCell::new(senders),
            next: Cell::new(0),
            exhaustion: Exhaustion::default(),
        });
        let accepts = accepting.clone();
        let ethread = thread::Builder::new()
            .name(server.plan.listener_name())
            .spawn(move || {
                let _end = OnDrop(|| {
                    accepts.listener.take();
                    // Tells the shards that no more connections come.
                    accepts.senders.take();
                    me.unpark();
                });
                accepts.run()
            })?;
        Ok(Self {
            accepting,
            ethread: ethread.cancel_on_drop(),
        })
    }

    pub(in crate::http) fn is_running(&self) -> bool {
        !self.ethread.is_finished()
    }

    /// Accepts the pending connections, and then ends.
    pub(in crate::http) fn end(&self) {
        self.accepting.context.draining.set(true);
        if let Some(listener) = &*self.accepting.listener.borrow() {
            listener.wake();
        }
    }

    pub(in crate::http) fn join(self) -> io::Result<()> {
        let ethread: JoinHandle<_> = self.ethread.into_inner();
        ethread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the acceptor of the server panicked")))
    }
}

impl Accepting {
    fn run(&self) -> io::Result<()> {
        let listener = self.listener.borrow().clone();
        let listener = listener.expect("it is given up at the end of this");
        loop {
            match listener.accept(|| self.context.draining.get()) {
                Ok(Accepted::Connection(socket, peer)) => self.hand_over((socket, peer)),
                Ok(Accepted::OnReserve(socket, error)) => {
                    self.refuse(socket);
                    listener.take_reserve();
                    self.exhaustion.refused(&error);
                }
                Ok(Accepted::Nothing) if self.context.draining.get() => return Ok(()),
                Ok(Accepted::Nothing) => {}
                Err(error) => self.exhaustion.survive(&listener, error)?,
            }
        }
    }

    fn refuse(&self, socket: OwnedFd) {
        let counts = &self.context.counts;
        counts.refused.fetch_add(1, Ordering::Relaxed);
        self.overload.answer_and_close(&self.context, socket);
    }

    /// Hands a connection to the shard whose turn it is, or to a later one if that shard's server
    /// has ended or its queue is full.
    fn hand_over(&self, mut connection: Handed) {
        loop {
            let mut all_closed = true;
            let count = self.senders.borrow().len();
            for _ in 0..count {
                let turn = self.next.get();
                self.next.set((turn + 1) % count);
                match self.senders.borrow()[turn].send(connection) {
                    Ok(()) => return,
                    Err(TrySendError::Disconnected(back)) => connection = back,
                    Err(TrySendError::Full(back)) => {
                        all_closed = false;
                        connection = back;
                    }
                }
            }
            if all_closed {
                // The servers of all shards have ended, and the dispatcher ends with them.
                return self.refuse(connection.0);
            }
            // Further connections wait in the listener's queue meanwhile.
            thread::sleep(FULL_PAUSE);
        }
    }
}
