//! What the connections of a server share on one shard: configuration, buffers, the head lines that
//! are the same in all responses, and whether the server drains.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::buffers::{Buffers, Spares};
use super::config::Config;
use super::deadline::turn_began;
use super::flusher::Flusher;
use super::lingering::Lingering;
use crate::http::admission::Counts;
use crate::http::exchange::draining::Draining;
use crate::http::proto::encode::HeadCache;
use crate::runtime::driver::wall_seconds;

/// The part of a server that the input and output of its connections use.
pub(in crate::http) struct Context {
    pub(in crate::http) config: Config,
    pub(in crate::http) buffers: Buffers,
    pub(in crate::http) spare_bodies: Spares,
    pub(in crate::http) flusher: Rc<Flusher>,
    pub(in crate::http) lingering: Rc<Lingering>,
    pub(in crate::http) counts: Arc<Counts>,
    cache: RefCell<HeadCache>,
    /// The turn of the scheduler in which the date of `cache` was checked last.
    date_turn: Cell<u64>,
    pub(in crate::http) draining: Cell<bool>,
    /// Tells handlers of the drain.
    pub(in crate::http) drain_begun: Draining,
    /// Set during a drain, when no request is on its way to an idle connection any more.
    pub(in crate::http) closes_idle: Cell<bool>,
}

impl Context {
    pub(in crate::http) fn new(config: Config, lingering: Rc<Lingering>) -> Self {
        Self {
            counts: lingering.counts.clone(),
            lingering,
            buffers: Buffers::default(),
            spare_bodies: Spares::default(),
            flusher: Rc::default(),
            cache: RefCell::new(HeadCache::new(wall_seconds(), config.server.as_ref())),
            config,
            date_turn: Cell::new(0),
            draining: Cell::new(false),
            drain_begun: Draining::new(),
            closes_idle: Cell::new(false),
        }
    }

    /// Begins a drain: no connection lives beyond its current request.
    pub(in crate::http) fn begin_draining(&self) {
        self.draining.set(true);
        self.drain_begun.begin();
    }

    /// Calls `f` with the head lines that all responses share. The clock is read once per turn of
    /// the scheduler.
    #[inline(always)]
    pub(in crate::http) fn with_head_cache<R>(&self, f: impl FnOnce(&mut HeadCache) -> R) -> R {
        let turn = turn_began();
        let mut cache = self.cache.borrow_mut();
        if self.date_turn.replace(turn) != turn {
            cache.update(wall_seconds());
        }
        f(&mut cache)
    }
}
