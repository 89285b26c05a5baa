//! Reports which ethread's stack overflowed, before the process aborts.
//!
//! An overflow shows as a fault in a guard. The handler runs on an alternate stack (the ethread's
//! own stack has no room), recognizes guards by their address, reads plain atomics only, writes one
//! line to standard error and aborts. Every other fault goes on to the handler that was installed
//! before: std's, or the program's own.

// Signal handlers and alternate stacks are raw system interfaces.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use super::registry::find_guard;
use crate::runtime::base::thread_names::NameSlot;
use crate::runtime::driver::{exhausted, sigaction};

/// The size of a shard thread's alternate stack. std's own has 12 KiB or so, and threads that std
/// did not start have none.
const ALTERNATE_STACK: usize = 64 << 10;

/// The signals of a fault in a guard: Linux sends the first, macOS the second.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The actions that were installed before, in the order of `SIGNALS`.
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Installs the handler, once per process, and this OS thread's alternate stack, once per thread.
pub(in crate::runtime) fn install() -> io::Result<()> {
    // The previous actions are stored before the handler can run, so that the handler finds them.
    if PREVIOUS.get().is_none() {
        let previous = [
            sigaction::current(SIGNALS[0])?,
            sigaction::current(SIGNALS[1])?,
        ];
        if PREVIOUS.set(previous).is_ok() {
            for signal in SIGNALS {
                // SAFETY: `on_fault` is async-signal-safe: it reads atomics and calls write(2),
                // abort(3), sigaction(2) or the previous handler.
                unsafe { sigaction::install(signal, on_fault, 0)? };
            }
        }
    }
    thread_local! {
        static ALTERNATE: RefCell<Option<AlternateStack>> = const { RefCell::new(None) };
    }
    ALTERNATE
        .try_with(|alternate| {
            let mut alternate = alternate.borrow_mut();
            if alternate.is_none() {
                *alternate = AlternateStack::install()?;
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t, whose address is set for these signals.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(hit) = find_guard(address) {
        // SAFETY: null, or set by `Stack::set_occupant` to the name slot of the ethread that runs
        // on this stack; name slots live as long as the scheduler's `names`, which is dropped
        // after its stacks.
        let occupant =
            unsafe { hit.occupant.cast::<NameSlot>().as_ref() }.and_then(NameSlot::snapshot);
        let mut line = io::Cursor::new([0; 320]);
        // Where the line is longer, it is cut.
        let _ = match &occupant {
            Some(occupant) => match occupant.name() {
                Some(name) => write!(line, "ethread '{name}' (#{})", occupant.id),
                None => write!(line, "ethread #{}", occupant.id),
            },
            None => line.write_all(b"an ethread"),
        };
        let _ = writeln!(
            line,
            " has overflowed its stack of {} bytes; raise it with thread::Builder::stack_size, or \
             for all ethreads with Runtime::builder().stack_size",
            hit.usable
        );
        let (bytes, len) = (line.get_ref(), line.position() as usize);
        // SAFETY: the buffer holds `len` bytes; write(2) and abort(3) are async-signal-safe.
        unsafe {
            libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), len);
            libc::abort()
        };
    }
    pass_on(signal, info, context);
}

/// Passes the fault on to the previous handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let which = usize::from(signal != SIGNALS[0]);
    let Some(previous) = PREVIOUS.get().map(|previous| &previous[which]) else {
        return;
    };
    if matches!(previous.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        // Returning runs the faulting instruction again, now without a handler. (A fault cannot
        // be ignored: the kernel kills the process.)
        // SAFETY: the kernel has returned this action.
        unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
        return;
    }
    // SAFETY: the kernel has returned this action, and the rest are the arguments of the handler.
    unsafe { sigaction::call(previous, signal, info, context) };
}

/// This OS thread's alternate stack, from the first scheduler on it to the thread's end.
struct AlternateStack {
    memory: *mut c_void,
    previous: libc::stack_t,
}

impl AlternateStack {
    /// `None` if the OS thread has an alternate stack that is large enough.
    fn install() -> io::Result<Option<Self>> {
        let previous = current_stack()?;
        if previous.ss_flags & libc::SS_DISABLE == 0 && previous.ss_size >= ALTERNATE_STACK {
            return Ok(None);
        }
        // SAFETY: a fresh anonymous mapping touches no memory that is in use.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                ALTERNATE_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            let failed = "cannot map the alternate stack of a shard's OS thread";
            return Err(exhausted::mappings(failed, error));
        }
        let stack = libc::stack_t {
            ss_sp: memory,
            ss_flags: 0,
            ss_size: ALTERNATE_STACK,
        };
        let alternate = Self { memory, previous };
        // SAFETY: the mapping is `alternate`'s until its `drop`, which takes it out of use first.
        if unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Some(alternate))
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let Ok(current) = current_stack() else { return };
        // std disables the alternate stack of its threads, and unmaps the stack that `previous`
        // describes, before their thread-locals are dropped.
        let ours = current.ss_flags & libc::SS_DISABLE == 0 && current.ss_sp == self.memory;
        // SAFETY: the call restores the stack that was in use before; the thread is ending, and no
        // handler runs now. The mapping is unmapped only if it is out of use.
        unsafe {
            if !ours || libc::sigaltstack(&self.previous, ptr::null_mut()) == 0 {
                libc::munmap(self.memory, ALTERNATE_STACK);
            }
        }
    }
}

/// The alternate stack of this OS thread.
fn current_stack() -> io::Result<libc::stack_t> {
    let mut stack = MaybeUninit::uninit();
    // SAFETY: a null new stack changes nothing, and there is room for the old one.
    if unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sigaltstack(2) succeeded and has written it.
    Ok(unsafe { stack.assume_init() })
}
