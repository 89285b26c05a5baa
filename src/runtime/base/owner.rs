//! The ethread that a wait depends on: the holder of a lock, the maker of a value, or the ethread
//! that is joined.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::wait::{HOST, OUTSIDE};

/// An ethread that other ethreads wait for: it holds a lock, makes a value, or is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(in crate::runtime) place: u32,
    /// Unlike the place, the id is never reused.
    pub(in crate::runtime) id: u64,
}

impl Peer {
    /// Stands for the absence of a peer.
    pub(crate) const NONE: Self = Self { place: HOST, id: 0 };

    /// Code on an OS thread without ethreads: no ethread there can wait for it.
    pub(crate) const OUTSIDE: Self = Self {
        place: HOST,
        id: OUTSIDE,
    };

    pub(crate) fn id(self) -> u64 {
        self.id
    }
}

/// The current holder of something that changes hands, as its waiters see it. A waiter learned of
/// one holder, and may still wait after that holder has passed it on.
#[derive(Debug)]
pub(crate) struct Owner(OnceCell<Rc<Cell<Peer>>>);

impl Owner {
    pub(crate) const fn new() -> Self {
        Self(OnceCell::new())
    }

    /// Records a new holder, or that there is none.
    #[inline]
    pub(crate) fn set(&self, peer: Peer) {
        if let Some(known) = self.0.get() {
            known.set(peer);
        }
    }

    /// The cell for a waiter that is about to wait for `now`. Allocated for the first waiter.
    fn known(&self, now: Peer) -> Rc<Cell<Peer>> {
        let known = self.0.get_or_init(|| Rc::new(Cell::new(now)));
        known.set(now);
        known.clone()
    }
}

/// What a wait depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitsOn<'a> {
    /// This ethread.
    Ethread(Peer),
    /// The owner of something, which is this ethread now.
    Owner(&'a Owner, Peer),
}

/// [`WaitsOn`] as it is stored while the wait lasts.
#[derive(Clone, Debug)]
pub(in crate::runtime) enum KeptWaitsOn {
    Ethread(Peer),
    Owner(Rc<Cell<Peer>>),
}

impl WaitsOn<'_> {
    pub(crate) fn now(self) -> Peer {
        match self {
            Self::Ethread(peer) | Self::Owner(_, peer) => peer,
        }
    }

    pub(in crate::runtime) fn kept(self) -> KeptWaitsOn {
        match self {
            Self::Ethread(peer) => KeptWaitsOn::Ethread(peer),
            Self::Owner(owner, peer) => KeptWaitsOn::Owner(owner.known(peer)),
        }
    }
}

impl KeptWaitsOn {
    pub(in crate::runtime) fn now(&self) -> Peer {
        match self {
            Self::Ethread(peer) => *peer,
            Self::Owner(peer) => peer.get(),
        }
    }
}
