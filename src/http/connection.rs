//! One connection, as all that deals with it knows it.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};

use super::transport::Transport;

/// The transport of a connection, and what its ethread and the rest of the server share of it.
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
