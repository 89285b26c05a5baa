//! The settings of a server.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::accept::taskmaster::Taskmaster;
use crate::http::admission::GlobalLimit;
use crate::http::conn::config::Config;
use crate::http::conn::hooks::Hooks;

/// The settings of a server. Each shard that serves it has a copy.
#[derive(Clone, Debug)]
pub(in crate::http) struct Plan {
    pub(in crate::http) local_addr: Option<SocketAddr>,
    pub(in crate::http) config: Config,
    pub(in crate::http) taskmaster: Taskmaster,
    pub(super) listener_name: Option<String>,
    pub(in crate::http) drain_grace: Duration,
    pub(super) hooks: Option<Box<Hooks>>,
}

/// How a server relates to its copies on other shards.
#[derive(Clone, Debug)]
pub(in crate::http) enum Share {
    /// There are no other shards.
    Alone,
    /// Each of this many shards has its own limits.
    Each(usize),
    /// The limits hold for all of this many shards together.
    GlobalLimit(Arc<GlobalLimit>, usize),
}

/// See [`Server::DRAIN_GRACE`](super::Server::DRAIN_GRACE).
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(8);

impl Plan {
    pub(super) fn new(local_addr: Option<SocketAddr>) -> Self {
        Self {
            local_addr,
            config: Config::default(),
            taskmaster: Taskmaster::default(),
            listener_name: None,
            drain_grace: DRAIN_GRACE,
            hooks: None,
        }
    }

    /// The name of the ethread that accepts.
    pub(in crate::http) fn listener_name(&self) -> String {
        match (&self.listener_name, self.local_addr) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => format!("http-listener {address}"),
            (None, None) => "http-listener unix".to_owned(),
        }
    }
}
