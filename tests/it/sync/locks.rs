//! `sync`: order, hand-over, poison, and what a waiter leaves behind if it goes before its turn.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::TryLockError;
use std::time::Duration;

use ethreads::sync::channel::{self, RecvTimeoutError};
use ethreads::sync::{Barrier, Condvar, Mutex, RwLock, Semaphore, WaitGroup};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time;

use crate::support::{OnDrop, deadlock, fresh, join_all, leaving_nothing as check, text};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_mutex_is_handed_over_in_order_without_barging() {
    check(|| {
        let mutex = Rc::new(Mutex::new(Vec::new()));
        let first = mutex.lock().unwrap();
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                let mutex = mutex.clone();
                thread::spawn(move || {
                    mutex.lock().unwrap().push(n);
                    thread::yield_now();
                    mutex.lock().unwrap().push(10 + n);
                })
            })
            .collect();
        thread::yield_now();
        drop(first);
        // The lock already belongs to the first waiter, though that waiter has not run.
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        join_all(waiters);
        assert_eq!(*mutex.lock().unwrap(), [0, 1, 2, 3, 10, 11, 12, 13]);
    });
}

#[test]
fn unwinding_with_a_mutex_poisons_it() {
    check(|| {
        let mutex = Rc::new(Mutex::new(1));
        let unwinds: [fn(); 3] = [|| panic!("on purpose"), || thread::sleep(HOUR), || ()];
        for (n, unwind) in unwinds.into_iter().enumerate() {
            let theirs = mutex.clone();
            let holder = thread::spawn(move || {
                let mut guard = theirs.lock().unwrap();
                *guard += 1;
                if n == 2 {
                    // Held within the scope that unwinds, and not around it.
                    drop(guard);
                    let _ = time::timeout(Duration::ZERO, || {
                        let _guard = theirs.lock().unwrap();
                        thread::sleep(HOUR);
                    });
                } else {
                    unwind();
                }
            });
            thread::yield_now();
            holder.cancel();
            drop(holder.join());
            assert!(mutex.is_poisoned(), "{n}");
            let error = mutex.lock().unwrap_err();
            assert_eq!(**error.get_ref(), n + 2);
            drop(error);
            assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
            mutex.clear_poison();
            assert!(mutex.lock().is_ok());
        }
        // A mutex that is locked and unlocked during an unwind is not poisoned.
        let theirs = mutex.clone();
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| *theirs.lock().unwrap() += 1);
            panic!("on the way");
        });
        assert_eq!(text(&*unwinds.join().unwrap_err()), "on the way");
        assert!(!mutex.is_poisoned());
        assert_eq!(Rc::into_inner(mutex).unwrap().into_inner().unwrap(), 5);
    });
}

#[test]
fn a_lock_that_was_handed_over_survives_a_cancel() {
    check(|| {
        let mutex = Rc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let (cancelled, next) = [1, 2]
            .map(|n| {
                let mutex = mutex.clone();
                thread::spawn(move || {
                    *mutex.lock().unwrap() += n;
                    thread::yield_now();
                })
            })
            .into();
        thread::yield_now();
        drop(guard);
        // The cancel is too late: the lock already belongs to the cancelled ethread.
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        next.join().unwrap();
        assert_eq!(*mutex.lock().unwrap(), 3);
    });
}

#[test]
fn a_waiter_that_leaves_lets_the_others_move_up() {
    check(|| {
        let mutex = Rc::new(Mutex::new(Vec::new()));
        let guard = mutex.lock().unwrap();
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                let mutex = mutex.clone();
                thread::spawn(move || {
                    let limit = if n == 1 { Duration::ZERO } else { HOUR };
                    time::timeout(limit, || mutex.lock().unwrap().push(n)).is_ok()
                })
            })
            .collect();
        thread::yield_now();
        waiters[2].cancel();
        // The second waiter has met its deadline by then, and the third is gone.
        thread::sleep(Duration::from_millis(1));
        drop(guard);
        let done: Vec<_> = waiters.into_iter().map(JoinHandle::join).collect();
        let done: Vec<_> = done.into_iter().map(Result::ok).collect();
        assert_eq!(done, [Some(true), Some(false), None, Some(true)]);
        assert_eq!(*mutex.lock().unwrap(), [0, 3]);
    });
}

#[test]
fn a_deadlock_names_the_holder() {
    fresh(|| {
        let mutex = Rc::new(Mutex::new(()));
        let theirs = mutex.clone();
        let holder = thread::spawn(move || {
            let _guard = theirs.lock().unwrap();
            thread::park();
        });
        thread::spawn(move || drop(mutex.lock()));
        let deadlock = deadlock(ethreads::run());
        let waits_for = format!("a lock that ethread {} holds", holder.thread().id());
        assert!(deadlock.to_string().contains(&waits_for), "{deadlock}");
        deadlock.cancel_all();
        ethreads::run().unwrap();
    });
}

#[test]
fn what_a_scheduler_has_left_in_line_means_nothing_to_the_next_one() {
    fresh(|| {
        let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(0)));
        let run = |f: fn(&'static Mutex<u32>)| {
            let builder = ethreads::Runtime::builder().grace(Duration::ZERO);
            builder.run(move || f(mutex))
        };
        let _ = run(|mutex| {
            // Neither ethread ends: they are leaked, one with the lock and one in the wait queue.
            for _ in 0..2 {
                thread::spawn(|| {
                    thread::uncancellable(|| {
                        let _guard = mutex.lock();
                        thread::park();
                    })
                });
            }
            thread::yield_now();
        });
        run(|mutex| {
            for _ in 0..5 {
                thread::spawn(|| thread::yield_now());
            }
            assert!(mutex.try_lock().is_err());
            assert!(time::timeout(Duration::ZERO, || mutex.lock().is_ok()).is_err());
        })
        .unwrap();
    });
}

#[test]
fn notifications_wake_in_order_and_none_is_made_up() {
    check(|| {
        let shared = Rc::new((Mutex::new(Vec::new()), Condvar::new()));
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let log = shared.0.lock().unwrap();
                    shared.1.wait(log).unwrap().push(n);
                })
            })
            .collect();
        thread::yield_now();
        shared.1.notify_one();
        (0..3).for_each(|_| thread::yield_now());
        assert_eq!(*shared.0.lock().unwrap(), [0]);
        waiters[1].cancel();
        thread::yield_now();
        shared.1.notify_one();
        (0..3).for_each(|_| thread::yield_now());
        assert_eq!(*shared.0.lock().unwrap(), [0, 2]);
        shared.1.notify_all();
        let ended = waiters.into_iter().filter_map(|waiter| waiter.join().ok());
        assert_eq!(ended.count(), 3);
        assert_eq!(*shared.0.lock().unwrap(), [0, 2, 3]);
        assert!(
            !shared.0.is_poisoned(),
            "a cancelled wait does not have the lock"
        );
        // There is no waiter, so the notification is not kept.
        shared.1.notify_one();
        let log = shared.0.lock().unwrap();
        let (log, result) = shared
            .1
            .wait_timeout(log, Duration::from_millis(1))
            .unwrap();
        assert!(result.timed_out());
        drop(log);
    });
}

#[test]
fn many_permits_are_not_overtaken_by_few() {
    check(|| {
        let semaphore = Rc::new(Semaphore::new(3));
        let held = semaphore.acquire_many(2);
        let order = Rc::new(RefCell::new(Vec::new()));
        let spawn = |count| {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            thread::spawn(move || {
                let permit = semaphore.acquire_many(count);
                order.borrow_mut().push(permit.count());
                thread::yield_now();
            })
        };
        let waiters = [3, 1, 1].map(spawn);
        thread::yield_now();
        // One permit is free, and the first waiter wants three.
        assert_eq!(semaphore.available_permits(), 1);
        assert_eq!(
            semaphore.try_acquire().unwrap_err().to_string(),
            "no permit is free"
        );
        drop(held);
        join_all(waiters);
        assert_eq!(*order.borrow(), [3, 1, 1]);
        assert_eq!(semaphore.available_permits(), 3);
        semaphore.acquire().forget();
        semaphore.add_permits(2);
        assert_eq!(semaphore.available_permits(), 4);
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_the_free_permits_to_the_later_ones() {
    check(|| {
        let semaphore = Rc::new(Semaphore::new(2));
        let held = semaphore.acquire();
        let spawn = |count| {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.acquire_many(count).count())
        };
        let (greedy, modest) = (spawn(2), spawn(1));
        thread::yield_now();
        assert!(!modest.is_finished());
        greedy.cancel();
        assert!(greedy.join().is_err());
        assert_eq!(modest.join().unwrap(), 1);
        drop(held);
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn a_barrier_begins_anew_and_forgets_waiters_that_have_gone() {
    check(|| {
        let barrier = Rc::new(Barrier::new(3));
        let spawn = || {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait().is_leader())
        };
        let gone = spawn();
        thread::yield_now();
        gone.cancel();
        assert!(gone.join().is_err());
        for _ in 0..2 {
            let leaders = join_all([spawn(), spawn(), spawn()]);
            assert_eq!(leaders, [false, false, true]);
        }
        // The cancelled waiter has yet to leave when the last waiter arrives, so it counts as
        // arrived.
        let cancelled = spawn();
        let other = spawn();
        thread::yield_now();
        cancelled.cancel();
        assert!(barrier.wait().is_leader());
        assert!(cancelled.join().is_err());
        assert!(!other.join().unwrap());
        assert_eq!(join_all([spawn(), spawn(), spawn()]), [false, false, true]);
        assert!(Barrier::new(0).wait().is_leader());
    });
}

#[test]
fn a_wait_group_waits_for_all_members() {
    check(|| {
        let group = WaitGroup::new();
        group.wait();
        let first = group.join();
        let second = first.clone();
        assert_eq!(group.members(), 2);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let group = group.clone();
                thread::spawn(move || group.wait())
            })
            .collect();
        thread::yield_now();
        drop(first);
        thread::yield_now();
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        let panicked = thread::spawn(move || {
            let _member = second;
            panic!("it leaves all the same");
        });
        assert!(panicked.join().is_err());
        join_all(waiters);
    });
}

#[test]
fn on_the_os_threads_own_side_a_wait_that_cannot_end_panics_and_leaves_the_line() {
    fresh(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock().unwrap();
        let payload = panic::catch_unwind(AssertUnwindSafe(|| drop(mutex.lock()))).unwrap_err();
        assert!(text(&*payload).contains("can never end"));
        drop(guard);
        assert!(mutex.lock().is_ok());
        let semaphore = Semaphore::new(0);
        assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(semaphore.acquire()))).is_err());
        semaphore.add_permits(1);
        drop(semaphore.acquire());
    });
}

#[cfg(feature = "sim")]
mod random_programs {
    use std::cell::Cell;

    use ethreads::sim;
    use proptest::prelude::*;

    use super::*;

    /// What an ethread does with a semaphore of three permits: each time, it asks for a number of
    /// permits, with or without a limit in milliseconds, and holds them for some milliseconds. The
    /// ethread may be cancelled at a time.
    #[derive(Clone, Debug)]
    struct Program {
        asks: Vec<(usize, Option<u64>, u64)>,
        cancelled_at: Option<u64>,
    }

    fn program() -> impl Strategy<Value = Program> {
        let ask = (1usize..4, prop::option::weighted(0.3, 0u64..6), 0u64..4);
        let asks = prop::collection::vec(ask, 1..5);
        let cancelled_at = prop::option::weighted(0.3, 0u64..12);
        (asks, cancelled_at).prop_map(|(asks, cancelled_at)| Program { asks, cancelled_at })
    }

    const PERMITS: usize = 3;

    /// A naive account of the wait queue and of the permits that are out.
    #[derive(Default)]
    struct Model {
        /// The waiters in order: number, permits, and whether the waiter may leave unwoken. A
        /// waiter that may leave early does not count against the waiters behind it.
        queue: RefCell<Vec<(u64, usize, bool)>>,
        out: Cell<usize>,
        next: Cell<u64>,
    }

    impl Model {
        fn asks(&self, count: usize, may_go: bool) -> u64 {
            self.next.set(self.next.get() + 1);
            self.queue
                .borrow_mut()
                .push((self.next.get(), count, may_go));
            self.next.get()
        }

        fn leaves(&self, number: u64) {
            self.queue
                .borrow_mut()
                .retain(|(other, ..)| *other != number);
        }

        fn has(&self, number: u64, count: usize) {
            // The waiters before `number` may have their permits too, without having run since;
            // otherwise `number` has overtaken one of them.
            let granted: usize = {
                let queue = self.queue.borrow();
                let before = queue.iter().take_while(|(other, ..)| *other != number);
                before
                    .filter(|(.., may_go)| !may_go)
                    .map(|(_, count, _)| count)
                    .sum()
            };
            self.leaves(number);
            self.out.set(self.out.get() + count);
            assert!(
                self.out.get() + granted <= PERMITS,
                "{number} was not first"
            );
        }
    }

    fn run(programs: Vec<Program>, seed: u64) {
        let result = sim::run(seed, move || {
            let millis = Duration::from_millis;
            let (semaphore, model) = (Rc::new(Semaphore::new(PERMITS)), Rc::new(Model::default()));
            let mut handles = Vec::new();
            for Program { asks, cancelled_at } in programs {
                let (semaphore, model) = (semaphore.clone(), model.clone());
                let worker = thread::spawn(move || {
                    for (count, limit, hold) in asks {
                        let number = model.asks(count, limit.is_some() || cancelled_at.is_some());
                        let _left = OnDrop(|| model.leaves(number));
                        let limit = limit.map_or(HOUR, millis);
                        let Ok(permit) = time::timeout(limit, || semaphore.acquire_many(count))
                        else {
                            continue;
                        };
                        model.has(number, count);
                        let _back = OnDrop(|| model.out.set(model.out.get() - count));
                        let _permit = permit;
                        thread::sleep(millis(hold));
                    }
                });
                if let Some(at) = cancelled_at {
                    let victim = Rc::new(worker);
                    handles.push(thread::spawn(move || {
                        thread::sleep(millis(at));
                        victim.cancel();
                        while !victim.is_finished() {
                            thread::yield_now();
                        }
                    }));
                } else {
                    handles.push(worker);
                }
            }
            join_all(handles);
            assert!(model.queue.borrow().is_empty());
            assert_eq!(semaphore.available_permits(), PERMITS);
        });
        result.unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn permits_are_fair_and_none_is_lost(
            programs in prop::collection::vec(program(), 1..7),
            seed in any::<u64>(),
        ) {
            run(programs, seed);
        }
    }
}

/// The OS thread's own code cannot leave its stack. A wait that is over before it begins can report
/// that only by its result.
#[test]
fn on_the_os_threads_own_side_a_wait_that_is_cancelled_before_it_begins_gets_nothing() {
    let calls: [Call; 7] = [
        ("Mutex::lock", |held| drop(held.mutex.lock())),
        ("RwLock::read", |held| drop(held.lock.read())),
        ("RwLock::write", |held| drop(held.lock.write())),
        ("Semaphore::acquire", |held| drop(held.permits.acquire())),
        ("Receiver::recv", |held| {
            let _ = held.empty.1.recv();
        }),
        ("Sender::send", |held| {
            let _ = held.empty.0.send(());
        }),
        ("Barrier::wait", |held| {
            let _ = held.barrier.wait();
        }),
    ];
    for (name, call) in calls {
        fresh(move || {
            let held = Rc::new(Held::default());
            let theirs = held.clone();
            let holder = thread::spawn(move || {
                let _guards = (
                    theirs.mutex.lock().unwrap(),
                    theirs.lock.write().unwrap(),
                    theirs.permits.acquire(),
                );
                thread::park();
            });
            thread::yield_now();
            // The result of this earlier wait must not be taken for the result of the next wait.
            let late = held.empty.1.recv_timeout(Duration::from_nanos(1));
            assert_eq!(late, Err(RecvTimeoutError::Timeout));
            let returned = Cell::new(false);
            let scope = panic::catch_unwind(AssertUnwindSafe(|| {
                thread::scope(|scope| {
                    drop(scope.spawn(|| panic!("it cancels the body")));
                    thread::yield_now();
                    call(&held);
                    returned.set(true);
                });
            }));
            let payload = scope.expect_err("a child has panicked");
            assert_eq!(text(&*payload), "it cancels the body", "{name}");
            assert!(!returned.get(), "{name} has gone on");
            assert!(!holder.is_finished(), "{name}: another ethread holds it");
            holder.thread().unpark();
            holder.join().expect("it lets go");
            // No place in a wait queue is left behind.
            drop((held.mutex.lock().unwrap(), held.lock.write().unwrap()));
            drop(held.permits.acquire());
        });
    }
}

type Call = (&'static str, fn(&Held));

struct Held {
    mutex: Mutex<()>,
    lock: RwLock<()>,
    permits: Semaphore,
    empty: (channel::Sender<()>, channel::Receiver<()>),
    barrier: Barrier,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            mutex: Mutex::default(),
            lock: RwLock::default(),
            permits: Semaphore::new(1),
            empty: channel::bounded(0),
            barrier: Barrier::new(2),
        }
    }
}
