//! Calls on the pool of OS threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread as os;

use ethreads::net::{TcpListener, TcpStream, ToSocketAddrs};
use ethreads::thread::{self, Cancelled};
use ethreads::{Runtime, bridge, runtime, spawn};

use crate::bridge::support::{OsThread, Tally, until_asleep};
use crate::support::{fresh, in_child, stderr, text};

/// Runs `test` as the root ethread of a runtime of its own.
fn run<T: 'static>(test: impl FnOnce() -> T + 'static) -> T {
    Runtime::builder().run(test).unwrap()
}

/// Sends the id of the OS thread that drops it.
struct DroppedOn(mpsc::Sender<os::ThreadId>);

impl Drop for DroppedOn {
    fn drop(&mut self) {
        // The receiver may be gone.
        let _ = self.0.send(os::current().id());
    }
}

#[test]
fn values_errors_and_panics_come_back() {
    run(|| {
        let shard = os::current().id();
        assert_ne!(bridge::blocking(|| os::current().id()), shard);
        let read = || std::fs::read("/nowhere/nothing");
        let error = bridge::blocking(read).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let caller = spawn(|| bridge::blocking(|| -> u8 { panic!("on the pool") }));
        assert_eq!(text(&*caller.join().unwrap_err()), "on the pool");
        let caller = spawn(|| bridge::blocking(|| std::panic::panic_any(17)));
        assert_eq!(caller.join().unwrap_err().downcast_ref(), Some(&17));
        // The pool survives the panics.
        assert_eq!(bridge::blocking(|| 3), 3);
    });
}

#[test]
fn the_others_go_on_meanwhile() {
    let log = run(|| {
        let (open, gate) = mpsc::channel();
        let log = Rc::new(RefCell::new(Vec::new()));
        let theirs = log.clone();
        let other = spawn(move || {
            for _ in 0..3 {
                theirs.borrow_mut().push("other");
                thread::yield_now();
            }
            // Without this message the blocking call would never end.
            open.send("opened").unwrap();
        });
        let value = bridge::blocking(move || gate.recv().unwrap());
        log.borrow_mut().push(value);
        other.join().unwrap();
        log.take()
    });
    assert_eq!(log, ["other", "other", "other", "opened"]);
}

#[test]
fn many_block_at_once() {
    const CALLS: usize = 100;
    run(|| {
        // No call returns before all calls have begun.
        let barrier = Arc::new(Barrier::new(CALLS));
        let callers: Vec<_> = (0..CALLS)
            .map(|n| {
                let barrier = barrier.clone();
                spawn(move || {
                    bridge::blocking(move || {
                        barrier.wait();
                        n
                    })
                })
            })
            .collect();
        for (n, caller) in callers.into_iter().enumerate() {
            assert_eq!(caller.join().unwrap(), n);
        }
    });
}

#[test]
fn a_cancelled_caller_leaves_at_once_and_the_value_is_dropped_on_the_pool() {
    run(|| {
        let (open, gate) = mpsc::channel::<()>();
        let (sender, dropped_on) = mpsc::channel();
        let (begins, begun) = mpsc::channel();
        let tally = Tally::default();
        let value = tally.value();
        let caller = spawn(move || {
            bridge::blocking(move || {
                begins.send(os::current().id()).unwrap();
                gate.recv().unwrap();
                (DroppedOn(sender), value)
            });
            unreachable!("it was cancelled");
        });
        thread::yield_now();
        let pool = begun.recv().unwrap();
        caller.cancel();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert_eq!(tally.counts(), (1, 0), "the call goes on");
        open.send(()).unwrap();
        assert_eq!(dropped_on.recv(), Ok(pool));
        // The pool may not have dropped the other field of the tuple yet.
        while tally.counts() != (1, 1) {
            os::yield_now();
        }
    });
}

#[test]
fn a_panic_without_a_waiter_is_dropped_on_the_pool() {
    run(|| {
        let (open, gate) = mpsc::channel::<()>();
        let (sender, dropped_on) = mpsc::channel();
        let caller = spawn(move || {
            bridge::blocking(move || {
                gate.recv().unwrap();
                std::panic::panic_any(DroppedOn(sender));
            });
        });
        thread::yield_now();
        caller.cancel();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        open.send(()).unwrap();
        assert_ne!(dropped_on.recv(), Ok(os::current().id()));
        assert_eq!(bridge::blocking(|| 4), 4);
    });
}

#[test]
fn a_value_that_is_taken_is_dropped_once() {
    let tally = Tally::default();
    let theirs = tally.clone();
    run(move || {
        for _ in 0..100 {
            let value = theirs.value();
            drop(bridge::blocking(move || value));
        }
    });
    assert_eq!(tally.counts(), (100, 100));
}

#[test]
fn a_port_that_ends_after_its_shard_does_no_harm() {
    let (open, gate) = mpsc::channel::<()>();
    let (sender, dropped_on) = mpsc::channel();
    fresh(move || {
        run(move || {
            drop(spawn(move || {
                bridge::blocking(move || {
                    gate.recv().unwrap();
                    DroppedOn(sender)
                });
            }));
            thread::yield_now();
        });
    });
    open.send(()).unwrap();
    assert!(dropped_on.recv().is_ok());
}

#[test]
fn a_call_on_the_pool_is_no_deadlock() {
    fresh(|| {
        let (open, gate) = mpsc::channel();
        let caller = spawn(move || bridge::blocking(move || gate.recv().unwrap()));
        let shard = OsThread::current();
        let elsewhere = os::spawn(move || {
            // Every ethread is parked by now. The shard still waits, and reports no deadlock.
            until_asleep(&shard);
            open.send(5).unwrap();
        });
        ethreads::run().unwrap();
        assert_eq!(caller.join().unwrap(), 5);
        elsewhere.join().unwrap();
    });
}

#[test]
fn without_a_shard_it_runs_in_place() {
    fresh(|| {
        assert_eq!(bridge::blocking(|| os::current().id()), os::current().id());
        let caught = std::panic::catch_unwind(|| bridge::blocking(|| panic!("in place")));
        assert_eq!(text(&*caught.unwrap_err()), "in place");
        assert!(runtime::stats().is_none(), "no scheduler was made for it");
    });
}

#[test]
fn what_was_written_there_is_seen_here() {
    const ROUNDS: usize = 1000;
    run(|| {
        let cells: Arc<Vec<AtomicUsize>> = Arc::new((0..8).map(AtomicUsize::new).collect());
        for round in 0..ROUNDS {
            let theirs = cells.clone();
            // The hand-over to the pool and back orders these stores. `Relaxed` itself orders
            // nothing.
            bridge::blocking(move || {
                for cell in theirs.iter() {
                    cell.store(round, Ordering::Relaxed);
                }
            });
            assert!(
                cells
                    .iter()
                    .all(|cell| cell.load(Ordering::Relaxed) == round)
            );
        }
    });
}

#[test]
fn names_are_looked_up_on_the_pool() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let turns = Rc::new(Cell::new(0));
        let counter = turns.clone();
        let other = spawn(move || {
            loop {
                counter.set(counter.get() + 1);
                thread::yield_now();
            }
        });
        // A numeric address needs no look-up, so the call does not wait.
        assert_eq!(("127.0.0.1", port).to_socket_addrs().unwrap().count(), 1);
        assert_eq!(turns.get(), 0);
        let mut found = format!("localhost:{port}").to_socket_addrs().unwrap();
        assert!(found.all(|addr| addr.ip().is_loopback()));
        assert!(turns.get() > 0, "the others ran meanwhile");
        let stream = TcpStream::connect(format!("localhost:{port}")).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        other.cancel();
        assert!(other.join().is_err());
    });
}

#[test]
fn the_pool_is_bounded_and_counted() {
    const NAME: &str = "bridge::blocking::the_pool_is_bounded_and_counted";
    // The process has one pool, so the test runs in a child process.
    if let Some(output) = in_child(NAME) {
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    let numbers = || {
        let stats = bridge::blocking_stats();
        (stats.running, stats.waiting, stats.most, stats.ended)
    };
    run(move || {
        assert_eq!(bridge::blocking_stats().limit, 500);
        bridge::set_blocking_limit(2);
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let callers: Vec<_> = (0..5)
            .map(|n| {
                let gate = gate.clone();
                spawn(move || {
                    bridge::blocking(move || gate.lock().unwrap().recv().is_ok());
                    n
                })
            })
            .collect();
        thread::yield_now();
        assert_eq!(numbers(), (2, 3, 2, 0));
        // Cancelling a waiting caller leaves its job in the queue. The job still runs.
        callers[4].cancel();
        // A higher limit starts two of the queued jobs.
        bridge::set_blocking_limit(4);
        assert_eq!(numbers(), (4, 1, 4, 0));
        (0..5).for_each(|_| open.send(()).unwrap());
        let ends: Vec<_> = callers
            .into_iter()
            .map(|caller| caller.join().ok())
            .collect();
        assert_eq!(ends, [Some(0), Some(1), Some(2), Some(3), None]);
        while bridge::blocking_stats().running > 0 {
            os::yield_now();
        }
        assert_eq!(numbers(), (0, 0, 4, 5));
    });
}

#[test]
fn a_pool_of_nothing_is_refused() {
    let refused = fresh(|| os::spawn(|| bridge::set_blocking_limit(0)).join());
    assert!(text(&*refused.unwrap_err()).contains("would ever run"));
}

#[test]
fn a_call_finds_its_os_thread_without_ethreads() {
    const NAME: &str = "bridge::blocking::a_call_finds_its_os_thread_without_ethreads";
    if let Some(output) = in_child(NAME) {
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    bridge::set_blocking_limit(1);
    run(|| {
        let on = || os::current().id();
        let thread = bridge::blocking(on);
        for _ in 0..3 {
            let value = bridge::blocking(move || {
                assert!(runtime::stats().is_none());
                // An ethread that is left behind, and an ethread that suspends.
                drop(spawn(|| unreachable!("nothing runs it")));
                drop(spawn(thread::park));
                thread::yield_now();
                on()
            });
            assert_eq!(value, thread);
            let built = bridge::blocking(move || Runtime::builder().run(on).unwrap());
            assert_eq!(built, thread);
        }
    });
}

#[test]
fn values_that_panic_when_dropped_do_no_harm() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    run(|| {
        for panics in [false, true] {
            let (open, gate) = mpsc::channel::<()>();
            let caller = spawn(move || {
                bridge::blocking(move || {
                    let _ = gate.recv();
                    if panics {
                        std::panic::panic_any(Bomb);
                    }
                    Bomb
                });
            });
            thread::yield_now();
            caller.cancel();
            assert!(caller.join().unwrap_err().is::<Cancelled>());
            drop(open);
            assert_eq!(bridge::blocking(|| 3), 3);
        }
    });
}
