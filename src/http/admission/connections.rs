//! How many connections may be open.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bounds::Counts;
use super::global::GlobalLimit;

/// The limit of open connections, idle ones included.
#[derive(Debug)]
pub(in crate::http) struct Connections {
    most: usize,
    counts: Arc<Counts>,
    /// Counts the connections of several shards, if the limit holds for all of them together.
    global: Option<Arc<GlobalLimit>>,
}

/// An open connection, until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct Permit(Rc<Connections>);

impl Connections {
    pub(in crate::http) fn new(
        most: usize,
        counts: Arc<Counts>,
        global: Option<Arc<GlobalLimit>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            most,
            counts,
            global,
        })
    }

    /// Whether one more connection is within the limit.
    pub(in crate::http) fn have_room(&self) -> bool {
        let open = match &self.global {
            Some(global) => global.connections.load(Ordering::Relaxed),
            None => self.counts.serving.load(Ordering::Relaxed),
        };
        open < self.most
    }

    /// Counts a connection, beyond the limit too: another one may be about to close.
    pub(in crate::http) fn permit(self: &Rc<Self>) -> Permit {
        self.counts.serving.fetch_add(1, Ordering::Relaxed);
        if let Some(global) = &self.global {
            global.connections.fetch_add(1, Ordering::Relaxed);
        }
        Permit(self.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let connections = &self.0;
        connections.counts.serving.fetch_sub(1, Ordering::Relaxed);
        if let Some(global) = &connections.global {
            global.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
