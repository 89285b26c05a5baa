//! The control block of an ethread, and the slab that holds them.
//!
//! ```text
//!            spawn                    resume               root has returned
//!   (free) ────────► Ready ─────────────────────► Running ──────────────────► (free)
//!                      ▲  ▲                        │   │
//!                      │  └────── yield ───────────┘   │ park
//!                      └───────── wake ──────── Parked ◄
//! ```
//! A starter (`bridge::on_ready`) begins as `Parked`, without a stack: its first wake starts it. An
//! ethread that rests has parked as its last act, and its root has returned: it is a starter again.

use std::fmt;
use std::mem::offset_of;
use std::num::NonZeroU64;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scopes::ScopeIndex;
use super::timers::TimerKey;
use crate::runtime::base::owner::{KeptWaitsOn, Peer};
use crate::runtime::base::thread_names::{NameChunk, NameSlot, ThreadNames, split};
use crate::runtime::base::wait::{CallSite, HOST, NEVER, Outcome, Reason, Token, WaitKind};
use crate::runtime::stack::Class;
use crate::runtime::stack::coroutine::{Coroutine, Run};

/// Marks the end of the run queue, which never contains the OS thread's own code. It is also the
/// `next_ready` of a block that is not in the queue.
pub(in crate::runtime) const END_OF_QUEUE: u32 = HOST;

/// A unique number of an ethread, in this process. Never reused.
///
/// The OS thread that drives a shard has an id, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(NonZeroU64);

/// The ids that a shard has for its next ethreads. A shard takes ids from the process in blocks, so
/// most spawns need no atomic operation.
#[derive(Debug, Default)]
struct Ids(Range<u64>);

impl Ids {
    const BLOCK: u64 = 64;

    #[inline]
    fn next(&mut self) -> ThreadId {
        let id = self.0.next().unwrap_or_else(|| self.refill());
        ThreadId(NonZeroU64::new(id).expect("2^64 ethreads in one process"))
    }

    /// Takes a block of ids, and returns the first.
    #[cold]
    fn refill(&mut self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let first = NEXT.fetch_add(Self::BLOCK, Ordering::Relaxed);
        self.0 = first + 1..first + Self::BLOCK;
        first
    }
}

impl ThreadId {
    /// Returns the number itself, which reports and logs show after a `#`.
    #[must_use]
    pub fn as_u64(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum RunState {
    Free,
    Ready,
    Running,
    Parked,
}

/// Whether an ethread must unwind, and how often it has.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::runtime) struct Cancel {
    /// Bits, which are checked together at each suspension point.
    due: u8,
    /// How often the ethread has unwound from a suspension point.
    pub(in crate::runtime) raises: u8,
}

impl Cancel {
    const REQUESTED: u8 = 1;
    const SCOPED: u8 = 2;

    /// Whether a closer check is needed.
    #[inline]
    pub(in crate::runtime) fn may_be_due(self) -> bool {
        self.due != 0
    }

    /// Whether the ethread must unwind at its next suspension point, and again at each later one.
    pub(in crate::runtime) fn is_requested(self) -> bool {
        self.due & Self::REQUESTED != 0
    }

    pub(in crate::runtime) fn request(&mut self) {
        self.due |= Self::REQUESTED;
    }

    /// Whether the ethread must unwind up to one of the scopes that it is in.
    pub(in crate::runtime) fn is_scoped(self) -> bool {
        self.due & Self::SCOPED != 0
    }

    pub(in crate::runtime) fn set_scoped(&mut self, scoped: bool) {
        self.due = self.due & !Self::SCOPED | if scoped { Self::SCOPED } else { 0 };
    }
}

/// Two cache lines, side by side; a million control blocks may live at once. A park without a
/// deadline, and its wake, need the first line only.
#[repr(C, align(128))]
pub(in crate::runtime) struct ControlBlock {
    /// The first part of the ethread's [`Reason`].
    kind: WaitKind,
    pub(in crate::runtime) state: RunState,
    /// How often stack trimming has visited the ethread since it ran.
    pub(in crate::runtime) visits: u8,
    /// The token of the latest wait was used, or the wait has ended without it: the token wakes
    /// nothing any more. True before the first wait.
    pub(in crate::runtime) spent: bool,
    pub(in crate::runtime) outcome: Outcome,
    /// `Thread::unpark` came before `thread::park`.
    pub(in crate::runtime) permit: bool,
    /// Ends with its shard, and keeps no `run` going.
    pub(in crate::runtime) daemon: bool,
    /// The arena holds a reserved stack for the ethread, until its first turn.
    pub(in crate::runtime) reserved: bool,
    pub(in crate::runtime) class: Class,
    /// `deadline` is the deadline of a scope, and not of the wait itself.
    pub(in crate::runtime) bounded: bool,
    pub(in crate::runtime) cancel: Cancel,
    /// How many `uncancellable` calls the ethread is in.
    pub(in crate::runtime) masks: u32,
    /// The next ethread in the run queue, if this one is in the queue.
    pub(in crate::runtime) next_ready: u32,
    /// The innermost scope that the ethread is in.
    pub(in crate::runtime) scope: ScopeIndex,
    /// Number of the current or last park. The count goes on when the place is reused.
    pub(in crate::runtime) park: u64,
    detail: u64,
    location: CallSite,
    /// When the current park times out, else `NEVER`. On the hot path a deadline costs only this
    /// store: see `timer`.
    pub(in crate::runtime) deadline: u64,
    /// The suspended computation, while the ethread is suspended on its stack.
    pub(in crate::runtime) coroutine: Option<Coroutine>,
    /// The ethread's work, while it has no stack: before its first turn, and while it rests. `None`
    /// for the shard's own OS thread.
    pub(in crate::runtime) start: Option<Rc<dyn Run>>,
    /// The only entry in the timer wheel, corrected lazily, and its time. It is never later than
    /// the `deadline` of a park.
    pub(in crate::runtime) timer: Option<(TimerKey, u64)>,
    pub(in crate::runtime) id: ThreadId,
    pub(in crate::runtime) name: Option<Rc<str>>,
}

const _: () = assert!(size_of::<ControlBlock>() == 128);
const _: () = assert!(offset_of!(ControlBlock, start) == 64);

impl ControlBlock {
    /// What the ethread waits for, or waited for last.
    #[inline]
    pub(in crate::runtime) fn reason(&self) -> Reason {
        Reason {
            kind: self.kind,
            detail: self.detail,
            location: self.location,
        }
    }

    /// Whether I/O can end the ethread's wait.
    #[inline]
    pub(in crate::runtime) fn waits_for_io(&self) -> bool {
        self.kind.is_io()
    }

    /// Stores which of the events that the park waits for has woken the ethread. Until the next
    /// wait, the reason serves no other purpose.
    #[inline]
    pub(in crate::runtime) fn set_case(&mut self, token: Token) {
        if token.case != 0 {
            self.detail = u64::from(token.case);
        }
    }

    pub(in crate::runtime) fn case(&self) -> u32 {
        self.detail as u32
    }

    /// Stores where the ethread yields.
    #[inline]
    pub(in crate::runtime) fn yields_at(&mut self, location: CallSite) {
        self.kind = WaitKind::Yield;
        self.location = location;
    }

    /// Whether a closer check is needed before the ethread waits: for a cancel, or a scope around
    /// it.
    #[inline]
    pub(in crate::runtime) fn may_be_interrupted(&self) -> bool {
        self.cancel.may_be_due() || self.scope != ScopeIndex::NONE
    }

    /// Begins a wait, and returns the number of its park.
    #[inline]
    pub(in crate::runtime) fn begin_wait(&mut self) -> u64 {
        self.park += 1;
        self.spent = false;
        self.park
    }

    pub(in crate::runtime) fn token(&self, index: u32) -> Token {
        Token::new(index, self.park)
    }

    /// The ethread as reports show it.
    pub(in crate::runtime) fn label(&self) -> Label {
        Label {
            id: self.id,
            name: self.name.clone(),
        }
    }
}

/// An ethread's name and id for texts: `'worker' (#7)` or `#7`.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) id: ThreadId,
    pub(crate) name: Option<Rc<str>>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "'{name}' ({})", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// The initial values of a new ethread.
pub(crate) struct SpawnParams {
    pub(crate) name: Option<Rc<str>>,
    pub(crate) daemon: bool,
    pub(in crate::runtime) class: Class,
    pub(in crate::runtime) start: Option<Rc<dyn Run>>,
    /// The arena holds a reserved stack for the ethread.
    pub(in crate::runtime) reserved: bool,
    pub(crate) location: CallSite,
}

impl SpawnParams {
    /// What has no name, no work and no stack yet.
    pub(in crate::runtime) fn new(class: Class, location: CallSite) -> Self {
        Self {
            name: None,
            daemon: false,
            class,
            start: None,
            reserved: false,
            location,
        }
    }
}

/// The slab of a shard's control blocks. Places are reused; place 0 is the OS thread.
#[derive(Default)]
pub(in crate::runtime) struct Blocks {
    blocks: Vec<ControlBlock>,
    free: Vec<u32>,
    ids: Ids,
    /// For each place, what its last wait of a kind with a peer ([`WaitKind::has_peer`]) depended
    /// on.
    peers: Vec<KeptWaitsOn>,
    names: Vec<NameChunk>,
    pub(in crate::runtime) live: usize,
    pub(in crate::runtime) daemons: usize,
}

impl Blocks {
    pub(in crate::runtime) fn new(names: &ThreadNames, host: SpawnParams) -> Self {
        let mut blocks = Self::default();
        let (index, _) = blocks.insert(names, host);
        debug_assert_eq!(index, HOST);
        blocks.live = 0;
        blocks.get_mut(HOST).state = RunState::Running;
        blocks
    }

    #[inline(always)]
    pub(in crate::runtime) fn insert(
        &mut self,
        names: &ThreadNames,
        params: SpawnParams,
    ) -> (u32, ThreadId) {
        let id = self.ids.next();
        let index = self.free.pop().unwrap_or(self.blocks.len() as u32);
        let (chunk, place) = split(index);
        if chunk == self.names.len() {
            self.names.push(names.grow());
        }
        self.names[chunk][place].set(id.as_u64().get(), params.name.as_deref());
        self.live += 1;
        if params.daemon {
            self.daemons += 1;
        }
        let fresh = self.blocks.get(index as usize).map_or(0, |old| old.park);
        let block = ControlBlock {
            id,
            name: params.name,
            state: RunState::Ready,
            daemon: params.daemon,
            park: fresh,
            spent: true,
            outcome: Outcome::Woken,
            permit: false,
            cancel: Cancel::default(),
            masks: 0,
            next_ready: END_OF_QUEUE,
            kind: WaitKind::Start,
            detail: 0,
            location: params.location,
            bounded: false,
            scope: ScopeIndex::NONE,
            deadline: NEVER,
            timer: None,
            start: params.start,
            reserved: params.reserved,
            coroutine: None,
            visits: 0,
            class: params.class,
        };
        match self.blocks.get_mut(index as usize) {
            Some(place) => *place = block,
            None => self.blocks.push(block),
        }
        (index, id)
    }

    /// Frees a place whose ethread has ended, and returns its timer, to be cancelled.
    #[inline(always)]
    pub(in crate::runtime) fn remove(&mut self, index: u32) -> Option<TimerKey> {
        let (chunk, place) = split(index);
        self.names[chunk][place].clear();
        let block = &mut self.blocks[index as usize];
        debug_assert!(block.start.is_none() && block.coroutine.is_none());
        block.state = RunState::Free;
        block.name = None;
        self.live -= 1;
        if block.daemon {
            self.daemons -= 1;
        }
        self.free.push(index);
        block.timer.take().map(|(key, _)| key)
    }

    #[inline]
    pub(in crate::runtime) fn get(&self, index: u32) -> &ControlBlock {
        &self.blocks[index as usize]
    }

    #[inline]
    pub(in crate::runtime) fn get_mut(&mut self, index: u32) -> &mut ControlBlock {
        &mut self.blocks[index as usize]
    }

    /// The block in a place that may be a place of another shard.
    #[inline]
    pub(in crate::runtime) fn at(&self, index: u32) -> Option<&ControlBlock> {
        self.blocks.get(index as usize)
    }

    /// The block with this id, if its ethread has not ended.
    pub(in crate::runtime) fn find(
        &mut self,
        index: u32,
        id: ThreadId,
    ) -> Option<&mut ControlBlock> {
        self.blocks
            .get_mut(index as usize)
            .filter(|block| block.id == id && block.state != RunState::Free)
    }

    /// Stores what the ethread is going to wait for.
    #[inline]
    pub(in crate::runtime) fn set_reason(
        &mut self,
        index: u32,
        reason: Reason,
    ) -> &mut ControlBlock {
        let block = self.get_mut(index);
        block.kind = reason.kind;
        block.detail = reason.detail;
        block.location = reason.location;
        block
    }

    /// Stores what the next wait of the ethread in place `index` depends on.
    #[inline]
    pub(in crate::runtime) fn set_peer(&mut self, index: u32, waits_on: KeptWaitsOn) {
        if self.peers.len() <= index as usize {
            let none = KeptWaitsOn::Ethread(Peer::NONE);
            self.peers.resize(index as usize + 1, none);
        }
        self.peers[index as usize] = waits_on;
    }

    /// The ethread that the wait in place `index` depends on, if the kind of the wait has a peer.
    pub(in crate::runtime) fn peer(&self, index: u32) -> Peer {
        let waits_on = self.peers.get(index as usize);
        waits_on.map_or(Peer::NONE, KeptWaitsOn::now)
    }

    /// An ethread as reports show it, if it has not ended.
    pub(in crate::runtime) fn label_of(&self, peer: Peer) -> Option<Label> {
        let block = self.at(peer.place)?;
        let is_it = block.state != RunState::Free && block.id.as_u64().get() == peer.id;
        is_it.then(|| block.label())
    }

    /// The name slot, which other OS threads and the overflow handler read.
    pub(in crate::runtime) fn name_slot(&self, index: u32) -> &NameSlot {
        let (chunk, place) = split(index);
        &self.names[chunk][place]
    }

    /// How many places there are, free ones included.
    pub(in crate::runtime) fn places(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// All ethreads that have not ended, in the order of their places; not the OS thread.
    pub(in crate::runtime) fn iter(&self) -> impl Iterator<Item = (u32, &ControlBlock)> {
        (0u32..)
            .zip(&self.blocks)
            .skip(1)
            .filter(|(_, block)| block.state != RunState::Free)
    }
}

#[cfg(test)]
pub(in crate::runtime) mod tests {
    use std::panic::Location;

    use super::*;
    use crate::runtime::stack::Arena;

    /// `count` ethreads that have not begun, in the places from 1 on.
    pub(in crate::runtime) fn blocks(count: usize) -> Blocks {
        let class = Arena::class_of(64 << 10).expect("a size as others");
        let params = || SpawnParams::new(class, Location::caller());
        let names = ThreadNames::default();
        let mut blocks = Blocks::new(&names, params());
        for _ in 0..count {
            blocks.insert(&names, params());
        }
        blocks
    }
}
