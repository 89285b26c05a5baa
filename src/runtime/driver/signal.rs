//! SIGTERM and SIGINT as bytes in a pipe. The second signal ends the process.
//!
//! Crates for this never restore a signal's action: after their last user is gone, SIGTERM does
//! nothing. This module restores the previous action with its last user.

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

/// The most users at the same time. Each shard that runs a server is a user.
const MOST_USERS: usize = 256;

/// The pipes to write to; [`NONE`] in a free entry. The handler must not allocate or lock, so it
/// finds them in a table of fixed size.
static WRITERS: [AtomicI32; MOST_USERS] = [const { AtomicI32::new(NONE) }; MOST_USERS];

const NONE: RawFd = -1;

/// Signals since the first of the current users was installed.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The process of the users. A forked child has this handler, and these pipes, until it calls
/// exec(2).
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Handlers that are running, on any OS thread. No pipe is closed before this is zero.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// The handlers that were installed before (`sa_sigaction`), and their `sa_flags`, which say
/// whether they take three arguments; in the order of `SIGNALS`.
static PREVIOUS: [(AtomicUsize, AtomicI32); 2] =
    [const { (AtomicUsize::new(libc::SIG_DFL), AtomicI32::new(0)) }; 2];

static STATE: Mutex<State> = Mutex::new(State {
    users: 0,
    originals: [None; 2],
});

struct State {
    users: usize,
    /// The actions to restore, in the order of `SIGNALS`. `Some` while this module's handler is
    /// installed. If the program has installed another handler over it, both stay.
    originals: [Option<libc::sigaction>; 2],
}

/// While a value of this type lives, the first SIGTERM or SIGINT writes a byte to its pipe, and the
/// second signal ends the process. The first signal may have arrived before this value was made,
/// while another value lived.
#[derive(Debug)]
pub(crate) struct TerminationSignals {
    place: usize,
    /// Closed only when no running handler can use it.
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
        // Stored before the handler is installed: otherwise the handler could swallow a signal,
        // with no pipe to write to.
        WRITERS[place].store(writer.as_raw_fd(), Ordering::SeqCst);
        state.users += 1;
        let taken = state.take_over();
        // `Drop` of the value that is made below locks the state again.
        drop(state);
        let this = Self { place, writer };
        taken?;
        // An earlier signal counts for this user, too: the next one ends the process. If the
        // handler has already written to this pipe, a second byte does no harm.
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
        // A handler that has read the descriptor before may still write to it. It makes a few
        // system calls and never waits. It cannot be a handler that this OS thread has interrupted,
        // so the loop ends.
        while RUNNING.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

impl State {
    fn take_over(&mut self) -> io::Result<()> {
        let signals = SIGNALS.into_iter().zip(&PREVIOUS);
        for ((signal, previous), original) in signals.zip(&mut self.originals) {
            // This handler is still installed, below a handler that the program has installed over
            // it and that calls it. Installed on top again, it would call that handler, which calls
            // it, and so on.
            if original.is_some() {
                continue;
            }
            let action = current_action(signal)?;
            // What the handler reads is stored before the handler can run.
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
            // The program may have installed another handler over this one. That handler may still
            // call this one, which then only passes the signal on.
            let is_on_top = current_action(signal).is_ok_and(|now| now.sa_sigaction == ours);
            if let Some(action) = original.take_if(|_| is_on_top) {
                // SAFETY: the kernel has returned this action.
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
    // The handler runs on the alternate stack, as an ethread's own stack may have no room.
    // SA_RESTART keeps interrupted system calls from failing.
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
            // A full pipe needs no further byte.
            // SAFETY: the descriptor is open: `TerminationSignals::drop` takes it out of the table
            // and waits until no handler runs, and only then closes it. The buffer has one byte.
            unsafe { libc::write(writer, [0_u8].as_ptr().cast(), 1) };
        }
        // SAFETY: as above.
        unsafe { *place = errno };
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    pass_on(signal, info, context);
}

/// Handles a signal in a forked child that has not called exec(2) yet. The signal ends the child if
/// its default action was in place before; the servers of the parent get no byte.
fn in_a_child(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if previous(signal).0.load(Ordering::SeqCst) == libc::SIG_DFL {
        return die_of(signal);
    }
    pass_on(signal, info, context);
}

fn previous(signal: c_int) -> &'static (AtomicUsize, AtomicI32) {
    &PREVIOUS[usize::from(signal != SIGNALS[0])]
}

/// Ends the process by the default action of the signal.
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

/// The address of this OS thread's `errno`. The handler restores the value, as the interrupted code
/// may be about to read it.
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
