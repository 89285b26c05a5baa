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

use super::body::Incoming;
use super::shared::{Connection, Shared};
use crate::runtime::task::join::JoinHandle;
use crate::thread;

/// The flusher of a server, and the connections whose output it is to look at.
#[derive(Debug, Default)]
pub(super) struct Early {
    waiting: RefCell<Vec<Rc<Connection>>>,
    /// Started by the first burst; most servers never see one.
    flusher: RefCell<Option<JoinHandle<()>>>,
    /// The server has ended; what is left of its connections gets no flusher any more.
    stopped: Cell<bool>,
}

impl Early {
    /// Ends the flusher, which holds the server's state.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        if let Some(flusher) = self.flusher.take() {
            flusher.cancel();
        }
    }
}

impl Incoming {
    /// Lets what is collected be sent if this ethread has to wait before it adds more.
    #[inline]
    pub(super) fn send_early(&self) {
        if !self.connection.output.borrow().is_empty() && !self.connection.listed.get() {
            self.list();
        }
    }

    #[inline(never)]
    fn list(&self) {
        let early = &self.shared.early;
        if early.stopped.get() {
            return;
        }
        self.connection.listed.set(true);
        let is_first = {
            let mut waiting = early.waiting.borrow_mut();
            waiting.push(self.connection.clone());
            waiting.len() == 1
        };
        if !is_first {
            return;
        }
        if let Some(flusher) = &*early.flusher.borrow() {
            return flusher.thread().unpark();
        }
        let shared = self.shared.clone();
        // It outlives the request, and serves others.
        let flusher = thread::Builder::new()
            .name("http-flusher")
            .inherits_nothing();
        let spawned = flusher.spawn(move || {
            loop {
                flush_all(&shared);
                thread::park();
            }
        });
        match spawned {
            Ok(flusher) => *early.flusher.borrow_mut() = Some(flusher),
            Err(error) => {
                for connection in early.waiting.borrow_mut().drain(..) {
                    connection.listed.set(false);
                }
                // The output goes out later then, with what follows it.
                log::debug!("no ethread to send output early: {error}");
            }
        }
    }
}

/// Sends what the connections have collected. Never waits itself: meanwhile they might go on, and
/// send what comes after it.
fn flush_all(shared: &Shared) {
    // Nothing below waits or calls the user, so the list is as it was until the end.
    for connection in shared.early.waiting.borrow_mut().drain(..) {
        connection.listed.set(false);
        // Empty while its owner is sending it.
        let mut output = connection.output.borrow_mut();
        let sent = connection.transport.send_now(&output);
        output.drain(..sent);
    }
}
