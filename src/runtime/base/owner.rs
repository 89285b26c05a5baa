//! Which ethread another one waits for: the holder of a lock, the maker of a value, the one that is
//! joined.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::wait::{HOST, OUTSIDE};

/// An ethread that others wait for: it holds a lock, makes a value, or is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(in crate::runtime) place: u32,
    /// Unlike its place, this is nobody else's later.
    pub(in crate::runtime) id: u64,
}

impl Peer {
    /// In place of one where there is none.
    pub(crate) const NOBODY: Self = Self { place: HOST, id: 0 };

    /// Somebody on an OS thread without ethreads, where nobody can wait for it.
    pub(crate) const OUTSIDE: Self = Self {
        place: HOST,
        id: OUTSIDE,
    };

    pub(crate) fn id(self) -> u64 {
        self.id
    }
}

/// Whoever holds something that changes hands, as those know it who wait for that: they were told
/// of one holder, and may be there when it has handed it over.
#[derive(Debug)]
pub(crate) struct Owner(OnceCell<Rc<Cell<Peer>>>);

impl Owner {
    pub(crate) const fn new() -> Self {
        Self(OnceCell::new())
    }

    /// The holder is another one, or nobody.
    #[inline]
    pub(crate) fn set(&self, peer: Peer) {
        if let Some(known) = self.0.get() {
            known.set(peer);
        }
    }

    /// For one who is about to wait for `now`. Made for the first of them.
    fn known(&self, now: Peer) -> Rc<Cell<Peer>> {
        let known = self.0.get_or_init(|| Rc::new(Cell::new(now)));
        known.set(now);
        known.clone()
    }
}

/// WaitsOn a wait depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitsOn<'a> {
    /// This one.
    Ethread(Peer),
    /// Whoever has something, which is this one now.
    Owner(&'a Owner, Peer),
}

/// As it is kept while the wait lasts.
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
