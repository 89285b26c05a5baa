//! What the process does when it gets a signal.

// sigaction(2) has no safe form.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

/// Whether nobody has changed what this signal does.
pub(crate) fn has_default_action(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action sigaction(2) changes nothing, and writes the present one to
    // where the last argument points, which is read only if the call says that it has.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}
