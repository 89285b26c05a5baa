//! The state of one connection that its ethread shares with the rest of the server.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};

use super::transport::Transport;

/// The transport of a connection, its shared flags, and its collected output.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) transport: Transport,
    /// The connection waits for a request.
    pub(super) idle: Cell<bool>,
    /// The connection has switched to another protocol.
    pub(super) upgraded: Cell<bool>,
    /// Output that is collected, to be sent together with what follows it.
    pub(super) output: RefCell<Vec<u8>>,
    /// The connection is in the flusher's list.
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
