//! The stacks of one shard.

// Gives pages of stacks back to the system, and unmaps chunks.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use super::chunk::{self, Chunk, GuardKind};
use super::layout::{CLASSES, COLOURS, Class, LARGEST, SMALLEST, Stack};

/// The settings of an arena.
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

/// The stacks of one shard.
#[derive(Debug)]
pub(crate) struct Arena {
    /// `guard` changes from `Auto` to `Mprotect` when the kernel first refuses madvise.
    config: StackConfig,
    forget: fn(&Stack),
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
    /// How many slots are ready: the slots that were guarded last.
    ready: usize,
    /// The index of the chunk with the first ready slot.
    next: usize,
    hot: Vec<Stack>,
    cold: Vec<Stack>,
    /// How many free slots are reserved; never more than there are free slots.
    reserved: usize,
}

/// A snapshot of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackCounters {
    /// Stacks in use.
    pub live: usize,
    /// Stacks reserved for ethreads that have not begun.
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
    ///
    /// `forget` is called on a free stack, whose room still has its content, before its pages are
    /// given back.
    pub(crate) fn new(config: StackConfig, forget: fn(&Stack)) -> Self {
        Self {
            config,
            forget,
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
        Ok(Class::with_usable(usable))
    }

    /// Makes sure that one more [`take_reserved`](Self::take_reserved) succeeds.
    ///
    /// # Errors
    ///
    /// The error of mmap(2), mprotect(2) or madvise(2), with a text that names the limit to raise.
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
    /// If there is no reservation.
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
    /// The stack must be one of this arena's. Otherwise its own arena never unmaps its memory, and
    /// this arena's count of live stacks is wrong.
    #[inline(always)]
    pub(crate) fn free(&mut self, stack: Stack) {
        debug_assert!(self.owns(&stack), "the stack is of another arena");
        self.live -= 1;
        // Read first: a store would cost a page on a stack that nothing has run on.
        if !stack.header().occupant.load(Ordering::Relaxed).is_null() {
            stack.set_occupant(std::ptr::null());
        }
        let shelf = &mut self.shelves[stack.class().index()];
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
        (self.forget)(&stack);
        // SAFETY: the usable part of a slot of this arena, page-aligned, and free: nothing else
        // refers to it.
        unsafe { chunk::give_back(stack.bottom(), stack.class().usable()) };
        self.shelves[stack.class().index()].cold.push(stack);
    }

    /// Gives back the pages of a suspended stack that lie below its stack pointer.
    ///
    /// The page below the page of `sp` stays, for the red zone and for the next calls.
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
            // SAFETY: page-aligned and within the usable part, which starts at `bottom`; the caller
            // guarantees that nothing in it is alive.
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
                counters.mprotect_guards += chunk.mprotect_guards;
            }
        }
        counters
    }

    fn owns(&self, stack: &Stack) -> bool {
        let mut chunks = self.shelves[stack.class().index()].chunks.iter();
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
                .map_or(chunk::FIRST_SLOTS, |last| last.slots * 2);
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
    /// Unmaps all chunks, or none if a stack is still live: references to its frames may be
    /// anywhere, so its memory is leaked, together with that of the other stacks.
    fn drop(&mut self) {
        for shelf in &mut self.shelves {
            for chunk in shelf.chunks.drain(..) {
                if self.live == 0 {
                    // SAFETY: no stack is live, and the free stacks are dropped with the arena.
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
