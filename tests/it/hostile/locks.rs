//! Locks, values that are made once, and resources.

use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::resource::StartError;
use ethreads::sync::{Condvar, Lazy, Mutex, OnceCell, PoisonError, Resource, RwLock};
use ethreads::thread;

use super::kit::{Hostile, Kit};
use super::{Ended, Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = holders();
    rows.extend(once());
    rows.extend(resources());
    rows
}

/// Formats a value with `show`. `check` then checks the value.
fn shown<T: 'static>(
    kit: &Kit,
    value: T,
    show: fn(&T) -> String,
    check: impl FnOnce(&T) + 'static,
) -> Play {
    let value = Rc::new(value);
    let (again, shown) = (value.clone(), value.clone());
    kit.again(move || drop(show(&again)));
    Play::new(move || drop(show(&shown)), move |_| check(&value))
}

fn holders() -> Vec<Row> {
    vec![
        row("sync::Mutex::fmt", "Debug", |kit| {
            shown(
                kit,
                Mutex::new(kit.value()),
                |m| format!("{m:?}"),
                |m| {
                    m.clear_poison();
                    drop(m.try_lock().unwrap());
                },
            )
        }),
        row("sync::Mutex::default", "Default", |_| {
            Play::call(|| drop(Mutex::<Hostile>::default()))
        }),
        row("sync::MutexGuard::fmt", "Debug", |kit| {
            let mutex = Rc::new(Mutex::new(kit.value()));
            let shown = mutex.clone();
            kit.again(|| ());
            Play::new(
                move || drop(format!("{:?}", shown.lock().unwrap())),
                move |ended| assert_poisoned(&mutex, ended),
            )
        }),
        row("sync::MutexGuard::fmt", "Display", |kit| {
            let mutex = Rc::new(Mutex::new(kit.value()));
            let shown = mutex.clone();
            kit.again(|| ());
            Play::new(
                move || drop(format!("{}", shown.lock().unwrap())),
                move |ended| assert_poisoned(&mutex, ended),
            )
        }),
        row("sync::RwLock::fmt", "Debug", |kit| {
            shown(
                kit,
                RwLock::new(kit.value()),
                |lock| format!("{lock:?}"),
                |lock| {
                    drop(lock.try_write().unwrap());
                },
            )
        }),
        row("sync::RwLock::default", "Default", |_| {
            Play::call(|| drop(RwLock::<Hostile>::default()))
        }),
        row("sync::RwLockReadGuard::fmt", "Debug", |kit| {
            shown(
                kit,
                RwLock::new(kit.value()),
                |lock| format!("{:?}", lock.read().unwrap()),
                |lock| drop(lock.try_write().unwrap()),
            )
        }),
        row("sync::RwLockReadGuard::fmt", "Display", |kit| {
            shown(
                kit,
                RwLock::new(kit.value()),
                |lock| format!("{}", lock.read().unwrap()),
                |lock| drop(lock.try_write().unwrap()),
            )
        }),
        row("sync::RwLockWriteGuard::fmt", "Debug", |kit| {
            let lock = Rc::new(RwLock::new(kit.value()));
            let shown = lock.clone();
            Play::new(
                move || drop(format!("{:?}", shown.write().unwrap())),
                move |ended| {
                    assert_eq!(lock.is_poisoned(), ended != Ended::Returned);
                    lock.clear_poison();
                    drop(lock.try_write().unwrap());
                },
            )
        }),
        row("sync::RwLockWriteGuard::fmt", "Display", |kit| {
            let lock = Rc::new(RwLock::new(kit.value()));
            let shown = lock.clone();
            Play::new(
                move || drop(format!("{}", shown.write().unwrap())),
                move |ended| {
                    assert_eq!(lock.is_poisoned(), ended != Ended::Returned);
                    lock.clear_poison();
                    drop(lock.try_write().unwrap());
                },
            )
        }),
        row("sync::Condvar::wait_while", "Fn", |kit| {
            let shared = Rc::new((Mutex::new(3), Condvar::new()));
            let (theirs, again, kit2) = (shared.clone(), shared.clone(), kit.clone());
            kit.again(move || again.1.notify_all());
            Play::new(
                move || {
                    let (mutex, condvar) = &*theirs;
                    let notifier = theirs.clone();
                    let notifies = thread::spawn(move || {
                        loop {
                            notifier.1.notify_all();
                            let mut left =
                                notifier.0.lock().unwrap_or_else(PoisonError::into_inner);
                            if *left == 0 {
                                return;
                            }
                            *left -= 1;
                            drop(left);
                            thread::yield_now();
                        }
                    });
                    let waited = condvar.wait_while(mutex.lock().unwrap(), |left| {
                        kit2.call();
                        *left > 0
                    });
                    drop(waited);
                    notifies.join().unwrap();
                },
                move |ended| {
                    assert_eq!(shared.0.is_poisoned(), ended != Ended::Returned);
                    shared.0.clear_poison();
                    drop(shared.0.lock().unwrap());
                },
            )
        }),
    ]
}

fn assert_poisoned(mutex: &Mutex<Hostile>, ended: Ended) {
    assert_eq!(mutex.is_poisoned(), ended != Ended::Returned);
    mutex.clear_poison();
    drop(mutex.try_lock().unwrap());
}

/// A cell whose value a hostile closure makes, while another ethread waits for the value. If the
/// closure fails, the other ethread makes the value.
fn made(kit: &Kit, make: fn(&OnceCell<Hostile>, &Kit)) -> Play {
    let cell = Rc::new(OnceCell::new());
    let (first, second, again) = (cell.clone(), cell.clone(), cell.clone());
    let (kit, spare) = (kit.clone(), kit.clone());
    let value = kit.clone();
    kit.again(move || {
        // The cell refuses the value while its own value is made.
        drop(again.set(value.value()));
    });
    Play::new(
        move || {
            let second = thread::spawn(move || {
                second.get_or_init(|| spare.value());
            });
            make(&first, &kit);
            second.join().unwrap();
        },
        move |_| {
            // The waiter goes on by itself.
            (0..200).for_each(|_| thread::yield_now());
            assert!(cell.get().is_some());
        },
    )
}

fn once() -> Vec<Row> {
    vec![
        row("sync::OnceCell::fmt", "Debug", |kit| {
            shown(
                kit,
                OnceCell::from(kit.value()),
                |cell| format!("{cell:?}"),
                |_| (),
            )
        }),
        row("sync::OnceCell::get_or_init", "Fn", |kit| {
            made(kit, |cell, kit| {
                cell.get_or_init(|| {
                    kit.call();
                    kit.value()
                });
            })
        }),
        row("sync::OnceCell::get_or_try_init", "Fn", |kit| {
            made(kit, |cell, kit| {
                let made = cell.get_or_try_init(|| {
                    kit.call();
                    Ok::<_, ()>(kit.value())
                });
                assert!(made.is_ok());
            })
        }),
        row("sync::OnceCell::get_or_try_init", "Drop", |kit| {
            made(kit, |cell, kit| {
                // The attempt of one ethread fails, and the other ethread makes another attempt.
                let failed = cell.get_or_try_init(|| Err(kit.value()));
                drop(failed.err());
            })
        }),
        row("sync::OnceCell::set", "Drop", |kit| {
            let cell = Rc::new(OnceCell::from(kit.value()));
            let (theirs, value) = (cell.clone(), kit.value());
            Play::new(
                move || drop(theirs.set(value)),
                move |_| assert!(cell.get().is_some()),
            )
        }),
        row("sync::Lazy::force", "Fn", |kit| {
            let kit = kit.clone();
            let lazy = Rc::new(Lazy::new(move || {
                kit.call();
                kit.value()
            }));
            Play::call(move || drop(format!("{:?}", **lazy)))
        }),
        row("sync::Lazy::deref", "Fn", |kit| {
            let kit = kit.clone();
            let hostility = kit.hostility();
            let lazy = Rc::new(Lazy::new(move || {
                kit.call();
                kit.value()
            }));
            let second = lazy.clone();
            Play::call(move || {
                // If the closure unwinds, the waiter fails too, as there is no other closure.
                let second = thread::spawn(move || drop(format!("{:?}", **second)));
                let second = thread::spawn(move || {
                    let second = second.join();
                    assert_eq!(second.is_err(), hostility.unwinds());
                });
                let _: &Hostile = &lazy;
                second.join().unwrap();
            })
        }),
        row("sync::Lazy::fmt", "Debug", |kit| {
            let kit2 = kit.clone();
            let lazy = Lazy::new(move || kit2.value());
            Lazy::force(&lazy);
            shown(kit, lazy, |lazy| format!("{lazy:?}"), |_| ())
        }),
        row("sync::Lazy::new", "Drop", |kit| {
            // The closure owns the value, and is dropped after it has been called.
            let value = kit.value();
            let lazy = Lazy::new(move || drop(value));
            Play::call(move || *Lazy::force(&lazy))
        }),
    ]
}

type Thing = Resource<Hostile, Hostile>;

/// Gets `thing`, whose start may fail.
fn get(thing: &Thing) -> Result<(), StartError<Hostile>> {
    thing.get().map(drop)
}

/// Checks that the resource can still be started.
fn check(thing: &Thing) {
    for _ in 0..2 {
        thing
            .restart()
            .map(drop)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    thing.stop();
    (0..100).for_each(|_| thread::yield_now());
}

fn resources() -> Vec<Row> {
    vec![
        row("sync::resource::Resource::new", "Fn", |kit| {
            let kit2 = kit.clone();
            let thing = Thing::new(move || {
                kit2.call();
                Ok(kit2.value())
            });
            let (first, second, again) = (thing.clone(), thing.clone(), thing.clone());
            kit.again(move || {
                assert!(again.try_get().is_none());
            });
            let hostility = kit.hostility();
            Play::new(
                move || {
                    let second = thread::spawn(move || get(&second).is_ok());
                    let started = get(&first);
                    assert_eq!(started.is_err(), hostility.unwinds());
                    assert_eq!(second.join().unwrap(), started.is_ok());
                    match started {
                        Err(error) if hostility.panics() => {
                            assert!(matches!(error, StartError::Panicked(_)), "{error}");
                        }
                        _ => {}
                    }
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::Resource::builder", "Fn", |kit| {
            // The resource is asked to stop while it starts.
            let kit2 = kit.clone();
            let thing = Resource::builder(move || {
                kit2.call();
                Ok::<_, Hostile>(kit2.value())
            })
            .start_timeout(Duration::from_secs(3600))
            .build();
            let (first, stopper, again) = (thing.clone(), thing.clone(), thing.clone());
            kit.again(move || drop(format!("{again:?}")));
            Play::new(
                move || {
                    let gets = thread::spawn(move || drop(get(&first)));
                    thread::yield_now();
                    thread::yield_now();
                    stopper.stop();
                    gets.join().unwrap();
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::Resource::get", "Drop", |kit| {
            // The dropped value is the error.
            let kit2 = kit.clone();
            let fails = Rc::new(std::cell::Cell::new(true));
            let thing = Resource::builder(move || {
                if fails.replace(false) {
                    Err(kit2.value())
                } else {
                    Ok(kit2.value())
                }
            })
            .build();
            let (first, second, again) = (thing.clone(), thing.clone(), thing.clone());
            kit.again(move || drop(again.try_get()));
            Play::new(
                move || {
                    let second = thread::spawn(move || {
                        let failed = get(&second).unwrap_err();
                        assert!(matches!(failed, StartError::Failed(_)));
                    });
                    let failed = get(&first).unwrap_err();
                    assert!(matches!(failed, StartError::Failed(_)));
                    drop(failed);
                    drop(second.join());
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::Resource::stop", "Drop", |kit| {
            // The value of the resource is dropped in the ethread that keeps it.
            let kit2 = kit.clone();
            let thing = Thing::new(move || Ok(kit2.value()));
            let (stops, again) = (thing.clone(), thing.clone());
            kit.again(move || drop(again.try_get()));
            Play::new(
                move || {
                    get(&stops).unwrap();
                    stops.stop();
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::Resource::drop", "Drop", |kit| {
            let kit2 = kit.clone();
            let thing = Thing::new(move || Ok(kit2.value()));
            Play::call(move || {
                get(&thing).unwrap();
                drop(thing);
                (0..50).for_each(|_| thread::yield_now());
            })
        }),
        row("sync::resource::Resource::drop", "Drop", |kit| {
            // The dropped value is a capture of the closures.
            let value = kit.value();
            let thing = Resource::builder(|| Ok::<u8, ()>(7))
                .stop(move |_| drop(format!("{value:?}")))
                .build();
            Play::call(move || {
                drop(thing.get().unwrap());
                drop(thing);
                (0..50).for_each(|_| thread::yield_now());
            })
        })
        .called("of closures"),
        row("sync::resource::Lease::drop", "Drop", |kit| {
            // The last lease of a resource that was stopped while it was in use.
            let kit2 = kit.clone();
            let thing = Resource::builder(move || Ok::<_, Hostile>(kit2.value()))
                .grace(Duration::ZERO)
                .build();
            let (uses, again) = (thing.clone(), thing.clone());
            kit.again(move || drop(again.get()));
            Play::new(
                move || {
                    let lease = uses.get().unwrap_or_else(|error| panic!("{error}"));
                    uses.stop();
                    assert_eq!(uses.in_use(), 1);
                    drop(lease);
                },
                move |_| {
                    assert_eq!(thing.in_use(), 0);
                    check(&thing);
                },
            )
        }),
        row("sync::resource::Builder::stop", "Fn", |kit| {
            let (kit2, kit3) = (kit.clone(), kit.clone());
            let thing = Resource::builder(move || Ok::<_, Hostile>(kit2.value()))
                .stop(move |_| kit3.call())
                .build();
            let (uses, again) = (thing.clone(), thing.clone());
            kit.again(move || {
                assert!(again.try_get().is_none());
            });
            Play::new(
                move || {
                    get(&uses).unwrap();
                    uses.stop();
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::Builder::name", "Into", |kit| {
            let value = kit.value();
            let kit = kit.clone();
            Play::call(move || {
                drop(Resource::builder(move || Ok::<_, ()>(kit.value())).name(value));
            })
        }),
        row("sync::resource::Lease::fmt", "Debug", |kit| {
            let kit2 = kit.clone();
            let thing = Thing::new(move || Ok(kit2.value()));
            let uses = thing.clone();
            Play::new(
                move || {
                    let lease = uses.get().unwrap_or_else(|error| panic!("{error}"));
                    drop(format!("{lease:?}"));
                },
                move |_| check(&thing),
            )
        }),
        row("sync::resource::StartError::fmt", "Display", |kit| {
            shown(
                kit,
                StartError::Failed(Rc::new(kit.value())),
                |error| format!("{error}"),
                |_| (),
            )
        }),
    ]
}

#[test]
fn locks_stay_sound() {
    super::run_all(rows());
}
