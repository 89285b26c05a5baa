//! Signals of the process: a handler that sets a bit in each watch of the signal, and writes a byte
//! into the pipe of each.
//!
//! What was in place before is put back with the last watch of a signal.

// Signal handlers are raw system interfaces.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ops, sigaction};

/// The signals that can be watched have numbers below this: those with a name, and no real-time
/// signals.
const SIGNALS: usize = 32;

/// Watches at the same time, at most.
const MOST_WATCHES: usize = 256;

/// What the handler knows of a watch. The handler must not allocate or lock, so the watches are in
/// a table of fixed size.
struct Slot {
    /// The signals that are watched, a bit each; zero where the slot is free.
    signals: AtomicU32,
    /// Those of them that have come since they were taken.
    came: AtomicU32,
    /// The pipe to write to.
    writer: AtomicI32,
    /// Whether the second signal ends the process.
    ends: AtomicBool,
    /// The process that the watch is in. A child that was forked off has a copy of the table, and
    /// the pipes of its parent.
    owner: AtomicI32,
}

static SLOTS: [Slot; MOST_WATCHES] = [const {
    Slot {
        signals: AtomicU32::new(0),
        came: AtomicU32::new(0),
        writer: AtomicI32::new(-1),
        ends: AtomicBool::new(false),
        owner: AtomicI32::new(0),
    }
}; MOST_WATCHES];

/// Signals to watches that end the process, since the first of the present ones was installed.
static ENDING: AtomicU32 = AtomicU32::new(0);

/// The process that the watches are in. A child that was forked off has our handler, and our pipes,
/// until it is another program.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Handlers that are running, on whatever OS thread. No pipe is closed before it is zero.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// The action that was in place before, by the number of the signal; null for none. One pointer, so
/// that a handler reads one action and not parts of two. An action is leaked: a handler may read it
/// at any time.
static PREVIOUS: [AtomicPtr<libc::sigaction>; SIGNALS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

static STATE: Mutex<WatchedSignals> = Mutex::new(WatchedSignals {
    watches: [0; SIGNALS],
    ending: 0,
    originals: [None; SIGNALS],
});

struct WatchedSignals {
    /// How many watches each signal has.
    watches: [usize; SIGNALS],
    /// How many watches end the process.
    ending: usize,
    /// What to put back. `Some` from when our handler was installed until that was undone: where
    /// another handler was put over ours meanwhile, ours stays.
    originals: [Option<libc::sigaction>; SIGNALS],
}

fn state() -> MutexGuard<'static, WatchedSignals> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as it lives, a signal that it is for does not do what it did before, but sets a bit that
/// [`take`](Self::take) takes, and writes a byte to the pipe.
pub(crate) struct Watch {
    slot: &'static Slot,
    signals: u32,
    /// Closed after the handler is sure not to use it.
    writer: OwnedFd,
}

fn bit(signal: c_int) -> u32 {
    debug_assert!((1..SIGNALS as c_int).contains(&signal));
    1 << signal
}

impl Watch {
    /// Watches these signals, whose numbers are below 32 and which can be caught. `writer` is the
    /// non-blocking end of a pipe.
    pub(crate) fn new(signals: impl Iterator<Item = c_int>, writer: OwnedFd) -> io::Result<Self> {
        let signals = signals.fold(0, |set, signal| set | bit(signal));
        Self::install(signals, false, writer)
    }

    /// Watches SIGTERM and SIGINT. The second of them ends the process, in the handler; the first
    /// may have come before, while another of these lived.
    #[cfg(feature = "http")]
    pub(crate) fn for_termination(writer: OwnedFd) -> io::Result<Self> {
        let this = Self::install(bit(libc::SIGTERM) | bit(libc::SIGINT), true, writer)?;
        // A signal that came before counts for this watch, too: the next one ends the process. If
        // the handler has written to this watch already, a second byte does no harm.
        if ENDING.load(Ordering::SeqCst) > 0 {
            this.write()?;
        }
        Ok(this)
    }

    fn install(signals: u32, ends: bool, writer: OwnedFd) -> io::Result<Self> {
        let mut state = state();
        let is_free = |slot: &&Slot| slot.signals.load(Ordering::SeqCst) == 0;
        let Some(slot) = SLOTS.iter().find(is_free) else {
            return Err(io::Error::other(
                "too many watch signals: 256 `Signals` and running servers at most at a time",
            ));
        };
        if ends && state.ending == 0 {
            ENDING.store(0, Ordering::SeqCst);
        }
        let process = this_process();
        if OWNER.load(Ordering::SeqCst) != process {
            // The first watch of a child: handlers that ran on other OS threads at the fork do not
            // run here. In this order, as a handler counts itself once it finds its process here.
            RUNNING.store(0, Ordering::SeqCst);
            OWNER.store(process, Ordering::SeqCst);
        }
        // Filled before the handler is in place: a handler without a slot would lose the signal.
        slot.came.store(0, Ordering::SeqCst);
        slot.writer.store(writer.as_raw_fd(), Ordering::SeqCst);
        slot.ends.store(ends, Ordering::SeqCst);
        slot.owner.store(process, Ordering::SeqCst);
        slot.signals.store(signals, Ordering::SeqCst);
        let taken = state.add(signals, ends);
        // Released first: the drop of `Self` below takes it.
        drop(state);
        let this = Self {
            slot,
            signals,
            writer,
        };
        taken.map(|()| this)
    }

    /// Whether this signal has come since it was last taken.
    pub(crate) fn take(&self, signal: c_int) -> bool {
        let before = self.slot.came.fetch_and(!bit(signal), Ordering::SeqCst);
        before & bit(signal) != 0
    }

    /// Whether any has come that was not taken.
    pub(crate) fn has_more(&self) -> bool {
        self.slot.came.load(Ordering::SeqCst) & self.signals != 0
    }

    /// Writes a byte into the pipe, as the handler does.
    pub(crate) fn write(&self) -> io::Result<()> {
        ops::write(self.writer.as_fd(), &[0]).map(drop)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = state();
        let is_ours = self.slot.owner.load(Ordering::SeqCst) == this_process();
        let ends = self.slot.ends.load(Ordering::SeqCst);
        state.remove(self.signals, ends);
        self.slot.signals.store(0, Ordering::SeqCst);
        // A handler that has seen the slot before is still going to write. It takes a few system
        // calls and never waits; and it cannot be one that this OS thread has interrupted. The lock
        // is kept, so that the slot is not used again before.
        while is_ours && RUNNING.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

fn this_process() -> libc::pid_t {
    // SAFETY: getpid(2) has no preconditions, and is async-signal-safe.
    unsafe { libc::getpid() }
}

/// Whether an action calls no handler, so that none can be calling ours.
fn is_no_handler(action: &libc::sigaction) -> bool {
    matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_signal as *const () as usize
}

/// The numbers of a set of signals.
fn each(signals: u32) -> impl Iterator<Item = c_int> {
    (1..SIGNALS as c_int).filter(move |signal| signals & (1 << signal) != 0)
}

impl WatchedSignals {
    /// Adds a watch. The caller removes it, also after an error.
    fn add(&mut self, signals: u32, ends: bool) -> io::Result<()> {
        self.ending += usize::from(ends);
        for signal in each(signals) {
            self.watches[signal as usize] += 1;
        }
        each(signals).try_for_each(|signal| self.take_over(signal))
    }

    fn remove(&mut self, signals: u32, ends: bool) {
        self.ending -= usize::from(ends);
        for signal in each(signals) {
            self.watches[signal as usize] -= 1;
            if self.watches[signal as usize] == 0 {
                self.put_back(signal);
            }
        }
    }

    fn take_over(&mut self, signal: c_int) -> io::Result<()> {
        let action = sigaction::current(signal)?;
        let original = &mut self.originals[signal as usize];
        // Another handler was installed over ours and calls it. Ours must not come on top again:
        // the two would call each other for ever.
        if original.is_some() && !is_no_handler(&action) {
            return Ok(());
        }
        // A library may have put ours back after it had saved it. What was before ours stays so.
        if !is_ours(&action) {
            // What the handler reads is stored before it can run.
            remember(signal, action);
            *original = Some(action);
        }
        // No system call is to fail by a signal.
        // SAFETY: `on_signal` is async-signal-safe: it uses atomics and calls getpid(2), write(2),
        // sigaction(2), raise(3), pthread_sigmask(3), _exit(2) or the previous handler.
        unsafe { sigaction::install(signal, on_signal, libc::SA_RESTART) }
    }

    fn put_back(&mut self, signal: c_int) {
        let Ok(now) = sigaction::current(signal) else {
            return;
        };
        let original = &mut self.originals[signal as usize];
        if is_no_handler(&now) {
            // Ours was taken away already.
            *original = None;
        } else if is_ours(&now)
            && let Some(action) = original.take()
        {
            // SAFETY: this is the action that the kernel gave us.
            unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
        // Else another handler was put over ours. It may still call ours, which then only calls the
        // one before it.
    }
}

/// Keeps an action for the handler, which may be reading the one that was kept before.
fn remember(signal: c_int, action: libc::sigaction) {
    let kept = &PREVIOUS[signal as usize];
    // SAFETY: null, or leaked below.
    let is_same = unsafe { kept.load(Ordering::SeqCst).as_ref() }.is_some_and(|before| {
        (before.sa_sigaction, before.sa_flags) == (action.sa_sigaction, action.sa_flags)
    });
    if !is_same {
        kept.store(Box::leak(Box::new(action)), Ordering::SeqCst);
    }
}

/// The action that was in place before ours.
fn previous(signal: c_int) -> Option<&'static libc::sigaction> {
    // SAFETY: null, or leaked by `remember`.
    unsafe { PREVIOUS[signal as usize].load(Ordering::SeqCst).as_ref() }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let process = this_process();
    if process != OWNER.load(Ordering::SeqCst) {
        return act_as_before(signal, info, context);
    }
    RUNNING.fetch_add(1, Ordering::SeqCst);
    let watches = |slot: &&Slot| {
        slot.signals.load(Ordering::SeqCst) & bit(signal) != 0
            && slot.owner.load(Ordering::SeqCst) == process
    };
    let ends = |slot: &Slot| slot.ends.load(Ordering::SeqCst);
    if SLOTS.iter().filter(watches).any(ends) && ENDING.fetch_add(1, Ordering::SeqCst) > 0 {
        end_process(signal);
    }
    let place = errno_place();
    // SAFETY: it is this OS thread's own `errno`, and lives as long as the thread.
    let errno = unsafe { *place };
    let mut is_watched = false;
    for slot in SLOTS.iter().filter(watches) {
        is_watched = true;
        // In this order: a waiter that the byte wakes finds the bit.
        slot.came.fetch_or(bit(signal), Ordering::SeqCst);
        let writer = slot.writer.load(Ordering::SeqCst);
        // A full pipe has input anyway.
        // SAFETY: the descriptor is open: `Watch::drop` frees the slot first, and then waits until
        // no handler runs. The buffer has one byte.
        unsafe { libc::write(writer, [0_u8].as_ptr().cast(), 1) };
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    if !is_watched && sigaction::current(signal).is_ok_and(|now| is_ours(&now)) {
        // A library put ours back after the last watch had gone.
        act_as_before(signal, info, context);
    } else {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *place = errno };
}

/// Without a watch in this process, as in a child between its fork(2) and exec(2), a signal does
/// what it did before, and is not reported to the watches of the parent.
fn act_as_before(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let default = |action: &libc::sigaction| action.sa_sigaction == libc::SIG_DFL;
    if previous(signal).is_none_or(default) {
        default_action(signal);
    } else {
        pass_on(signal, info, context);
    }
}

/// Lets a signal do what it does by default: most of them end the process.
fn default_action(signal: c_int) {
    // SAFETY: all fields of this C struct may be zero, and SIG_DFL is; sigaction(2), raise(3) and
    // _exit(2) are async-signal-safe. The signal is blocked until its handler returns, and acts
    // then.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, &action, ptr::null_mut()) != 0 || libc::raise(signal) != 0 {
            libc::_exit(128 + signal);
        }
    }
}

/// Ends the process by a signal whose default action does that, and at once. The first process of a
/// container is not ended by default actions; it exits with the status that a shell gives.
fn end_process(signal: c_int) -> ! {
    default_action(signal);
    // SAFETY: a set of signals may be zero; sigaddset(3), pthread_sigmask(3) and _exit(2) are
    // async-signal-safe.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        libc::_exit(128 + signal)
    }
}

/// The place of this OS thread's `errno`, which the interrupted code may be about to read.
fn errno_place() -> *mut c_int {
    // SAFETY: these have no preconditions.
    unsafe {
        #[cfg(target_os = "linux")]
        return libc::__errno_location();
        #[cfg(not(target_os = "linux"))]
        return libc::__error();
    }
}

/// Calls the previous handler, if there is one.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if let Some(previous) = previous(signal) {
        // SAFETY: the kernel has returned this action, and the rest are the arguments of the
        // handler.
        unsafe { sigaction::call(previous, signal, info, context) };
    }
}
