//! Which ethread runs when, and what wakes it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::bridge::{Interest, Wakeup};
use ethreads::net::UnixStream;
use ethreads::thread::{self, JoinHandle, RemoteThread};
use ethreads::time::Instant;
use ethreads::{Runtime, bridge, runtime};

use crate::support::{deadlock, fresh};

const HOUR: Duration = Duration::from_secs(3600);

fn run<T: 'static>(test: impl FnOnce() -> T + 'static) -> T {
    Runtime::builder().run(test).unwrap()
}

#[test]
fn first_ready_is_first_to_run() {
    let trace = run(|| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let spawn = |name: &'static str| {
            let trace = trace.clone();
            thread::spawn(move || {
                for round in 0..3 {
                    trace.borrow_mut().push((name, round));
                    thread::yield_now();
                }
            })
        };
        let handles = ["a", "b", "c"].map(spawn);
        for handle in handles {
            handle.join().unwrap();
        }
        trace.take()
    });
    let expected = (0..3).flat_map(|round| ["a", "b", "c"].map(|name| (name, round)));
    assert_eq!(trace, expected.collect::<Vec<_>>());
}

#[test]
fn wakes_are_runs_in_the_order_of_the_wakes() {
    let trace = run(|| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let handles: Vec<_> = (0..200)
            .map(|n| {
                let trace = trace.clone();
                thread::spawn(move || {
                    thread::park();
                    trace.borrow_mut().push(n);
                })
            })
            .collect();
        thread::yield_now();
        handles
            .iter()
            .rev()
            .for_each(|handle| handle.thread().unpark());
        thread::yield_now();
        trace.take()
    });
    assert_eq!(trace, (0..200).rev().collect::<Vec<_>>());
}

#[test]
fn one_that_yields_all_the_time_does_not_starve_new_ones() {
    let (turns, most) = run(|| {
        let turns = Rc::new(Cell::new(0u32));
        let theirs = turns.clone();
        drop(thread::spawn(move || {
            loop {
                theirs.set(theirs.get() + 1);
                thread::yield_now();
            }
        }));
        thread::yield_now();
        let before = turns.get();
        let handles: Vec<_> = (0..1000)
            .map(|_| {
                let turns = turns.clone();
                thread::spawn(move || turns.get())
            })
            .collect();
        let seen = handles
            .into_iter()
            .map(|handle| handle.join().unwrap() - before);
        let most = seen.max().unwrap();
        (turns.get() - before, most)
    });
    assert!(
        most <= 1,
        "new ones ran after {most} turns of the one that yields"
    );
    assert!(turns <= 1001, "{turns}");
}

#[test]
fn spawners_of_spawners_do_not_starve_a_timer() {
    fn breed(stop: &Rc<Cell<bool>>) {
        if !stop.get() {
            let stop = stop.clone();
            drop(thread::spawn(move || breed(&stop)));
        }
    }
    run(|| {
        let stop = Rc::new(Cell::new(false));
        breed(&stop);
        thread::sleep(Duration::from_millis(1));
        stop.set(true);
        thread::yield_now();
        thread::yield_now();
        assert_eq!(runtime::stats().unwrap().ethreads, 1);
    });
}

#[test]
fn a_busy_shard_still_takes_its_inbox() {
    run(|| {
        let parked = thread::spawn(|| thread::park());
        let remote = parked.thread().clone().into_remote();
        let elsewhere = std::thread::spawn(move || remote.unpark());
        while !parked.is_finished() {
            thread::yield_now();
        }
        elsewhere.join().unwrap();
    });
}

#[test]
fn an_os_thread_that_yields_takes_its_inbox() {
    fresh(|| {
        let parked = thread::spawn(|| {
            thread::park();
            bridge::blocking(|| 7)
        });
        thread::yield_now();
        let remote = parked.thread().clone().into_remote();
        let elsewhere = std::thread::spawn(move || remote.unpark());
        while !parked.is_finished() {
            thread::yield_now();
        }
        elsewhere.join().unwrap();
        assert_eq!(parked.join().unwrap(), 7);
    });
}

#[test]
fn an_unpark_that_comes_early_is_kept_once() {
    fresh(|| {
        let rounds = Rc::new(Cell::new(0));
        let theirs = rounds.clone();
        let handle = thread::spawn(move || {
            let me = thread::current();
            me.unpark();
            me.unpark();
            thread::park();
            theirs.set(1);
            thread::park();
            theirs.set(2);
        });
        let deadlock = deadlock(ethreads::run());
        assert_eq!((deadlock.parked().len(), rounds.get()), (1, 1));
        handle.thread().unpark();
        ethreads::run().unwrap();
        assert_eq!(rounds.get(), 2);
    });
}

#[test]
fn an_unpark_ends_no_other_wait() {
    let elapsed = run(|| {
        let sleeper = thread::spawn(|| {
            let start = Instant::now();
            thread::sleep(Duration::from_millis(2));
            let slept = start.elapsed();
            // The unpark was kept for this park.
            thread::park();
            slept
        });
        thread::yield_now();
        sleeper.thread().unpark();
        sleeper.join().unwrap()
    });
    assert!(elapsed >= Duration::from_millis(2), "{elapsed:?}");
}

#[test]
fn late_timers_run_in_the_order_of_their_deadlines() {
    let trace = run(|| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        let at = move |millis| start + Duration::from_millis(millis);
        // The odd ethreads have a timer from before, for an earlier time: it is moved lazily.
        let handles: Vec<_> = (0..10)
            .map(|n| {
                let trace = trace.clone();
                thread::spawn(move || {
                    if n % 2 == 1 {
                        thread::park_timeout(HOUR);
                        thread::park_timeout(Duration::from_millis(10));
                    }
                    thread::sleep_until(at(100 - n * 2));
                    trace.borrow_mut().push(n);
                })
            })
            .collect();
        for _ in 0..2 {
            thread::yield_now();
            handles.iter().for_each(|handle| handle.thread().unpark());
        }
        thread::yield_now();
        while Instant::now() <= at(120) {
            std::hint::spin_loop();
        }
        for handle in handles {
            handle.join().unwrap();
        }
        trace.take()
    });
    assert_eq!(trace, (0..10).rev().collect::<Vec<_>>());
}

#[test]
fn timers_of_the_past_do_not_end_later_waits() {
    fresh(|| {
        let short = Duration::from_millis(1);
        let woken_early = thread::spawn(move || thread::park_timeout(short));
        let unpark = woken_early.thread().clone();
        drop(thread::spawn(move || unpark.unpark()));
        thread::yield_now();
        woken_early.join().unwrap();
        // The first ethread gets the slot of `woken_early`; the timed wait of the second is cut
        // short.
        let handles = [
            thread::spawn(|| thread::park()),
            thread::spawn(move || {
                thread::current().unpark();
                thread::park_timeout(short);
                thread::park();
            }),
        ];
        thread::sleep(short * 3);
        let deadlock = deadlock(ethreads::run());
        assert_eq!(deadlock.parked().len(), 2);
        handles.iter().for_each(JoinHandle::cancel);
        ethreads::run().unwrap();
    });
}

#[test]
fn remote_unparks_are_never_lost() {
    const OS_THREADS: usize = 4;
    const ROUNDS: usize = 500;
    run(|| {
        // Each ping is one park, each pong one message.
        let handles: Vec<_> = (0..OS_THREADS)
            .map(|_| {
                thread::spawn(|| {
                    let me = thread::current().into_remote();
                    let (ping, pings) = mpsc::channel();
                    let elsewhere = std::thread::spawn(move || {
                        while pings.recv().is_ok() {
                            me.unpark();
                        }
                    });
                    for _ in 0..ROUNDS {
                        ping.send(()).unwrap();
                        thread::park();
                    }
                    drop(ping);
                    elsewhere.join().unwrap();
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
    });
}

#[test]
fn an_unpark_from_elsewhere_may_come_before_the_park() {
    run(|| {
        let me = thread::current().into_remote();
        std::thread::spawn(move || me.unpark()).join().unwrap();
        thread::park();
    });
}

#[test]
fn waiting_turns_into_a_deadlock_with_the_last_remote_handle() {
    fresh(|| {
        let parked = thread::Builder::new()
            .name("hopeless")
            .spawn(|| thread::park())
            .unwrap();
        let remote = parked.thread().clone().into_remote();
        let (go, gone) = mpsc::channel::<()>();
        let elsewhere = std::thread::spawn(move || {
            let copies = vec![remote.clone(), remote];
            gone.recv().unwrap();
            drop(copies);
        });
        // The shard waits until the handles are gone, although none of them will wake anything.
        drop(thread::spawn(move || go.send(()).unwrap()));
        let deadlock = deadlock(ethreads::run());
        assert_eq!(deadlock.parked()[0].name.as_deref(), Some("hopeless"));
        elsewhere.join().unwrap();
        parked.cancel();
        ethreads::run().unwrap();
    });
}

#[test]
fn a_shard_that_serves_its_inbox_waits_without_handles() {
    let (sender, receiver) = mpsc::channel::<RemoteThread>();
    let elsewhere = std::thread::spawn(move || receiver.recv().unwrap().unpark());
    let run = Runtime::builder().serve_inbox(true).run(move || {
        sender.send(thread::current().into_remote()).unwrap();
        thread::park();
    });
    run.unwrap();
    elsewhere.join().unwrap();
}

#[test]
fn remote_handles_outlive_their_shard() {
    let remote = fresh(|| {
        let handle = thread::Builder::new().name("gone").spawn(|| ()).unwrap();
        let remote = handle.thread().clone().into_remote();
        ethreads::run().unwrap();
        remote
    });
    thread_local! {
        static LAST: RefCell<Option<RemoteThread>> = const { RefCell::new(None) };
    }
    struct UnparksOnDrop(RemoteThread);
    impl Drop for UnparksOnDrop {
        fn drop(&mut self) {
            self.0.unpark();
        }
    }
    thread_local! {
        static AT_THE_END: RefCell<Option<UnparksOnDrop>> = const { RefCell::new(None) };
    }
    fresh(|| {
        remote.unpark();
        assert_eq!(remote.name(), Some("gone"));
        LAST.set(Some(remote.clone()));
        AT_THE_END.set(Some(UnparksOnDrop(remote)));
    });
}

#[test]
fn ids_are_never_used_again_and_places_are() {
    run(|| {
        let mut ids = HashSet::new();
        for _ in 0..100 {
            let handle = thread::spawn(|| thread::current().id());
            assert!(ids.insert(handle.thread().id()));
            assert_eq!(handle.thread().id(), handle.thread().clone().id());
            let own = handle.join().unwrap();
            assert!(ids.contains(&own));
        }
        let stats = runtime::stats().unwrap();
        assert_eq!(
            stats.stacks.live + stats.stacks.hot,
            2,
            "one stack was enough for all"
        );
    });
}

#[test]
fn current_tells_the_os_thread_from_its_ethreads() {
    fresh(|| {
        let outside = thread::current();
        let handle = thread::Builder::new()
            .name("inside")
            .spawn(thread::current)
            .unwrap();
        ethreads::run().unwrap();
        let inside = handle.join().unwrap();
        assert_eq!(inside.name(), Some("inside"));
        assert_ne!(inside.id(), outside.id());
        assert_eq!(outside.id(), thread::current().id());
        assert_eq!(inside.to_string(), format!("'inside' ({})", inside.id()));
    });
}

#[test]
fn closures_and_thread_locals_stay_on_their_os_thread() {
    thread_local! {
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }
    fresh(|| {
        let shared = Rc::new(Cell::new(0));
        for _ in 0..10 {
            let shared = shared.clone();
            drop(thread::spawn(move || {
                shared.set(shared.get() + 1);
                thread::yield_now();
                COUNT.set(COUNT.get() + 1);
            }));
        }
        ethreads::run().unwrap();
        assert_eq!((shared.get(), COUNT.get()), (10, 10));
    });
}

#[test]
fn the_os_thread_drives_its_shard_while_it_waits() {
    fresh(|| {
        let ticks = Rc::new(Cell::new(0));
        let theirs = ticks.clone();
        let ticker = thread::Builder::new().daemon(true).spawn(move || {
            loop {
                theirs.set(theirs.get() + 1);
                thread::yield_now();
            }
        });
        drop(ticker.unwrap());
        let waits: [fn(); 4] = [
            || thread::sleep(Duration::from_millis(1)),
            || thread::park_timeout(Duration::from_millis(1)),
            || thread::yield_now(),
            || thread::spawn(|| thread::yield_now()).join().unwrap(),
        ];
        for wait in waits {
            let before = ticks.get();
            wait();
            assert!(ticks.get() > before);
        }
        assert_eq!(bridge::blocking(|| 6), 6);
    });
}

#[test]
fn stack_sizes_hold_what_they_promise() {
    /// Room for what is on the stack before the closure runs, and for the deepest frame: under
    /// ASan, both are large.
    const MARGIN: usize = 16 << 10;

    /// Recurses until `bytes` bytes below `top` are in use.
    fn fill(top: usize, bytes: usize) -> usize {
        let frame = std::hint::black_box([1u8; 256]);
        let used = top - std::ptr::from_ref(&frame).addr();
        if used >= bytes {
            used
        } else {
            fill(top, bytes) + usize::from(frame[0]) - 1
        }
    }
    run(|| {
        for size in [64 << 10, 100 << 10, 1 << 20] {
            let handle = thread::Builder::new().stack_size(size).spawn(move || {
                let top = 0u8;
                fill(std::ptr::from_ref(&top).addr(), size - MARGIN)
            });
            assert!(handle.unwrap().join().unwrap() >= size - MARGIN);
        }
        let refused = thread::Builder::new().stack_size(usize::MAX).spawn(|| ());
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
    });
}

#[test]
fn ten_thousand_sleep_at_once() {
    run(|| {
        let handles: Vec<_> = (0..10_000u64)
            .map(|n| {
                let builder = thread::Builder::new().stack_size(16 << 10);
                let nap = Duration::from_micros(n % 1000);
                builder.spawn(move || thread::sleep(nap)).unwrap()
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        let stats = runtime::stats().unwrap();
        assert_eq!((stats.ethreads, stats.timers, stats.stacks.live), (1, 0, 1));
        assert!(stats.stacks.hot <= 1024, "{stats:?}");
    });
}

#[test]
fn waits_without_a_stack_hold_none() {
    fresh(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let handles: Vec<_> = (0..5000)
            .map(|n| {
                let begin = move |wakeup| (n, wakeup);
                bridge::on_ready(&ours, Interest::Readable, None, begin).unwrap()
            })
            .collect();
        thread::yield_now();
        let stats = runtime::stats().unwrap();
        assert_eq!(
            (stats.ethreads, stats.io_waits, stats.stacks.live),
            (5000, 5000, 0)
        );
        assert_eq!(stats.stacks.mapped_bytes, 0, "not even address space");
        // There is one edge, and each ethread passes it on.
        drop(theirs);
        ethreads::run().unwrap();
        assert_eq!(runtime::stats().unwrap().stacks.hot, 1);
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.join().unwrap(), (n, Wakeup::Ready));
        }
    });
}

#[test]
fn a_wait_that_timed_out_takes_no_wake_of_others() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let now = Some(Instant::now());
        let (begun, go) = (Rc::new(Cell::new(false)), thread::current());
        let seen = begun.clone();
        let late = bridge::on_ready(&ours, Interest::Readable, now, move |wakeup| {
            seen.set(true);
            go.unpark();
            // The ethread goes on running, and so its place in the wait queue stays.
            thread::park();
            wakeup
        });
        let late = late.unwrap();
        let reader = ours.try_clone().unwrap();
        let reader = thread::spawn(move || (&reader).read(&mut [0; 8]).unwrap());
        thread::park();
        assert!(begun.get());
        theirs.write_all(b"data").unwrap();
        assert_eq!(reader.join().unwrap(), 4);
        late.thread().unpark();
        assert_eq!(late.join().unwrap(), Wakeup::TimedOut);
    });
}
