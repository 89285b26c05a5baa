//! The arena of guarded stacks: one per shard, for that shard's ethreads.
//!
//! Address space is mapped in chunks and cut into slots of one size class each:
//!
//! ```text
//! slot      +64 KiB                              base                      top
//!  | guard   | usable, 2^k bytes      <- grows    | room | colour   | header |
//! ```
//!
//! The guard faults whatever touches it. The header is the one cache line at the very top that
//! says whose stack this is, for the handler of that fault. Below it lie up to 896 bytes of
//! colour: without them the busiest lines of all stacks would compete for one set of the
//! first-level cache. The room is for the state of the coroutine that uses the stack. All of this
//! and a shallow call chain share one page.
//!
//! A slot is *ready* (guarded, never used), *live* (a [`Stack`] of it is out), *hot* (free, its
//! pages still in place) or *cold* (free, its pages given back). Slots are guarded when they are
//! first needed and never again: guards outlive the give-back of pages.

// The memory of stacks comes from mmap and is addressed by hand.
#![allow(unsafe_code)]

mod chunk;
mod registry;

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use corosensei::stack::StackPointer;

use super::coroutine::Coroutine;

use chunk::Chunk;
pub(crate) use registry::find_guard;

/// The size of a guard: C code that does not probe its frames can step over a single page.
pub(crate) const GUARD: usize = 64 << 10;

const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 1 << 30;
const CLASSES: usize = (LARGEST.ilog2() - SMALLEST.ilog2() + 1) as usize;

/// Colours are two cache lines apart, since processors fetch lines in pairs.
const COLOUR_STEP: usize = 128;
/// So many colours keep the base within 1 KiB of the top: eight, or seven under ASan, for which a
/// coroutine keeps more.
const COLOURS: usize = (NEAR_TOP - HEADER - ROOM) / COLOUR_STEP + 1;
const NEAR_TOP: usize = 1 << 10;

/// How guards are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKind {
    /// By `Madvise` where that works, else by `Mprotect`.
    Auto,
    /// By `MADV_GUARD_INSTALL` (Linux 6.13): a mark in the page table, and any number of them in
    /// one mapping. Fails in memory locked by mlockall(2).
    Madvise,
    /// By mprotect(2): works everywhere, but each guard splits a mapping and so counts twice
    /// against `vm.max_map_count`.
    Mprotect,
}

/// What an arena can be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackConfig {
    pub(crate) guard: GuardKind,
    /// How many free stacks keep their pages.
    pub(crate) hot: usize,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            guard: GuardKind::Auto,
            hot: 1024,
        }
    }
}

/// A size that stacks come in: a power of two, from 16 KiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    exponent: u8,
}

impl Class {
    /// What code can use of a stack.
    pub(crate) fn usable(self) -> usize {
        1 << self.exponent
    }

    /// The distance from one slot to the next.
    fn stride(self) -> usize {
        self.usable() + GUARD
    }

    fn index(self) -> usize {
        (u32::from(self.exponent) - SMALLEST.ilog2()) as usize
    }
}

/// A slot on loan from an [`Arena`], to be returned by [`Arena::free`].
///
/// Dropping it instead loses the slot: it is never used again, and its arena never unmapped.
#[derive(Debug)]
#[must_use = "a dropped stack is leaked"]
pub(crate) struct Stack {
    /// Where what runs on it begins.
    base: NonZeroUsize,
    class: Class,
    /// What runs on a stack belongs to one OS thread.
    not_send: PhantomData<*mut ()>,
}

/// The top of a slot, for the fault handler.
#[repr(C, align(64))]
struct Header {
    occupant: AtomicPtr<()>,
}

const HEADER: usize = size_of::<Header>();

/// The place right above a stack's base: for a coroutine, and six words about it. Zero before its
/// first use.
#[repr(C, align(64))]
pub(super) struct Room(MaybeUninit<(AnyCoroutine, [usize; 6])>);

/// What goes in and out of a coroutine is no part of it.
type AnyCoroutine = corosensei::Coroutine<(), (), (), Stack>;

const ROOM: usize = size_of::<Room>();

/// Pages are never smaller, and slots end with a page.
const SMALLEST_PAGE: usize = 4 << 10;

// The highest base is below header and room, the lowest one COLOURS - 1 steps further down.
const _: () = assert!(HEADER + (COLOURS - 1) * COLOUR_STEP + ROOM <= NEAR_TOP);
const _: () = assert!(NEAR_TOP < SMALLEST_PAGE);
const _: () = assert!(HEADER.is_multiple_of(align_of::<Room>()));
const _: () = assert!(COLOUR_STEP.is_multiple_of(align_of::<Room>()));
const _: () = assert!(ROOM.is_multiple_of(corosensei::stack::STACK_ALIGNMENT));

impl Stack {
    /// The stack in the slot at this address.
    fn new(slot: NonZeroUsize, class: Class, colour: usize) -> Self {
        let above = HEADER + colour * COLOUR_STEP + ROOM;
        Self {
            base: slot.saturating_add(class.stride() - above),
            class,
            not_send: PhantomData,
        }
    }

    /// The stack with this room.
    ///
    /// # Safety
    ///
    /// The room is that of a stack of this class, which is out. There must be one owner of it: who
    /// had it before gives it up, or this one is only asked for its place.
    #[inline]
    pub(super) unsafe fn again(room: NonNull<Room>, class: Class) -> Self {
        Self {
            base: room.addr(),
            class,
            not_send: PhantomData,
        }
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Room for the state of what runs on this stack: writable, and used by nobody else as long as
    /// the stack is out.
    #[inline]
    pub(super) fn room(&self) -> NonNull<Room> {
        let room = std::ptr::with_exposed_provenance_mut(self.base.get());
        NonNull::new(room).expect("it is not zero")
    }

    /// Says who runs on this stack, for [`find_guard`]; null once no one does.
    pub(crate) fn set_occupant(&self, occupant: *const ()) {
        self.header()
            .occupant
            .store(occupant.cast_mut(), Ordering::Release);
    }

    /// The lowest address of the slot, where its guard begins.
    fn slot(&self) -> usize {
        self.top() - self.class.stride()
    }

    /// The lowest address that code can use.
    pub(crate) fn bottom(&self) -> usize {
        self.slot() + GUARD
    }

    /// The end of the slot: that of the page in which the base lies.
    #[inline]
    fn top(&self) -> usize {
        self.base.get().next_multiple_of(SMALLEST_PAGE)
    }

    fn header(&self) -> &Header {
        // SAFETY: a slot of a live stack stays mapped (`Arena::drop`), its usable part is
        // readable and writable, the header lies at its page-aligned end above anything that runs
        // on the stack (`base`), and fresh pages are zero, which is a null occupant.
        unsafe { &*registry::header_at(self.top()) }
    }
}

// SAFETY: the lowest GUARD bytes from `limit` on are a guard, and the usable part less header,
// colour and room is above MIN_STACK_SIZE even in the smallest class. Base and limit are aligned:
// slots are page-aligned, and what lies above the base is a multiple of STACK_ALIGNMENT.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.slot()).expect("a slot does not lie at address zero")
    }
}

/// The stacks of one shard.
#[derive(Debug)]
pub(crate) struct Arena {
    /// `guard` goes from `Auto` to `Mprotect` at the first refusal.
    config: StackConfig,
    shelves: [Shelf; CLASSES],
    /// The lowest address of the chunk mapped last; the next one is wanted right below it.
    lowest: usize,
    live: usize,
    /// The length of all shelves' `hot`, at most `config.hot`.
    hot: usize,
    not_send: PhantomData<*mut ()>,
}

/// The slots of one class.
#[derive(Debug, Default)]
struct Shelf {
    chunks: Vec<Chunk>,
    /// How many slots are ready: the last ones that were guarded.
    ready: usize,
    /// The chunk with the first of them.
    next: usize,
    hot: Vec<Stack>,
    cold: Vec<Stack>,
    /// How many free slots are promised; never more than there are.
    reserved: usize,
}

/// A snapshot of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackCounters {
    /// Stacks in use.
    pub live: usize,
    /// Stacks promised to ethreads that have not begun.
    pub reserved: usize,
    /// Free stacks whose pages are kept.
    pub hot: usize,
    /// Free stacks whose pages were given back.
    pub cold: usize,
    /// Address space.
    pub mapped_bytes: usize,
    /// Guards made by `MADV_GUARD_INSTALL`.
    pub madvise_guards: usize,
    /// Guards made by mprotect(2).
    pub mprotect_guards: usize,
    /// Mappings made.
    pub chunks: usize,
}

impl Arena {
    /// Creates an arena that has mapped nothing yet.
    pub(crate) fn new(config: StackConfig) -> Self {
        Self {
            config,
            shelves: Default::default(),
            lowest: 0,
            live: 0,
            hot: 0,
            not_send: PhantomData,
        }
    }

    /// The smallest class whose stacks have `size` usable bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `size` is above 1 GiB.
    pub(crate) fn class_of(size: usize) -> io::Result<Class> {
        if size > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "stack size must be from {SMALLEST} bytes (smaller ones are rounded up) \
                     to {LARGEST} bytes, got {size}"
                ),
            ));
        }
        // Pages may be as large as 64 KiB, and only whole ones can be guarded.
        let usable = size.max(SMALLEST).max(chunk::page_size());
        Ok(Class {
            exponent: usable.next_power_of_two().ilog2() as u8,
        })
    }

    /// Makes sure that one more [`take_reserved`](Self::take_reserved) succeeds.
    ///
    /// # Errors
    ///
    /// What mmap(2), mprotect(2) or madvise(2) said, with a text that names the limit to raise.
    #[inline]
    pub(crate) fn reserve(&mut self, class: Class) -> io::Result<()> {
        let shelf = &self.shelves[class.index()];
        if shelf.free() == shelf.reserved {
            self.prepare(class)?;
        }
        self.shelves[class.index()].reserved += 1;
        Ok(())
    }

    /// Uses up a reservation.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline]
    pub(crate) fn take_reserved(&mut self, class: Class) -> Stack {
        let shelf = &mut self.shelves[class.index()];
        assert!(shelf.reserved > 0, "no stack was reserved");
        shelf.reserved -= 1;
        self.live += 1;
        if let Some(stack) = shelf.hot.pop() {
            self.hot -= 1;
            return stack;
        }
        shelf.take_not_hot(class)
    }

    /// Takes a stack: the one freed last, if any is free.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve).
    #[inline]
    pub(crate) fn take(&mut self, class: Class) -> io::Result<Stack> {
        let shelf = &mut self.shelves[class.index()];
        if shelf.hot.len() > shelf.reserved
            && let Some(stack) = shelf.hot.pop()
        {
            self.hot -= 1;
            self.live += 1;
            return Ok(stack);
        }
        self.reserve(class)?;
        Ok(self.take_reserved(class))
    }

    /// Takes a stack back.
    ///
    /// It must be one of this arena's: another one never unmaps its memory, and this one's count of
    /// live stacks would be wrong.
    #[inline(always)]
    pub(crate) fn free(&mut self, stack: Stack) {
        debug_assert!(self.owns(&stack), "the stack is of another arena");
        self.live -= 1;
        // Read first: a stack that was never run on need not get a page for this.
        if !stack.header().occupant.load(Ordering::Relaxed).is_null() {
            stack.set_occupant(std::ptr::null());
        }
        let shelf = &mut self.shelves[stack.class.index()];
        if self.hot < self.config.hot {
            self.hot += 1;
            shelf.hot.push(stack);
        } else {
            self.cool(stack);
        }
    }

    /// Gives back the pages of a free stack.
    #[inline(never)]
    fn cool(&mut self, stack: Stack) {
        Coroutine::forget(&stack);
        // SAFETY: the usable part of a slot of this arena, page-aligned, and nobody's now.
        unsafe { chunk::give_back(stack.bottom(), stack.class.usable()) };
        self.shelves[stack.class.index()].cold.push(stack);
    }

    /// Gives back the pages of a suspended stack that lie below its stack pointer.
    ///
    /// The page below the one of `sp` stays, for the red zone and for what is called next.
    ///
    /// # Safety
    ///
    /// `bottom` is the [lowest usable address](Stack::bottom) of a live stack, and `sp` the stack
    /// pointer of the computation that is suspended on it: what lies below, less the red zone, is
    /// dead.
    pub(crate) unsafe fn trim(bottom: usize, sp: usize) {
        let page = chunk::page_size();
        let end = (sp & !(page - 1)) - page;
        if let Some(len) = end.checked_sub(bottom).filter(|&len| len > 0) {
            // SAFETY: page-aligned and within the usable part, which starts at `bottom`; that
            // nothing in it is alive is the caller's promise.
            unsafe { chunk::give_back(bottom, len) };
        }
    }

    /// Counts what there is.
    pub(crate) fn counters(&self) -> StackCounters {
        let mut counters = StackCounters {
            live: self.live,
            hot: self.hot,
            ..StackCounters::default()
        };
        for shelf in &self.shelves {
            counters.reserved += shelf.reserved;
            counters.cold += shelf.cold.len();
            counters.chunks += shelf.chunks.len();
            for chunk in &shelf.chunks {
                counters.mapped_bytes += chunk.len();
                counters.madvise_guards += chunk.madvise_guards();
                counters.mprotect_guards += chunk.mprotect_guards();
            }
        }
        counters
    }

    fn owns(&self, stack: &Stack) -> bool {
        let mut chunks = self.shelves[stack.class.index()].chunks.iter();
        chunks.any(|chunk| (chunk.start()..chunk.start() + chunk.len()).contains(&stack.slot()))
    }

    /// Guards one more slot and puts it on its shelf.
    #[cold]
    fn prepare(&mut self, class: Class) -> io::Result<()> {
        let shelf = &mut self.shelves[class.index()];
        if shelf.chunks.last().is_none_or(Chunk::is_full) {
            let slots = shelf
                .chunks
                .last()
                .map_or(chunk::FIRST_SLOTS, |last| last.slots() * 2);
            let chunk = Chunk::map(class, slots, self.lowest)?;
            self.lowest = chunk.start();
            shelf.chunks.push(chunk);
        }
        let chunk = shelf
            .chunks
            .last_mut()
            .expect("one was pushed if there was none");
        chunk.prepare(&mut self.config.guard)?;
        shelf.ready += 1;
        Ok(())
    }
}

impl Drop for Arena {
    /// Unmaps everything, or nothing if a stack is still out: frames on it may be referred to
    /// from anywhere, so its memory is leaked, and that of the others with it.
    fn drop(&mut self) {
        for shelf in &mut self.shelves {
            for chunk in shelf.chunks.drain(..) {
                if self.live == 0 {
                    // SAFETY: no stack is out, and those on the shelves go with the arena.
                    unsafe { chunk.unmap() };
                } else {
                    chunk.leak();
                }
            }
        }
    }
}

impl Shelf {
    fn free(&self) -> usize {
        self.ready + self.hot.len() + self.cold.len()
    }

    /// Takes a free slot that has no pages.
    #[inline(never)]
    fn take_not_hot(&mut self, class: Class) -> Stack {
        self.cold
            .pop()
            .or_else(|| self.take_ready(class))
            .expect("a reservation stands for a free slot")
    }

    /// Takes the first slot that was never used.
    fn take_ready(&mut self, class: Class) -> Option<Stack> {
        self.ready = self.ready.checked_sub(1)?;
        loop {
            match self.chunks[self.next].take() {
                Some((slot, number)) => {
                    return Some(Stack::new(slot, class, number % COLOURS));
                }
                None => self.next += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
