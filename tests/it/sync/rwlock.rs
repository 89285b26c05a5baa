//! `sync::RwLock`: which access goes in and which waits behind which, poison, and what waiters
//! leave behind that go before their turn.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::TryLockError;
use std::time::Duration;

use ethreads::sync::{RwLock, RwLockWriteGuard};
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time;

use crate::support::{OnDrop, deadlock, fresh, join_all, leaving_nothing as check};

const HOUR: Duration = Duration::from_secs(3600);

/// A lock, and the order in which ethreads got it.
#[derive(Default)]
struct Scene {
    lock: RwLock<u32>,
    log: RefCell<Vec<String>>,
}

impl Scene {
    fn note(&self, what: &str) {
        self.log.borrow_mut().push(what.to_owned());
    }

    /// An ethread that reads, and says when it comes and goes.
    fn reader(self: &Rc<Self>, name: &'static str) -> JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || {
            let _guard = scene.lock.read().unwrap();
            scene.note(&format!("+{name}"));
            thread::yield_now();
            scene.note(&format!("-{name}"));
        })
    }

    fn writer(self: &Rc<Self>, name: &'static str) -> JoinHandle<()> {
        let scene = self.clone();
        thread::spawn(move || {
            let mut guard = scene.lock.write().unwrap();
            *guard += 1;
            scene.note(&format!("+{name}"));
            thread::yield_now();
            scene.note(&format!("-{name}"));
        })
    }

    fn log(&self) -> String {
        self.log.borrow().join(" ")
    }
}

#[test]
fn neither_readers_nor_writers_overtake_a_waiter() {
    check(|| {
        let scene = Rc::new(Scene::default());
        let first = scene.lock.read().unwrap();
        let ethreads = [
            scene.reader("r1"),
            scene.writer("w1"),
            scene.reader("r2"),
            scene.reader("r3"),
            scene.writer("w2"),
        ];
        thread::yield_now();
        // A reader goes in beside a reader, as long as no writer waits.
        assert_eq!(scene.log(), "+r1");
        assert!(matches!(
            scene.lock.try_read(),
            Err(TryLockError::WouldBlock)
        ));
        drop(first);
        join_all(ethreads);
        assert_eq!(scene.log(), "+r1 -r1 +w1 -w1 +r2 +r3 -r2 -r3 +w2 -w2");
        assert_eq!(*scene.lock.read().unwrap(), 2);
    });
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    check(|| {
        let scene = Rc::new(Scene::default());
        // There is a reader at any time: each begins before the previous reader ends.
        let theirs = scene.clone();
        let readers = thread::spawn(move || {
            let readers: Vec<_> = (0..20)
                .map(|_| {
                    let scene = theirs.clone();
                    thread::yield_now();
                    thread::spawn(move || {
                        let _guard = scene.lock.read().unwrap();
                        scene.note("r");
                        (0..4).for_each(|_| thread::yield_now());
                    })
                })
                .collect();
            join_all(readers);
        });
        (0..6).for_each(|_| thread::yield_now());
        assert!(scene.lock.try_write().is_err(), "it is read");
        scene.writer("w").join().unwrap();
        let log = scene.log();
        let (before, after) = log.split_once("+w").unwrap();
        // The readers that came before the writer went in first, and no later reader did.
        assert!(before.len() < after.len(), "{log}");
        readers.join().unwrap();
    });
}

#[test]
fn a_stream_of_writers_does_not_starve_a_reader() {
    check(|| {
        let scene = Rc::new(Scene::default());
        let theirs = scene.clone();
        let writers = [(); 3].map(|()| {
            let scene = theirs.clone();
            thread::spawn(move || {
                for _ in 0..20 {
                    let mut guard = scene.lock.write().unwrap();
                    *guard += 1;
                    thread::yield_now();
                }
            })
        });
        thread::yield_now();
        // The reader waits behind the holder and the two waiting writers, for one write of each.
        let seen = *scene.lock.read().unwrap();
        assert!(seen <= 3, "{seen}");
        join_all(writers);
        assert_eq!(*scene.lock.read().unwrap(), 60);
    });
}

#[test]
fn a_downgrade_lets_readers_in_but_no_writer_between() {
    check(|| {
        let scene = Rc::new(Scene::default());
        let mut guard = scene.lock.write().unwrap();
        let ethreads = [scene.reader("r1"), scene.writer("w"), scene.reader("r2")];
        thread::yield_now();
        *guard = 7;
        let guard = RwLockWriteGuard::downgrade(guard);
        // Only the reader right behind the writer goes in.
        thread::yield_now();
        assert_eq!(scene.log(), "+r1");
        assert!(scene.lock.try_write().is_err());
        for _ in 0..3 {
            thread::yield_now();
        }
        assert_eq!(
            (scene.log().as_str(), *guard),
            ("+r1 -r1", 7),
            "the writer waits for the downgraded reader"
        );
        drop(guard);
        join_all(ethreads);
        assert_eq!(scene.log(), "+r1 -r1 +w -w +r2 -r2");
        // After a downgrade the guard only reads, so its unwinding poisons nothing.
        let theirs = scene.clone();
        let reader = thread::spawn(move || {
            let _guard = RwLockWriteGuard::downgrade(theirs.lock.write().unwrap());
            panic!("on purpose");
        });
        assert!(reader.join().is_err());
        assert!(!scene.lock.is_poisoned());
        assert!(scene.lock.try_write().is_ok());
    });
}

/// The ways to unwind with a guard.
fn unwind(how: &str) {
    match how {
        "panic" => panic!("on purpose"),
        _ => thread::sleep(HOUR),
    }
}

#[test]
fn a_writer_that_unwinds_poisons_it_and_a_reader_does_not() {
    check(|| {
        for how in ["panic", "cancel", "deadline"] {
            for writes in [false, true] {
                let lock = Rc::new(RwLock::new(1));
                let theirs = lock.clone();
                let holder = thread::spawn(move || {
                    let limit = if how == "deadline" {
                        Duration::ZERO
                    } else {
                        HOUR
                    };
                    let _ = time::timeout(limit, || {
                        if writes {
                            let mut guard = theirs.write().unwrap();
                            *guard = 2;
                            unwind(how);
                        } else {
                            let _guard = theirs.read().unwrap();
                            unwind(how);
                        }
                    });
                });
                thread::yield_now();
                if how == "cancel" {
                    holder.cancel();
                }
                assert_eq!(holder.join().is_ok(), how == "deadline");
                assert_eq!(lock.is_poisoned(), writes, "{how}");
                assert_eq!(lock.read().is_err(), writes);
                assert_eq!(lock.write().is_err(), writes);
                let poisoned = matches!(lock.try_read(), Err(TryLockError::Poisoned(_)));
                assert_eq!(poisoned, writes);
                if writes {
                    // The changes of the writer are there all the same.
                    assert_eq!(**lock.write().unwrap_err().get_ref(), 2);
                    lock.clear_poison();
                }
                assert!(lock.try_write().is_ok());
            }
        }
    });
}

#[test]
fn what_is_locked_while_it_unwinds_is_not_poisoned_by_that() {
    check(|| {
        let lock = Rc::new(RwLock::new(0));
        let theirs = lock.clone();
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| *theirs.write().unwrap() += 1);
            panic!("on the way");
        });
        assert!(unwinds.join().is_err());
        assert_eq!(*lock.read().unwrap(), 1);
    });
}

#[test]
fn an_owner_is_told_of_the_poison_and_has_the_value() {
    check(|| {
        let mut lock = RwLock::new(String::from("whole"));
        lock.get_mut().unwrap().push('!');
        assert_eq!(RwLock::new(5).into_inner().unwrap(), 5);
        let lock = Rc::new(lock);
        let theirs = lock.clone();
        let writer = thread::spawn(move || {
            theirs.write().unwrap().clear();
            let _guard = theirs.write().unwrap();
            panic!("half way");
        });
        assert!(writer.join().is_err());
        let mut lock = Rc::into_inner(lock).unwrap();
        assert_eq!(lock.get_mut().unwrap_err().into_inner(), "");
        assert_eq!(lock.into_inner().unwrap_err().into_inner(), "");
    });
}

#[test]
fn a_writer_that_leaves_lets_readers_behind_it_in() {
    check(|| {
        for cancelled in [false, true] {
            let scene = Rc::new(Scene::default());
            let first = scene.lock.read().unwrap();
            let theirs = scene.clone();
            let writer = thread::spawn(move || {
                let limit = Duration::from_millis(if cancelled { 3_600_000 } else { 5 });
                time::timeout(limit, || drop(theirs.lock.write())).is_err()
            });
            thread::yield_now();
            let readers = [scene.reader("r1"), scene.reader("r2")];
            thread::yield_now();
            assert_eq!(scene.log(), "");
            if cancelled {
                writer.cancel();
            }
            join_all(readers);
            // Meanwhile the lock was held for reading all the time.
            assert_eq!(*first, 0);
            match writer.join() {
                Ok(timed_out) => assert!(timed_out && !cancelled),
                Err(payload) => assert!(payload.is::<Cancelled>() && cancelled),
            }
            drop(first);
            assert!(scene.lock.try_write().is_ok());
        }
    });
}

#[test]
fn a_lock_that_was_handed_over_survives_a_cancel() {
    check(|| {
        let lock = Rc::new(RwLock::new(0));
        let guard = lock.write().unwrap();
        let [writer, reader] = [true, false].map(|writes| {
            let lock = lock.clone();
            thread::spawn(move || {
                if writes {
                    *lock.write().unwrap() += 1;
                } else {
                    assert_eq!(*lock.read().unwrap(), 1);
                }
                thread::yield_now();
            })
        });
        thread::yield_now();
        drop(guard);
        // The writer already has the lock, though it has not run.
        assert!(lock.try_read().is_err());
        writer.cancel();
        assert!(writer.join().unwrap_err().is::<Cancelled>());
        reader.join().unwrap();
        assert!(!lock.is_poisoned());
        assert_eq!(*lock.read().unwrap(), 1);
    });
}

#[test]
fn trying_does_not_wait_and_takes_nothing_when_it_fails() {
    check(|| {
        let lock = RwLock::new(0);
        let readers = [lock.try_read().unwrap(), lock.try_read().unwrap()];
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(readers);
        let writer = lock.try_write().unwrap();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert_eq!(
            format!("{lock:?}"),
            "RwLock { value: <locked>, poisoned: false }"
        );
        drop(writer);
        assert_eq!(format!("{lock:?}"), "RwLock { value: 0, poisoned: false }");
    });
}

#[test]
fn a_deadlock_names_the_writer_or_counts_the_readers() {
    for (writes, said) in [
        (true, "a lock that ethread "),
        (false, "a lock that 1 read"),
    ] {
        fresh(move || {
            let lock = Rc::new(RwLock::new(()));
            let theirs = lock.clone();
            drop(thread::spawn(move || {
                let (_reader, _writer);
                if writes {
                    _writer = theirs.write();
                } else {
                    _reader = theirs.read();
                }
                thread::park();
            }));
            drop(thread::spawn(move || drop(lock.write())));
            let deadlock = deadlock(ethreads::run());
            assert!(deadlock.to_string().contains(said), "{deadlock}");
            deadlock.cancel_all();
            ethreads::run().unwrap();
        });
    }
}
