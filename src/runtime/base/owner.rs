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

/// The current holder of something that changes hands, for its user and for its waiters. A waiter
/// learned of one holder, and may still wait after that holder has passed it on.
#[derive(Debug)]
pub(crate) struct Owner {
    now: Cell<Peer>,
    /// The same, as waiters keep it. Allocated for the first waiter.
    known: OnceCell<Rc<Cell<Peer>>>,
}

impl Owner {
    pub(crate) const fn new() -> Self {
        Self {
            now: Cell::new(Peer::NONE),
            known: OnceCell::new(),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> Peer {
        self.now.get()
    }

    /// Records a new holder, or that there is none.
    #[inline]
    pub(crate) fn set(&self, peer: Peer) {
        self.now.set(peer);
        if let Some(known) = self.known.get() {
            known.set(peer);
        }
    }

    fn known(&self) -> Rc<Cell<Peer>> {
        let known = self.known.get_or_init(|| Rc::new(self.now.clone()));
        known.clone()
    }
}

/// What a wait depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitsOn<'a> {
    /// This ethread.
    Ethread(Peer),
    /// The owner of something.
    Owner(&'a Owner),
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
            Self::Ethread(peer) => peer,
            Self::Owner(owner) => owner.get(),
        }
    }

    pub(in crate::runtime) fn kept(self) -> KeptWaitsOn {
        match self {
            Self::Ethread(peer) => KeptWaitsOn::Ethread(peer),
            Self::Owner(owner) => KeptWaitsOn::Owner(owner.known()),
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
