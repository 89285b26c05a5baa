//! Chunks: the mappings that slots are cut from, and the guards in them.

// mmap, mprotect, madvise and munmap.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::layout::{Class, GUARD};
use super::registry::ChunkRecord;

/// The slots of a class's first chunk; each further one has twice as many as the last.
pub(super) const FIRST_SLOTS: usize = 16;
/// No chunk of more than one slot is larger. So the mapped address space, which counts against
/// RLIMIT_AS, stays in proportion to the used part.
const LARGEST_CHUNK: usize = 256 << 20;

/// `MADV_GUARD_INSTALL` of `asm-generic/mman-common.h`, which libc does not have yet.
#[cfg(target_os = "linux")]
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Guards made by mprotect in this process, to compare with `vm.max_map_count`.
static MPROTECT_GUARDS: AtomicUsize = AtomicUsize::new(0);

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

/// A mapping that is cut into slots. The lower slots are guarded and in use.
///
/// Dropping it neither unmaps nor retires it: the arena calls `unmap` or `leak`.
#[derive(Debug)]
pub(super) struct Chunk {
    start: NonZeroUsize,
    class: Class,
    pub(super) slots: usize,
    /// How many of the guarded slots were handed out.
    taken: usize,
    pub(super) mprotect_guards: usize,
    /// One for each guarded slot.
    registrations: Vec<ValgrindStackRegistration>,
    record: &'static ChunkRecord,
}

impl Chunk {
    /// Maps `slots` slots, or as many as the kernel's limits for chunks and for this process allow,
    /// but at least one. Adjacent chunks merge into one mapping, so this chunk should end at
    /// `above`, the lowest address of the last chunk.
    pub(super) fn map(class: Class, slots: usize, above: usize) -> io::Result<Self> {
        let stride = class.stride();
        let mut slots = slots.min(LARGEST_CHUNK / stride).max(1);
        let start = loop {
            match map_anonymous(slots * stride, above.saturating_sub(slots * stride)) {
                Ok(start) => break start,
                // A smaller chunk may still fit.
                Err(_) if slots > 1 => slots /= 2,
                Err(error) => return Err(map_error(&error, class)),
            }
        };
        Ok(Self {
            start,
            class,
            slots,
            taken: 0,
            mprotect_guards: 0,
            registrations: Vec::new(),
            record: ChunkRecord::publish(start.get(), stride),
        })
    }

    /// Guards the next slot. `kind` becomes `Mprotect` if it was `Auto` and the kernel refuses
    /// madvise.
    pub(super) fn prepare(&mut self, kind: &mut GuardKind) -> io::Result<()> {
        assert!(!self.is_full());
        let slot = self.slot(self.prepared());
        // SAFETY: the slot lies in this chunk and was not handed out yet.
        self.mprotect_guards += usize::from(unsafe { install_guard(slot.get(), kind) }?);
        // From here on valgrind takes a stack pointer in the slot for a switch, not an error.
        self.registrations.push(ValgrindStackRegistration::new(
            ptr::with_exposed_provenance_mut(slot.get()),
            self.class.stride(),
        ));
        self.record.set_guarded(self.prepared());
        Ok(())
    }

    /// Hands out the first guarded slot that was not handed out yet: its address and number.
    pub(super) fn take(&mut self) -> Option<(NonZeroUsize, usize)> {
        let number = self.taken;
        (number < self.prepared()).then(|| {
            self.taken += 1;
            (self.slot(number), number)
        })
    }

    fn slot(&self, number: usize) -> NonZeroUsize {
        self.start.saturating_add(number * self.class.stride())
    }

    /// Unmaps the chunk.
    ///
    /// # Safety
    ///
    /// Nothing refers to its slots any more.
    pub(super) unsafe fn unmap(self) {
        self.record.retire();
        let (start, len) = (self.start.get(), self.len());
        // SAFETY: the whole range of this chunk, to which nothing refers any more, as the caller
        // guarantees.
        let unmapped = unsafe { libc::munmap(ptr::with_exposed_provenance_mut(start), len) };
        if unmapped != 0 {
            // Cutting a hole into merged chunks makes one more mapping, and vm.max_map_count may
            // be reached (munmap(2), ENOMEM). Then only the address space is lost.
            // SAFETY: as above.
            unsafe { give_back(start, len) };
        } else {
            MPROTECT_GUARDS.fetch_sub(self.mprotect_guards, Ordering::Relaxed);
        }
    }

    /// Keeps the memory mapped forever. Only the record is withdrawn, since it would lead the fault
    /// handler to data of an arena that is gone.
    pub(super) fn leak(self) {
        self.record.retire();
        mem::forget(self.registrations);
    }

    pub(super) fn start(&self) -> usize {
        self.start.get()
    }

    pub(super) fn len(&self) -> usize {
        self.slots * self.class.stride()
    }

    pub(super) fn is_full(&self) -> bool {
        self.prepared() == self.slots
    }

    pub(super) fn madvise_guards(&self) -> usize {
        self.prepared() - self.mprotect_guards
    }

    fn prepared(&self) -> usize {
        self.registrations.len()
    }
}

pub(super) fn page_size() -> usize {
    // SAFETY: sysconf(3) has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("the page size is always known")
}

/// Gives the pages of a range back to the system; what was in them is lost.
///
/// # Safety
///
/// The range is page-aligned, mapped by a chunk and holds nothing that is still needed.
pub(super) unsafe fn give_back(start: usize, len: usize) {
    #[cfg(target_os = "linux")]
    const ADVICE: libc::c_int = libc::MADV_DONTNEED;
    // Elsewhere MADV_DONTNEED is about the order of paging and frees nothing.
    #[cfg(not(target_os = "linux"))]
    const ADVICE: libc::c_int = libc::MADV_FREE;
    // The call fails in memory locked by mlockall(2), which must stay resident: the failure is
    // harmless.
    // SAFETY: the caller's promise.
    unsafe { libc::madvise(ptr::with_exposed_provenance_mut(start), len, ADVICE) };
}

/// Maps memory that costs nothing before it is touched, at `hint` if that is free.
fn map_anonymous(len: usize, hint: usize) -> io::Result<NonZeroUsize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    #[cfg(target_os = "linux")]
    let flags = flags | libc::MAP_NORESERVE;
    // SAFETY: a new mapping; a hint without MAP_FIXED replaces nothing.
    let mapped = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(hint),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A huge page would make the first touch of a stack cost 2 MiB. Kernels built without them
    // refuse the advice, and need none.
    #[cfg(target_os = "linux")]
    // SAFETY: the mapping just made.
    unsafe {
        libc::madvise(mapped, len, libc::MADV_NOHUGEPAGE);
    }
    Ok(NonZeroUsize::new(mapped.expose_provenance()).expect("mmap(2) never chooses address zero"))
}

/// Makes the lowest part of a slot inaccessible; true if that took mprotect.
///
/// # Safety
///
/// The slot belongs to a chunk and is not in use.
unsafe fn install_guard(slot: usize, kind: &mut GuardKind) -> io::Result<bool> {
    if *kind != GuardKind::Mprotect {
        // SAFETY: the caller's promise.
        match unsafe { madvise_guard(slot) } {
            Ok(()) => return Ok(false),
            Err(error) if *kind == GuardKind::Madvise || is_shortage(&error) => {
                return Err(madvise_error(&error));
            }
            // An older kernel, another system, a filter of system calls, locked memory: none of
            // these changes before the next slot.
            Err(_) => *kind = GuardKind::Mprotect,
        }
    }
    let guard = ptr::with_exposed_provenance_mut(slot);
    // SAFETY: the caller's promise.
    if unsafe { libc::mprotect(guard, GUARD, libc::PROT_NONE) } != 0 {
        return Err(mprotect_error(&io::Error::last_os_error()));
    }
    MPROTECT_GUARDS.fetch_add(1, Ordering::Relaxed);
    Ok(true)
}

/// # Safety
///
/// As of `install_guard`.
#[cfg(target_os = "linux")]
unsafe fn madvise_guard(slot: usize) -> io::Result<()> {
    let guard = ptr::with_exposed_provenance_mut(slot);
    // SAFETY: the caller's promise.
    match unsafe { libc::madvise(guard, GUARD, MADV_GUARD_INSTALL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
///
/// As of `install_guard`; nothing is done to the slot here.
#[cfg(not(target_os = "linux"))]
unsafe fn madvise_guard(_slot: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a resource ran out, as opposed to an operation that is not supported.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EAGAIN))
}

/// Makes an error whose text says what to do about it.
fn explain(error: &io::Error, text: String) -> io::Error {
    // EAGAIN is a limit on locked memory here; as `WouldBlock` it would be taken for a reason to
    // wait.
    let kind = match is_shortage(error) {
        true => io::ErrorKind::OutOfMemory,
        false => error.kind(),
    };
    io::Error::new(kind, text)
}

fn map_error(error: &io::Error, class: Class) -> io::Error {
    let text = format!(
        "cannot map a stack of {} bytes ({error}): raise RLIMIT_AS (ulimit -v), vm.max_map_count \
         (now {}), the memory limit of the cgroup or, under mlockall, RLIMIT_MEMLOCK, or set \
         vm.overcommit_memory to 0 or 1",
        class.usable(),
        max_map_count(),
    );
    explain(error, text)
}

fn madvise_error(error: &io::Error) -> io::Error {
    let text = match is_shortage(error) {
        true => format!("cannot guard a stack ({error}): raise the memory limit of the cgroup"),
        false => format!(
            "cannot guard a stack by MADV_GUARD_INSTALL ({error}): this needs Linux 6.13 and \
             memory that is not locked by mlockall"
        ),
    };
    explain(error, text)
}

fn mprotect_error(error: &io::Error) -> io::Error {
    let text = format!(
        "cannot guard a stack by mprotect ({error}): raise vm.max_map_count (now {}), as each \
         guard needs two mappings and {} are in place",
        max_map_count(),
        MPROTECT_GUARDS.load(Ordering::Relaxed),
    );
    explain(error, text)
}

fn max_map_count() -> String {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
