//! Decides which requests are handled, wait, or are refused, and how many connections there are.
//! The decision alone: it involves no socket, no clock and no protocol.
//!
//! Guards hold what was admitted: a [`Slot`] for a request in its handler, a [`Place`] for one that
//! waits, a [`Permit`] for an open connection. Dropping a guard gives back what it took, so no path
//! can forget that: a panic, a reset, a cancellation, or an ethread that could not be made.
//!
//! A shard takes slots from what it has free, which no other shard writes. Without limits across
//! shards that is all there is. With them, the shard leases slots in blocks, and keeps the ones
//! that come back until a request waits on any shard: see [`GlobalLimit`].
#![forbid(unsafe_code)]

mod bounds;
mod connections;
mod global;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bounds::Verdict;
pub(super) use bounds::{Bounds, Counts};
pub(super) use connections::{Connections, Permit};
use global::Entered;
pub(super) use global::GlobalLimit;

/// The state of one server's admission, on one shard.
pub(super) struct Admission {
    bounds: Bounds,
    counts: Arc<Counts>,
    /// How many free slots this shard keeps, if the bounds hold for several shards together.
    keeps: u64,
    /// A slot just becomes free if fewer than so many are, and any: then no request waits.
    plainly_free: u64,
    /// Where the slots come from, if the bounds hold for several shards together.
    global: Option<Arc<GlobalLimit>>,
    /// Requests that wait here. Invariant: no slot is free while the queue is not empty.
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    state: Cell<WaiterState>,
    /// Makes the connection of the request look at its [`Place`].
    wake: Box<dyn Fn()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaiterState {
    Waits,
    /// A slot is counted for the request, which has not taken it yet.
    Granted,
    Over,
}

/// What happens to a request.
#[derive(Debug)]
pub(super) enum Decision<'a> {
    Handle(Slot<'a>),
    /// The request waits until [`Place::slot`] returns its slot.
    Queue(Place),
    Refuse,
}

/// The right to be handled, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Admission);

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Rc<Admission>,
    waiter: Rc<Waiter>,
}

impl Admission {
    pub(super) fn new(
        bounds: Bounds,
        counts: Arc<Counts>,
        global: Option<Arc<GlobalLimit>>,
    ) -> Rc<Self> {
        debug_assert!(bounds.are_valid());
        let global = global.filter(|_| bounds.max_threads.is_some());
        let (slots, keeps, plainly_free) = match &global {
            Some(global) => (0, global.block(bounds) as u64, 0),
            None => (
                bounds.max_threads.map_or(u64::MAX, |most| most as u64),
                0,
                u64::MAX,
            ),
        };
        counts.slots.set(slots);
        counts.free.set(slots);
        Rc::new(Self {
            bounds,
            counts,
            keeps,
            plainly_free,
            global,
            queue: RefCell::default(),
        })
    }

    /// Takes a free slot of this shard. If there is none, [`decide`](Self::decide) tells what
    /// happens to the request.
    #[inline(always)]
    pub(super) fn slot(&self) -> Option<Slot<'_>> {
        self.take_free().then(|| Slot(self))
    }

    #[inline(always)]
    fn take_free(&self) -> bool {
        let free = self.counts.free.get();
        if free > 0 {
            self.counts.free.set(free - 1);
        }
        free > 0
    }

    /// Whether a request for which [`slot`](Self::slot) has found no slot will wait or be refused,
    /// as far as this can be told before [`decide`](Self::decide).
    pub(super) fn is_full(&self) -> bool {
        let global = self.global.as_ref();
        global.is_none_or(|global| !global.has_room(self.bounds))
    }

    /// Decides about a request for which [`slot`](Self::slot) has found no slot. `wake` is called
    /// when a request that was queued has its slot. It must not wait, as the call may come from a
    /// destructor.
    pub(super) fn decide(self: &Rc<Self>, wake: impl Fn() + 'static) -> Decision<'_> {
        let entered = match &self.global {
            Some(global) => global.enter(self.bounds),
            None => Entered {
                verdict: self.bounds.judge(self.counts.handling(), self.queued()),
                leased: 0,
                is_first: false,
            },
        };
        match entered.verdict {
            Verdict::Handle => {
                self.lease(entered.leased);
                self.counts
                    .free
                    .set(self.counts.free.get() + entered.leased - 1);
                Decision::Handle(Slot(self))
            }
            Verdict::Queue => Decision::Queue(self.enqueue(Box::new(wake), entered.is_first)),
            Verdict::Refuse => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                Decision::Refuse
            }
        }
    }

    fn enqueue(self: &Rc<Self>, wake: Box<dyn Fn()>, is_first: bool) -> Place {
        let waiter = Rc::new(Waiter {
            state: Cell::new(WaiterState::Waits),
            wake,
        });
        self.queue.borrow_mut().push_back(waiter.clone());
        // Sequentially consistent, for `GlobalLimit::wake_one`.
        self.counts.queued.fetch_add(1, Ordering::SeqCst);
        if let Some(global) = &self.global {
            // A slot may have come back before this shard counted as one where a request waits.
            // This queue is not preferred: see `hand_on`.
            if global.has_room_for_queued(self.bounds) {
                global.wake_one();
            }
            if is_first && self.keeps > 0 {
                global.recall(&self.counts);
            }
        }
        Place {
            admission: self.clone(),
            waiter,
        }
    }

    /// Gives slots to the requests that wait here, while there are any. If a request waits on
    /// another shard only, gives back the free slots for it.
    pub(super) fn tend(&self) {
        if let Some(global) = &self.global
            && global.has_queue()
        {
            self.give_back_free(global);
        }
        while self.queued() > 0 && self.take_for_queued() {
            let waiter = self.queue.borrow_mut().pop_front();
            let waiter = waiter.expect("so many are queued");
            self.counts.queued.fetch_sub(1, Ordering::SeqCst);
            waiter.state.set(WaiterState::Granted);
            (waiter.wake)();
        }
        self.pass_on();
    }

    fn take_for_queued(&self) -> bool {
        match &self.global {
            Some(global) => {
                let has_room = global.promote(self.bounds);
                if has_room {
                    self.lease(1);
                }
                has_room
            }
            None => self.take_free(),
        }
    }

    /// Notes slots that were leased.
    fn lease(&self, slots: u64) {
        self.counts.slots.set(self.counts.slots.get() + slots);
    }

    /// Notes and gives back slots that no request holds.
    fn give_back(&self, global: &GlobalLimit, slots: u64) {
        self.counts.slots.set(self.counts.slots.get() - slots);
        global.give_back(slots);
    }

    fn give_back_free(&self, global: &GlobalLimit) {
        let free = self.counts.free.get();
        self.counts.free.set(0);
        self.give_back(global, free);
    }

    /// If no request waits here, wakes another shard where one waits, if there is a slot for it.
    fn pass_on(&self) {
        if let Some(global) = &self.global
            && self.queued() == 0
            && global.has_room_for_queued(self.bounds)
        {
            global.wake_one();
        }
    }

    fn queued(&self) -> usize {
        self.counts.queued.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn release(&self) {
        let free = self.counts.free.get();
        if free.wrapping_sub(1) < self.plainly_free {
            self.counts.free.set(free + 1);
        } else {
            self.hand_on(free);
        }
    }

    /// Releases a slot where a request may wait for it.
    #[inline(never)]
    fn hand_on(&self, free: u64) {
        match &self.global {
            Some(global) if global.has_queue() || free >= self.keeps => {
                self.give_back(global, 1);
                // This shard's queue is not preferred: with many new requests here, the other
                // queues would starve.
                if global.has_room_for_queued(self.bounds) {
                    global.wake_one();
                }
            }
            Some(_) => self.counts.free.set(free + 1),
            None => {
                self.counts.free.set(free + 1);
                self.tend();
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(global) = &self.global {
            self.give_back_free(global);
            self.pass_on();
        }
    }
}

impl Drop for Slot<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Place {
    /// Whether the slot of the request has come, and was not taken yet.
    pub(super) fn is_granted(&self) -> bool {
        self.waiter.state.get() == WaiterState::Granted
    }

    /// Returns the slot of the request, once, if it has come.
    pub(super) fn slot(&self) -> Option<Slot<'_>> {
        self.is_granted().then(|| {
            self.waiter.state.set(WaiterState::Over);
            Slot(&self.admission)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let admission = &self.admission;
        match self.waiter.state.replace(WaiterState::Over) {
            WaiterState::Waits => {
                // A request that has waited for too long is the first.
                let mut queue = admission.queue.borrow_mut();
                let is_own = |waiter: &Rc<Waiter>| Rc::ptr_eq(waiter, &self.waiter);
                let at = queue.iter().position(is_own);
                drop(at.and_then(|at| queue.remove(at)));
                drop(queue);
                if let Some(global) = &admission.global {
                    global.leave_queue();
                }
                admission.counts.queued.fetch_sub(1, Ordering::SeqCst);
                // Several slots may have come back for a single look at this queue.
                admission.pass_on();
            }
            WaiterState::Granted => admission.release(),
            WaiterState::Over => {}
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("bounds", &self.bounds)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.get().fmt(f)
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
