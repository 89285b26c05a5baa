//! The layout of a slot: its sizes, and the places of its parts.

// The parts at the top of a slot are addressed through raw pointers.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use corosensei::stack::StackPointer;

/// The size of a guard: C code that does not probe its frames can step over a single page.
pub(super) const GUARD: usize = 64 << 10;

pub(super) const SMALLEST: usize = 16 << 10;
pub(super) const LARGEST: usize = 1 << 30;
pub(super) const CLASSES: usize = (LARGEST.ilog2() - SMALLEST.ilog2() + 1) as usize;

/// Colours are two cache lines apart, since processors fetch lines in pairs.
const COLOUR_STEP: usize = 128;
/// As many colours as keep the base within 1 KiB of the top: eight, or seven under ASan, where the
/// state of a coroutine is larger.
pub(super) const COLOURS: usize = (NEAR_TOP - HEADER - ROOM) / COLOUR_STEP + 1;
const NEAR_TOP: usize = 1 << 10;

/// A size that stacks come in: a power of two, from 16 KiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    exponent: u8,
}

impl Class {
    /// The smallest class with `usable` bytes, which must be within the bounds.
    pub(super) fn with_usable(usable: usize) -> Self {
        Self {
            exponent: usable.next_power_of_two().ilog2() as u8,
        }
    }

    /// The bytes of a stack that code can use.
    pub(crate) fn usable(self) -> usize {
        1 << self.exponent
    }

    /// The distance from one slot to the next.
    pub(super) fn stride(self) -> usize {
        self.usable() + GUARD
    }

    pub(super) fn index(self) -> usize {
        (u32::from(self.exponent) - SMALLEST.ilog2()) as usize
    }
}

/// A slot that an `Arena` has handed out, to be returned by `Arena::free`.
///
/// Dropping it instead loses the slot: it is never used again, and its arena never unmapped.
#[derive(Debug)]
#[must_use = "a dropped stack is leaked"]
pub(crate) struct Stack {
    /// The address at which code on the stack begins.
    base: NonZeroUsize,
    class: Class,
    /// What runs on a stack belongs to one OS thread.
    not_send: PhantomData<*mut ()>,
}

/// The top of a slot, for the fault handler.
#[repr(C, align(64))]
pub(super) struct Header {
    pub(super) occupant: AtomicPtr<()>,
}

pub(super) const HEADER: usize = size_of::<Header>();

/// The header of the slot that ends at `top`; to be read only while that slot is mapped.
pub(super) fn header_at(top: usize) -> *const Header {
    ptr::with_exposed_provenance(top - HEADER)
}

/// The space right above a stack's base: for a coroutine, and six words about it. Zero before its
/// first use.
#[repr(C, align(64))]
pub(in crate::runtime) struct Room(MaybeUninit<(AnyCoroutine, [usize; 6])>);

/// The types that go in and out of a coroutine do not affect its size.
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
    pub(super) fn new(slot: NonZeroUsize, class: Class, colour: usize) -> Self {
        let above = HEADER + colour * COLOUR_STEP + ROOM;
        Self {
            base: slot.saturating_add(class.stride() - above),
            class,
            not_send: PhantomData,
        }
    }

    /// The stack that `room` is part of.
    ///
    /// # Safety
    ///
    /// The room is part of a live stack of this class. The stack must have one owner: the previous
    /// owner gives it up, or this value is only asked for its addresses.
    #[inline]
    pub(in crate::runtime) unsafe fn again(room: NonNull<Room>, class: Class) -> Self {
        Self {
            base: room.addr(),
            class,
            not_send: PhantomData,
        }
    }

    pub(in crate::runtime) fn class(&self) -> Class {
        self.class
    }

    /// The room for the state of what runs on this stack: writable, and not used otherwise as long
    /// as the stack is live.
    #[inline]
    pub(in crate::runtime) fn room(&self) -> NonNull<Room> {
        let room = ptr::with_exposed_provenance_mut(self.base.get());
        NonNull::new(room).expect("it is not zero")
    }

    /// Sets what runs on this stack, for `registry::find_guard`; null means nothing.
    pub(crate) fn set_occupant(&self, occupant: *const ()) {
        self.header()
            .occupant
            .store(occupant.cast_mut(), Ordering::Release);
    }

    /// The lowest address of the slot, where its guard begins.
    pub(super) fn slot(&self) -> usize {
        self.top() - self.class.stride()
    }

    /// The lowest address that code can use.
    pub(crate) fn bottom(&self) -> usize {
        self.slot() + GUARD
    }

    /// The end of the slot, which is the end of the page in which the base lies.
    #[inline]
    fn top(&self) -> usize {
        self.base.get().next_multiple_of(SMALLEST_PAGE)
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: a slot of a live stack stays mapped (`Arena::drop`), its usable part is
        // readable and writable, the header lies at its page-aligned end above anything that runs
        // on the stack (`base`), and fresh pages are zero, which is a null occupant.
        unsafe { &*header_at(self.top()) }
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
