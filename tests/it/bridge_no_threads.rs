//! The pool where no OS threads can be had, in children, as the limit is the process's for good.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread as os;
use std::time::Duration;

use ethreads::net::ToSocketAddrs;
use ethreads::thread::Cancelled;
use ethreads::{Runtime, bridge, fs, spawn, thread, time};

use crate::bridge_support::Tally;
use crate::support::{collect_log, in_child, logged, stderr};

/// From now on this process cannot start an OS thread; false if that cannot be had.
#[allow(unsafe_code)]
fn no_more_threads() -> bool {
    let one = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    // SAFETY: both calls only read the values that they are given.
    unsafe {
        // Root is not limited.
        let is_limited = libc::geteuid() != 0 || libc::setresuid(64123, 64123, 64123) == 0;
        is_limited && libc::setrlimit(libc::RLIMIT_NPROC, &one) == 0
    }
}

/// Runs `test` as the root of a runtime in a child, which makes its own call of `no_more_threads`.
fn run_in_child(name: &str, test: fn()) {
    match in_child(name) {
        Some(output) => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            assert!(output.status.success(), "{}", stderr(&output));
        }
        None => Runtime::builder().run(test).unwrap(),
    }
}

/// Makes the limit, or says why the test does nothing.
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
        "bridge_no_threads::calls_with_an_error_fail_and_name_the_limit",
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
        "bridge_no_threads::a_call_without_an_error_runs_in_place",
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
            // What is cancelled or late does not begin here either.
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
        "bridge_no_threads::with_one_thread_calls_wait_in_line_and_deadlines_hold",
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
            // Their closures are dropped where they ran.
            let tally = Tally::default();
            let value = tally.value();
            let cancelled = spawn(move || bridge::blocking(move || drop(value)));
            let waits = spawn(|| fs::read("/proc/self/status"));
            thread::yield_now();
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            let stats = bridge::blocking_stats();
            // The first two have not begun if their deadlines passed before.
            assert_eq!(stats.running, 1);
            assert!(stats.waiting >= 2, "{stats:?}");
            open.send(()).unwrap();
            assert!(holder.join().unwrap());
            assert!(!waits.join().unwrap().unwrap().is_empty());
            assert_eq!(tally.counts(), (1, 1));
            // It is the one that does all the rest.
            for n in 0..100 {
                assert_eq!(bridge::blocking(move || n), n);
            }
            assert_eq!(bridge::blocking_stats().most, 1);
        },
    );
}

#[test]
fn calls_in_parallel_all_end() {
    run_in_child("bridge_no_threads::calls_in_parallel_all_end", || {
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
