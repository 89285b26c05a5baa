//! Sends the output of a connection while the connection waits for something else.
//!
//! Responses are collected, so that one write answers a burst of pipelined requests. But the
//! handler of a later request may wait, and so may the source of a streamed body, which is not
//! known beforehand. So before either is called, the server's flusher is made ready, behind the
//! ethreads that are ready now. If the flusher finds output when its turn comes, the connection is
//! waiting, and the flusher sends what the kernel takes. Otherwise the flush was not needed; its
//! price is one switch for all connections that had a burst in this turn.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::runtime::task::join::JoinHandle;
use crate::thread;

/// A connection that collects output.
pub(in crate::http) trait Collects {
    /// Whether the connection is in the flusher's list.
    fn is_listed(&self) -> &Cell<bool>;

    /// Sends what is taken at once of the collected output, without waiting.
    fn send_collected(&self);
}

/// The flusher of a server, and the connections whose output it is to check.
#[derive(Default)]
pub(in crate::http) struct Flusher {
    waiting: RefCell<Vec<Rc<dyn Collects>>>,
    /// Started by the first burst; most servers never see one.
    ethread: RefCell<Option<JoinHandle<()>>>,
    /// The server has ended; its remaining connections get no flusher any more.
    stopped: Cell<bool>,
}

impl Flusher {
    /// Ends the ethread, and lets go of the connections, which keep this alive.
    pub(in crate::http) fn stop(&self) {
        self.stopped.set(true);
        drop(self.waiting.take());
        if let Some(flusher) = self.ethread.take() {
            flusher.cancel();
        }
    }

    /// Has the output of a connection sent if this ethread waits before it adds more.
    #[inline(never)]
    pub(in crate::http) fn look_at(self: &Rc<Self>, connection: Rc<dyn Collects>) {
        if self.stopped.get() || connection.is_listed().replace(true) {
            return;
        }
        let is_first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(connection);
            waiting.len() == 1
        };
        if !is_first {
            return;
        }
        if let Some(ethread) = &*self.ethread.borrow() {
            return ethread.thread().unpark();
        }
        let this = self.clone();
        // The flusher outlives the request, and serves other connections.
        let builder = thread::Builder::new()
            .name("http-flusher")
            .inherits_nothing();
        let spawned = builder.spawn(move || {
            loop {
                this.flush_all();
                thread::park();
            }
        });
        match spawned {
            Ok(ethread) => *self.ethread.borrow_mut() = Some(ethread),
            Err(error) => {
                for connection in self.waiting.borrow_mut().drain(..) {
                    connection.is_listed().set(false);
                }
                // The output then goes out later, with what follows it.
                log::debug!("no ethread to send output early: {error}");
            }
        }
    }

    /// Sends what the connections have collected. Never waits: meanwhile a connection might go on
    /// and send later output first.
    fn flush_all(&self) {
        // Nothing below waits or calls user code, so the list does not change until the end.
        for connection in self.waiting.borrow_mut().drain(..) {
            connection.is_listed().set(false);
            connection.send_collected();
        }
    }
}
