//! Output that goes out while its connection waits for something else.
//!
//! Responses are collected, so that a burst of pipelined requests is answered by one write. But the
//! handler of a later request may wait, as may the source of a streamed body, and nobody knows
//! beforehand. So before they are called an ethread is started behind those that are ready now. If
//! it finds output when its turn comes, then the connection is waiting, and what the kernel takes
//! of it is sent. Otherwise there was no need, and the price was one short ethread for all
//! connections that had a burst in this turn.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use super::body::Incoming;
use super::shared::{Connection, Shared};
use crate::thread;

/// The connections whose output is to be looked at.
pub(super) type Waiting = RefCell<Vec<Rc<Connection>>>;

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
        self.connection.listed.set(true);
        let mut waiting = self.shared.waiting.borrow_mut();
        waiting.push(self.connection.clone());
        if waiting.len() > 1 {
            return;
        }
        drop(waiting);
        let shared = self.shared.clone();
        let flusher = thread::Builder::new()
            .name("http-flusher")
            .stack_size(shared.config.stack_size)
            .spawn(move || flush_all(&shared));
        if let Err(error) = flusher {
            // The output goes out later then, with what follows it.
            log::debug!("no ethread to send output early: {error}");
            for connection in self.shared.waiting.take() {
                connection.listed.set(false);
            }
        }
    }
}

/// Sends what the connections have collected. Never waits itself: meanwhile they might go on, and
/// send what comes after it.
fn flush_all(shared: &Shared) {
    for connection in shared.waiting.take() {
        connection.listed.set(false);
        // Borrowed while its owner is sending it.
        if let Ok(mut output) = connection.output.try_borrow_mut() {
            let sent = connection.transport.send_now(&output);
            output.drain(..sent);
        }
    }
}
