//! Stack overflows end the process with a line that names the ethread. Other faults reach the
//! handlers that they reached before.

// Signal handlers, foreign threads and wild writes need raw calls.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::ptr;

use ethreads::runtime::GuardKind;
use ethreads::{Builder, Runtime, thread};

use crate::support::{fresh, in_child, stderr};

/// Recurses until the stack overflows.
#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    black_box(dig(depth + 1)) + frame[0]
}

fn overflow_in(runtime: Builder) {
    let run = runtime.run(|| {
        // Other ethreads have stacks around the digger's.
        let others: Vec<_> = (0..20).map(|_| thread::spawn(|| thread::park())).collect();
        let digger = thread::Builder::new()
            .name("digger")
            .stack_size(64 << 10)
            .spawn(|| {
                thread::yield_now();
                dig(0)
            });
        let id = digger.as_ref().unwrap().thread().id();
        eprintln!("the digger is {id}");
        drop(digger.unwrap().join());
        drop(others);
    });
    run.unwrap();
}

#[track_caller]
fn assert_diagnosed(output: &Output) {
    let printed = stderr(output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{printed}");
    let id = printed
        .split("the digger is ")
        .nth(1)
        .expect("it has begun")
        .lines()
        .next()
        .unwrap();
    let expected = format!(
        "ethread 'digger' ({id}) has overflowed its stack of 65536 bytes; raise it with \
         thread::Builder::stack_size, or for all ethreads with Runtime::builder().stack_size\n"
    );
    assert!(printed.contains(&expected), "{printed}");
}

#[test]
fn an_overflow_is_named() {
    let Some(output) = in_child("runtime::overflow::an_overflow_is_named") else {
        return overflow_in(Runtime::builder());
    };
    assert_diagnosed(&output);
}

#[test]
fn guards_by_mprotect_are_recognised() {
    let Some(output) = in_child("runtime::overflow::guards_by_mprotect_are_recognised") else {
        return overflow_in(Runtime::builder().guard(GuardKind::Mprotect));
    };
    assert_diagnosed(&output);
}

#[test]
fn the_root_and_nameless_ones_are_told_apart() {
    let Some(output) = in_child("runtime::overflow::the_root_and_nameless_ones_are_told_apart")
    else {
        let nameless = || {
            let handle = thread::spawn(|| dig(0));
            eprintln!("it is {}", handle.thread().id());
            drop(handle.join());
        };
        return Runtime::builder()
            .stack_size(32 << 10)
            .run(nameless)
            .unwrap();
    };
    let printed = stderr(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{printed}");
    let id = printed
        .split("it is ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let expected = format!("ethread {id} has overflowed its stack of 32768 bytes;");
    assert!(printed.contains(&expected), "{printed}");
}

extern "C" fn on_foreign_thread(_: *mut c_void) -> *mut c_void {
    overflow_in(Runtime::builder());
    ptr::null_mut()
}

/// Runs `body` on an OS thread that std did not start.
fn on_pthread(body: extern "C" fn(*mut c_void) -> *mut c_void) {
    let mut thread = std::mem::MaybeUninit::uninit();
    // SAFETY: `thread` has room for the id; null attributes and a null argument are allowed.
    let created =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), body, ptr::null_mut()) };
    assert_eq!(created, 0);
    // SAFETY: the id was written, and the thread is joined once.
    let joined = unsafe { libc::pthread_join(thread.assume_init(), ptr::null_mut()) };
    assert_eq!(joined, 0);
}

#[test]
fn threads_that_std_did_not_start_are_covered() {
    let Some(output) = in_child("runtime::overflow::threads_that_std_did_not_start_are_covered")
    else {
        return on_pthread(on_foreign_thread);
    };
    assert_diagnosed(&output);
}

#[test]
fn an_os_threads_own_overflow_is_still_stds() {
    let Some(output) = in_child("runtime::overflow::an_os_threads_own_overflow_is_still_stds")
    else {
        let thread = std::thread::Builder::new().name("plain-os-thread".into());
        let body = || {
            Runtime::builder().run(|| ()).unwrap();
            dig(0)
        };
        drop(thread.spawn(body).unwrap().join());
        return;
    };
    let printed = stderr(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{printed}");
    assert!(printed.contains("thread 'plain-os-thread'"), "{printed}");
    assert!(printed.contains("has overflowed its stack"), "{printed}");
    assert!(!printed.contains("ethread "), "{printed}");
}

/// Writes to an address without memory.
fn fault() {
    // SAFETY: the write is not sound: it is the fault that is to be handled.
    unsafe { ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

#[test]
fn a_fault_elsewhere_kills_as_ever() {
    let Some(output) = in_child("runtime::overflow::a_fault_elsewhere_kills_as_ever") else {
        return Runtime::builder().run(fault).unwrap();
    };
    let printed = stderr(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{printed}");
    assert!(!printed.contains("overflowed"), "{printed}");
}

fn say_and_exit(text: &str, code: c_int) -> ! {
    // SAFETY: both calls are async-signal-safe, and the text is valid for its length.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(code)
    }
}

extern "C" fn plain_handler(_: c_int) {
    say_and_exit("the program's own handler\n", 3);
}

extern "C" fn full_handler(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid record, which has an address for this signal.
    let address = unsafe { (*info).si_addr() }.addr();
    assert_eq!((signal, address), (libc::SIGSEGV, 8));
    say_and_exit("the program's own handler, with the address\n", 4);
}

/// Installs a handler before the library's.
fn handle_segv(handler: usize, flags: c_int) {
    // SAFETY: all fields of this C struct may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handlers above have the types that their flags ask for.
    let installed = unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
    assert_eq!(installed, 0);
}

#[test]
fn a_fault_elsewhere_reaches_the_handler_that_was_there_before() {
    let name = "runtime::overflow::a_fault_elsewhere_reaches_the_handler_that_was_there_before";
    let Some(output) = in_child(name) else {
        handle_segv(plain_handler as *const () as usize, libc::SA_ONSTACK);
        return Runtime::builder().run(fault).unwrap();
    };
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("the program's own handler\n"));
}

#[test]
fn a_fault_elsewhere_reaches_a_handler_that_takes_details() {
    let name = "runtime::overflow::a_fault_elsewhere_reaches_a_handler_that_takes_details";
    let Some(output) = in_child(name) else {
        let flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
        handle_segv(full_handler as *const () as usize, flags);
        let handle = thread::spawn(fault);
        ethreads::run().unwrap();
        return handle.join().unwrap();
    };
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("with the address"));
}

#[test]
fn an_overflow_is_diagnosed_although_the_program_has_a_handler() {
    let name = "runtime::overflow::an_overflow_is_diagnosed_although_the_program_has_a_handler";
    let Some(output) = in_child(name) else {
        handle_segv(plain_handler as *const () as usize, libc::SA_ONSTACK);
        return overflow_in(Runtime::builder());
    };
    assert_diagnosed(&output);
}

/// Looks at the alternate stack in the destructors of an OS thread, after the library's own
/// destructor has run.
struct LooksAtAlternateStack;

thread_local! {
    static LAST: LooksAtAlternateStack = const { LooksAtAlternateStack };
}

static DANGLING: std::sync::Mutex<Option<bool>> = std::sync::Mutex::new(None);

impl Drop for LooksAtAlternateStack {
    fn drop(&mut self) {
        let mut stack = std::mem::MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: a null new stack changes nothing, and there is room for the old one.
        let asked = unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
        assert_eq!(asked, 0);
        // SAFETY: written by the call above.
        let stack = unsafe { stack.assume_init() };
        let in_use = stack.ss_flags & libc::SS_DISABLE == 0;
        // SAFETY: msync(2) neither reads nor writes memory that is not backed by a file. It fails
        // with ENOMEM if the memory is not mapped.
        let mapped = || unsafe { libc::msync(stack.ss_sp, stack.ss_size, libc::MS_ASYNC) } == 0;
        *DANGLING.lock().unwrap() = Some(in_use && !mapped());
    }
}

#[test]
fn no_os_thread_is_left_with_an_alternate_stack_that_is_gone() {
    fresh(|| {
        // Registered first, so that it is dropped last.
        LAST.with(|_| ());
        Runtime::builder().run(|| ()).unwrap();
    });
    assert_eq!(*DANGLING.lock().unwrap(), Some(false));
}
