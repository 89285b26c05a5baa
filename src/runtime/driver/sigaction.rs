//! sigaction(2), for the signal handlers of this crate.

// Signal handlers are raw system interfaces.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// A handler that is installed with SA_SIGINFO.
pub(in crate::runtime) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The action that a signal has now.
pub(in crate::runtime) fn current(signal: c_int) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a null new action changes nothing, and `action` has room for the old one.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sigaction(2) succeeded and has written it.
    Ok(unsafe { action.assume_init() })
}

/// Installs a handler, which runs on the alternate stack of its OS thread.
///
/// # Safety
///
/// `handler` must be async-signal-safe, whatever it interrupts.
pub(in crate::runtime) unsafe fn install(
    signal: c_int,
    handler: Handler,
    flags: c_int,
) -> io::Result<()> {
    // SAFETY: all fields of this C struct may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // An ethread's own stack may have no room.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe, as
    // the caller promises.
    if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Calls the handler of an action that was installed before, if it is one.
///
/// # Safety
///
/// The kernel has returned the action for `signal`; the other arguments are those of a handler that
/// runs.
pub(in crate::runtime) unsafe fn call(
    action: &libc::sigaction,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the field held a handler of this type.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the field held a handler of this type.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
