//! Stacks and the memory below them: frames without stack probes, and locked memory.

// Frames without probes and limits of a process need raw calls.
#![allow(unsafe_code)]
#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::ptr;

use ethreads::runtime::GuardKind;
use ethreads::{RunError, Runtime, runtime, thread};

use crate::net::support::{assert_success, in_child as command, is_child};
use crate::support::{in_child, output, stderr};

const SIZE: usize = 64 << 10;
const PAGE: usize = 4 << 10;

/// Asks the kernel to read a byte: write(2) returns EFAULT where a load would fault.
fn is_mapped(address: usize) -> bool {
    let (_reader, writer) = io::pipe().unwrap();
    // SAFETY: write(2) checks the address itself.
    let written = unsafe {
        let byte = ptr::with_exposed_provenance(address);
        libc::write(writer.as_raw_fd(), byte, 1)
    };
    written == 1
}

/// The address at which the guard of the current stack ends.
fn bottom() -> usize {
    let local = 0u8;
    let mut page = ptr::from_ref(&local).addr() & !(PAGE - 1);
    while is_mapped(page - PAGE) {
        page -= PAGE;
    }
    page
}

/// Calls `f` with less than 2 KiB left above `bottom`.
fn at_the_end(bottom: usize, f: fn()) {
    let frame = black_box([0u8; 256]);
    if ptr::from_ref(&frame).addr() - bottom < 2 << 10 {
        f();
    } else {
        at_the_end(bottom, f);
    }
    black_box(frame);
}

/// A frame of `SIZE` bytes, as a compiler without stack probes makes it: the stack pointer moves
/// all the way at once, and the first byte touched is the last byte of the frame.
#[inline(never)]
fn unprobed_frame<const SIZE: usize>() {
    // SAFETY: the stack pointer is back where it was at the end, and nothing else uses the byte
    // below the frames of this stack; or the byte is in the guard.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "sub rsp, {size}",
            "mov byte ptr [rsp], 1",
            "add rsp, {size}",
            size = const SIZE,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "sub sp, sp, {pages}, lsl 12",
            "strb wzr, [sp]",
            "add sp, sp, {pages}, lsl 12",
            pages = const SIZE >> 12,
        );
    }
}

fn run_at_the_end(f: fn()) {
    let run = Runtime::builder().run(move || {
        let builder = thread::Builder::new().name("unprobed").stack_size(SIZE);
        let ethread = builder.spawn(move || {
            let bottom = bottom();
            assert!(ptr::from_ref(&bottom).addr() - bottom < SIZE);
            at_the_end(bottom, f);
        });
        ethread.unwrap().join().unwrap();
    });
    run.unwrap();
}

#[test]
fn frames_without_probes_do_not_step_over_the_guard() {
    let frames: [(&str, fn()); 3] = [
        ("a little more than is left", unprobed_frame::<{ 2 * PAGE }>),
        ("half the guard", unprobed_frame::<{ 8 * PAGE }>),
        ("almost the guard", unprobed_frame::<{ SIZE - PAGE }>),
    ];
    const TEST: &str = "runtime::stack_memory::frames_without_probes_do_not_step_over_the_guard";
    const FRAME: &str = "ETHREADS_TEST_FRAME";
    if is_child(TEST) {
        let frame: usize = std::env::var(FRAME).unwrap().parse().unwrap();
        return run_at_the_end(frames[frame].1);
    }
    for (number, (name, _)) in frames.iter().enumerate() {
        let child = output(command(TEST).env(FRAME, number.to_string()));
        let output = child.unwrap();
        let printed = stderr(&output);
        let signal = output.status.signal();
        assert_eq!(signal, Some(libc::SIGABRT), "{name}: {printed}");
        assert!(printed.contains("ethread 'unprobed' (#"), "{printed}");
        assert!(printed.contains("has overflowed its stack of 65536 bytes"));
    }
}

#[test]
fn a_frame_that_fits_is_no_overflow() {
    // The frames of the test above overflow because of their size alone.
    let fits = || unprobed_frame::<PAGE>();
    let run = Runtime::builder().run(move || {
        let ethread = thread::Builder::new().stack_size(SIZE).spawn(fits);
        ethread.unwrap().join().unwrap();
    });
    run.unwrap();
}

/// mlockall(2): what is mapped from now on is in memory at once, and stays there.
fn lock_what_comes() {
    // SAFETY: a plain call, in a process of its own.
    let locked = unsafe { libc::mlockall(libc::MCL_FUTURE) };
    assert_eq!(locked, 0, "{}", io::Error::last_os_error());
}

#[test]
fn stacks_in_locked_memory_are_guarded_by_mprotect() {
    const TEST: &str = "runtime::stack_memory::stacks_in_locked_memory_are_guarded_by_mprotect";
    let Some(output) = in_child(TEST) else {
        let run = Runtime::builder().run(|| {
            // Within the least that systems allow any process to lock.
            lock_what_comes();
            let builders = (0..30).map(|_| thread::Builder::new().stack_size(SIZE / 4));
            let spawn = |builder: thread::Builder| builder.spawn(|| thread::yield_now());
            let ethreads: Vec<_> = builders.map(|builder| spawn(builder).unwrap()).collect();
            ethreads
                .into_iter()
                .for_each(|ethread| ethread.join().unwrap());
            assert!(runtime::stats().unwrap().stacks.mprotect_guards >= 30);
            let builder = thread::Builder::new().name("unprobed");
            let last = builder.stack_size(SIZE / 4).spawn(|| {
                at_the_end(bottom(), unprobed_frame::<{ SIZE - PAGE }>);
            });
            last.unwrap().join().unwrap();
        });
        return run.unwrap();
    };
    let printed = stderr(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{printed}");
    assert!(printed.contains("ethread 'unprobed' (#"), "{printed}");
    assert!(printed.contains("has overflowed its stack of 16384 bytes"));
}

#[test]
fn guards_that_locked_memory_cannot_have_are_an_error() {
    const TEST: &str = "runtime::stack_memory::guards_that_locked_memory_cannot_have_are_an_error";
    if !is_child(TEST) {
        return assert_success(&output(&mut command(TEST)).unwrap());
    }
    lock_what_comes();
    let run = Runtime::builder()
        .guard(GuardKind::Madvise)
        .stack_size(SIZE)
        .run(|| unreachable!());
    let Err(RunError::Io(error)) = run else {
        panic!("it ran")
    };
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("mlockall"), "{error}");
}

/// Makes `RLIMIT_MEMLOCK` hold for this process, which may run as root.
fn limit_locked_memory(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: plain calls, in a process of its own.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        }
    }
}

#[test]
fn the_limit_of_locked_memory_is_named() {
    const TEST: &str = "runtime::stack_memory::the_limit_of_locked_memory_is_named";
    if !is_child(TEST) {
        return assert_success(&output(&mut command(TEST)).unwrap());
    }
    let run = Runtime::builder().run(|| {
        limit_locked_memory(4 << 20);
        lock_what_comes();
        let spawn = |_| {
            let builder = thread::Builder::new().stack_size(SIZE);
            builder.spawn(|| thread::yield_now())
        };
        let (ethreads, errors): (Vec<_>, Vec<_>) = (0..40).map(spawn).partition(Result::is_ok);
        // SAFETY: a plain call. Nothing after it may meet the limit.
        unsafe { libc::munlockall() };
        // For a chunk that does not fit, a smaller chunk is tried, so most of the limit was used.
        assert!((24..=32).contains(&ethreads.len()), "{}", ethreads.len());
        for error in errors.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            let text = error.to_string();
            assert!(text.contains("under mlockall, RLIMIT_MEMLOCK"), "{text}");
        }
        // The ethreads that have a stack work, and there is room again.
        let ethreads = ethreads.into_iter().map(Result::unwrap);
        ethreads.for_each(|ethread| ethread.join().unwrap());
        thread::spawn(|| ()).join().unwrap();
    });
    run.unwrap();
}
