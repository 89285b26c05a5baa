//! The pool in a process that cannot start OS threads. The limit cannot be lifted again, so each
//! test runs in a child process.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread as os;
use std::time::Duration;

use ethreads::net::ToSocketAddrs;
use ethreads::thread::Cancelled;
use ethreads::{Runtime, bridge, fs, spawn, thread, time};

use crate::bridge::support::Tally;
use crate::support::{collect_log, in_child, logged, stderr};

/// Prevents this process from starting OS threads from now on. Returns false if that is not
/// possible.
#[allow(unsafe_code)]
fn no_more_threads() -> bool {
    let one = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    // SAFETY: the calls only read the values that they are given.
    unsafe {
        // The limit does not apply to root.
        let is_limited = libc::geteuid() != 0 || libc::setresuid(64123, 64123, 64123) == 0;
        is_limited && libc::setrlimit(libc::RLIMIT_NPROC, &one) == 0
    }
}

/// Runs `test` as the root of a runtime in a child process. `test` itself calls `no_more_threads`.
fn run_in_child(name: &str, test: fn()) {
    match in_child(name) {
        Some(output) => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            assert!(output.status.success(), "{}", stderr(&output));
        }
        None => Runtime::builder().run(test).unwrap(),
    }
}

/// Sets the limit. If that fails, prints why the test does nothing, and returns false.
fn limited() -> bool {
    let limited = no_more_threads() && os::Builder::new().spawn(|| ()).is_err();
    if !limited {
        println!("skipped: the number of OS threads cannot be limited here");
    }
    limited
}

#[test]
fn calls_with_an_error_fail_and_name_the_limit() {
    run_in_child(
        "bridge::no_threads::calls_with_an_error_fail_and_name_the_limit",
        || {
            if !limited() {
                return;
            }
            let second = Duration::from_secs(1);
            for _ in 0..3 {
                let read = time::timeout_io(second, || fs::read("/proc/self/status"));
                let error = read.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
                let text = error.to_string();
                for part in ["OS thread", "limit is 500", "ulimit -u", "pids.max"] {
                    assert!(text.contains(part), "{text}");
                }
                let source = error.get_ref().unwrap().source().unwrap();
                let source = source.downcast_ref::<std::io::Error>().unwrap();
                assert_eq!(source.raw_os_error(), Some(libc::EAGAIN));
            }
            let found = ("localhost", 1).to_socket_addrs();
            assert_eq!(found.unwrap_err().kind(), ErrorKind::QuotaExceeded);
            assert_eq!(bridge::blocking_stats().waiting, 0);
        },
    );
}

#[test]
fn a_call_without_an_error_runs_in_place() {
    run_in_child(
        "bridge::no_threads::a_call_without_an_error_runs_in_place",
        || {
            collect_log();
            if !limited() {
                return;
            }
            let here = os::current().id();
            for n in 0..100 {
                assert_eq!(bridge::blocking(move || (n, os::current().id())), (n, here));
            }
            let caught = thread::catch_panic(|| bridge::blocking(|| panic!("in place")));
            assert!(caught.is_err());
            let said = logged("blocking calls in place");
            assert!(!said.is_empty() && said.len() < 100, "{said:?}");
            assert!(said[0].contains("ran 1 blocking calls"), "{said:?}");
            assert!(said[0].contains("pids.max"), "{said:?}");
            // A cancelled or late call does not begin in place either.
            let ran = Rc::new(Cell::new(false));
            let late = time::timeout(Duration::ZERO, || bridge::blocking(|| 1));
            assert!(late.is_err());
            let theirs = ran.clone();
            let caller = spawn(move || {
                thread::uncancellable(thread::yield_now);
                bridge::blocking(|| ());
                theirs.set(true);
            });
            thread::yield_now();
            caller.cancel();
            assert!(caller.join().unwrap_err().is::<Cancelled>());
            assert!(!ran.get());
        },
    );
}

#[test]
fn with_one_thread_calls_wait_in_line_and_deadlines_hold() {
    run_in_child(
        "bridge::no_threads::with_one_thread_calls_wait_in_line_and_deadlines_hold",
        || {
            let (open, gate) = mpsc::channel::<()>();
            let holder = spawn(move || bridge::blocking(move || gate.recv().is_ok()));
            thread::yield_now();
            if !limited() {
                return drop(open);
            }
            let soon = Duration::from_millis(2);
            let late = time::timeout_io(soon, || fs::read("/proc/self/status"));
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(time::timeout(soon, || bridge::blocking(|| ())).is_err());
            // The closure of a cancelled call is dropped on the pool, where it ran.
            let tally = Tally::default();
            let value = tally.value();
            let cancelled = spawn(move || bridge::blocking(move || drop(value)));
            let waits = spawn(|| fs::read("/proc/self/status"));
            thread::yield_now();
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            let stats = bridge::blocking_stats();
            // The two late calls are not queued if their deadlines passed before they began.
            assert_eq!(stats.running, 1);
            assert!(stats.waiting >= 2, "{stats:?}");
            open.send(()).unwrap();
            assert!(holder.join().unwrap());
            assert!(!waits.join().unwrap().unwrap().is_empty());
            assert_eq!(tally.counts(), (1, 1));
            // The only OS thread of the pool runs all further calls.
            for n in 0..100 {
                assert_eq!(bridge::blocking(move || n), n);
            }
            assert_eq!(bridge::blocking_stats().most, 1);
        },
    );
}

#[test]
fn calls_in_parallel_all_end() {
    run_in_child("bridge::no_threads::calls_in_parallel_all_end", || {
        if !limited() {
            return;
        }
        let calls: Vec<_> = (0..50)
            .map(|n| spawn(move || (bridge::blocking(move || n), fs::exists("/").is_err())))
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap(), (n, true));
        }
    });
}
