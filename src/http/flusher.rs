//! Output that goes out while its connection waits for something else.
//!
//! Responses are collected, so that a burst of pipelined requests is answered by one write. But the
//! handler of a later request may wait, as may the source of a streamed body, and nobody knows
//! beforehand. So before they are called the server's flusher is made ready, behind those that are
//! ready now. If it finds output when its turn comes, then the connection is waiting, and what the
//! kernel takes of it is sent. Otherwise there was no need, and the price was one switch for all
//! connections that had a burst in this turn.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::connection::Connection;
use crate::runtime::task::join::JoinHandle;
use crate::thread;

/// The flusher of a server, and the connections whose output it is to look at.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    waiting: RefCell<Vec<Rc<Connection>>>,
    /// Started by the first burst; most servers never see one.
    ethread: RefCell<Option<JoinHandle<()>>>,
    /// The server has ended; what is left of its connections gets no flusher any more.
    stopped: Cell<bool>,
}

impl Flusher {
    /// Ends the flusher, which holds the server's state.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        if let Some(flusher) = self.ethread.take() {
            flusher.cancel();
        }
    }

    /// Lets what is collected be sent if this ethread has to wait before it adds more.
    #[inline]
    pub(super) fn look_at(self: &Rc<Self>, connection: &Rc<Connection>) {
        if !connection.output.borrow().is_empty() && !connection.listed.get() {
            self.list(connection);
        }
    }

    #[inline(never)]
    fn list(self: &Rc<Self>, connection: &Rc<Connection>) {
        if self.stopped.get() {
            return;
        }
        connection.listed.set(true);
        let is_first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(connection.clone());
            waiting.len() == 1
        };
        if !is_first {
            return;
        }
        if let Some(ethread) = &*self.ethread.borrow() {
            return ethread.thread().unpark();
        }
        let this = self.clone();
        // It outlives the request, and serves others.
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
                    connection.listed.set(false);
                }
                // The output goes out later then, with what follows it.
                log::debug!("no ethread to send output early: {error}");
            }
        }
    }

    /// Sends what the connections have collected. Never waits itself: meanwhile they might go on,
    /// and send what comes after it.
    fn flush_all(&self) {
        // Nothing below waits or calls the user, so the list is as it was until the end.
        for connection in self.waiting.borrow_mut().drain(..) {
            connection.listed.set(false);
            // Empty while its owner is sending it.
            let mut output = connection.output.borrow_mut();
            let sent = connection.transport.send_now(&output);
            output.drain(..sent);
        }
    }
}
