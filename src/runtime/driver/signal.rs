//! The signals that ask a process to end, told by a byte in a pipe; the second one ends it.
//!
//! Crates for this never give a signal back: after their last user has gone, SIGTERM does nothing.
//! Here what was in place before is put back with the last user.

// Signal handlers are raw system interfaces.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ops;

const SIGNALS: [c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Users at the same time, at most: one for each shard that runs a server.
const MOST_USERS: usize = 256;

/// The pipes to write to, [`NONE`] where a place is free. The handler may allocate and lock
/// nothing, so it finds them in a table of fixed size.
static WRITERS: [AtomicI32; MOST_USERS] = [const { AtomicI32::new(NONE) }; MOST_USERS];

const NONE: RawFd = -1;

/// Signals since the first of the present users came.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The process that the users are in. A child that was forked off has our handler, and our pipes,
/// until it is another program.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Handlers that are running, on whatever OS thread. No pipe is closed before it is zero.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// The handlers that were in place before, as `sa_sigaction` has them, and whether they take three
/// arguments; in the order of `SIGNALS`.
static PREVIOUS: [(AtomicUsize, AtomicI32); 2] =
    [const { (AtomicUsize::new(libc::SIG_DFL), AtomicI32::new(0)) }; 2];

static STATE: Mutex<State> = Mutex::new(State {
    users: 0,
    originals: [None; 2],
});

struct State {
    users: usize,
    /// What to put back, in the order of `SIGNALS`. `Some` from when ours was installed until that
    /// was undone: somebody may have put theirs over it, and then it stays.
    originals: [Option<libc::sigaction>; 2],
}

/// As long as it lives, the first SIGTERM or SIGINT writes a byte to its pipe, and the second one
/// ends the process. The first one may have come before, while another lived.
#[derive(Debug)]
pub(crate) struct TerminationSignals {
    place: usize,
    /// Closed after the handler is sure not to use it.
    writer: OwnedFd,
}

impl TerminationSignals {
    /// `writer` is the non-blocking end of a pipe or a socket.
    pub(crate) fn install(writer: OwnedFd) -> io::Result<Self> {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |writer: &AtomicI32| writer.load(Ordering::SeqCst) == NONE;
        let Some(place) = WRITERS.iter().position(free) else {
            return Err(io::Error::other(
                "too many servers wait for SIGTERM at the same time",
            ));
        };
        if state.users == 0 {
            SEEN.store(0, Ordering::SeqCst);
        }
        // SAFETY: getpid(2) has no preconditions.
        OWNER.store(unsafe { libc::getpid() }, Ordering::SeqCst);
        // Before the handler is in place, which would swallow a signal that it can tell nobody.
        WRITERS[place].store(writer.as_raw_fd(), Ordering::SeqCst);
        state.users += 1;
        let taken = state.take_over();
        // The drop of what is made here wants it.
        drop(state);
        let this = Self { place, writer };
        taken?;
        // A signal that came before is this user's, too: the next one ends the process. If the
        // handler has told this user already, a second byte tells nothing new.
        if SEEN.load(Ordering::SeqCst) > 0 {
            ops::write(this.writer.as_fd(), &[0])?;
        }
        Ok(this)
    }
}

impl Drop for TerminationSignals {
    fn drop(&mut self) {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        state.users -= 1;
        if state.users == 0 {
            state.put_back();
        }
        WRITERS[self.place].store(NONE, Ordering::SeqCst);
        // A handler that has read the number before is still going to write. It takes two system
        // calls and never waits; and it cannot be one that this OS thread has interrupted.
        while RUNNING.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

impl State {
    fn take_over(&mut self) -> io::Result<()> {
        let signals = SIGNALS.into_iter().zip(&PREVIOUS);
        for ((signal, previous), original) in signals.zip(&mut self.originals) {
            // Below somebody else's, who calls it, it must not come on top again: it would call
            // theirs, and so on.
            if original.is_some() {
                continue;
            }
            let action = current_action(signal)?;
            // What the handler reads is stored before it can run.
            previous.0.store(action.sa_sigaction, Ordering::SeqCst);
            previous.1.store(action.sa_flags, Ordering::SeqCst);
            take_over(signal)?;
            *original = Some(action);
        }
        Ok(())
    }

    fn put_back(&mut self) {
        let ours = on_signal as *const () as usize;
        for (signal, original) in SIGNALS.into_iter().zip(&mut self.originals) {
            // Somebody may have put theirs over ours. That one may still call ours, which does
            // nothing any more.
            let is_on_top = current_action(signal).is_ok_and(|now| now.sa_sigaction == ours);
            if let Some(action) = original.take_if(|_| is_on_top) {
                // SAFETY: this is the action that the kernel gave us.
                unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
            }
        }
    }
}

fn current_action(signal: c_int) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a null new action changes nothing, and `action` has room for the old one.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sigaction(2) succeeded and has written it.
    Ok(unsafe { action.assume_init() })
}

fn take_over(signal: c_int) -> io::Result<()> {
    // SAFETY: all fields of this C struct may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    // On the alternate stack, as an ethread's own may have no room; and nobody's system call is to
    // fail by this.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for and is async-signal-safe: it
    // uses atomics and calls getpid(2), write(2), sigaction(2), raise(3) or the previous handler.
    if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: getpid(2) has no preconditions and is async-signal-safe.
    if unsafe { libc::getpid() } != OWNER.load(Ordering::SeqCst) {
        return in_a_child(signal, info, context);
    }
    RUNNING.fetch_add(1, Ordering::SeqCst);
    let mut users = WRITERS
        .iter()
        .map(|writer| writer.load(Ordering::SeqCst))
        .filter(|writer| *writer != NONE)
        .peekable();
    if users.peek().is_some() {
        if SEEN.fetch_add(1, Ordering::SeqCst) > 0 {
            return die_of(signal);
        }
        let place = errno_place();
        // SAFETY: it is this OS thread's own `errno`, and lives as long as the thread.
        let errno = unsafe { *place };
        for writer in users {
            // A pipe that is full has told enough.
            // SAFETY: the descriptor is open: whoever closes it takes it out of the table first,
            // and then waits until no handler runs. The buffer has one byte.
            unsafe { libc::write(writer, [0_u8].as_ptr().cast(), 1) };
        }
        // SAFETY: as above.
        unsafe { *place = errno };
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    pass_on(signal, info, context);
}

/// What was to end a child between its fork(2) and exec(2) ends it, and tells the servers of its
/// parent nothing.
fn in_a_child(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if previous(signal).0.load(Ordering::SeqCst) == libc::SIG_DFL {
        return die_of(signal);
    }
    pass_on(signal, info, context);
}

fn previous(signal: c_int) -> &'static (AtomicUsize, AtomicI32) {
    &PREVIOUS[usize::from(signal != SIGNALS[0])]
}

/// Ends the process as if nobody had ever looked after the signal.
fn die_of(signal: c_int) {
    // SAFETY: all fields of this C struct may be zero, and SIG_DFL is; sigaction(2), raise(3) and
    // _exit(2) are async-signal-safe. The signal is blocked until its handler returns, and then
    // ends the process.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, &action, ptr::null_mut()) != 0 || libc::raise(signal) != 0 {
            libc::_exit(128 + signal);
        }
    }
}

/// Where the `errno` of this OS thread is: what was interrupted may be about to read it.
fn errno_place() -> *mut c_int {
    // SAFETY: these have no preconditions.
    unsafe {
        #[cfg(target_os = "linux")]
        return libc::__errno_location();
        #[cfg(not(target_os = "linux"))]
        return libc::__error();
    }
}

/// Lets the previous handler have the signal too, if there is one.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let (handler, flags) = previous(signal);
    match handler.load(Ordering::SeqCst) {
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler if flags.load(Ordering::SeqCst) & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the field held a handler of this type.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the field held a handler of this type.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
