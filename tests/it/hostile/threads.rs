//! Ethreads, scopes, deadlines and shards: closures, results and handles.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use ethreads::runtime::{Shard, ShardGroup};
use ethreads::time::Instant;
use ethreads::{Runtime, run_main, thread, time};

use crate::support::fresh;

use super::kit::Hostility;
use super::{Play, Row, row};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = ethreads();
    rows.extend(scopes());
    rows.extend(bounds());
    rows.extend(shards());
    rows.extend(runs());
    rows
}

fn settle() {
    (0..200).for_each(|_| thread::yield_now());
}

fn ethreads() -> Vec<Row> {
    vec![
        row("thread::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let handle = thread::spawn(move || kit.call());
                let result = handle.join();
                assert_eq!(result.is_err(), hostility.unwinds());
                std::mem::forget(result);
            })
        }),
        row("thread::spawn", "Drop", |kit| {
            // The dropped closure has not begun.
            let value = kit.value();
            Play::call(move || {
                let handle = thread::spawn(move || drop(value));
                handle.cancel();
                std::mem::forget(handle.join());
            })
        }),
        row("thread::Builder::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                // The ethread is not joined.
                drop(thread::Builder::new().spawn(move || kit.call()));
                settle();
            })
        }),
        row("thread::Builder::name", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(thread::Builder::new().name(value)))
        }),
        row("thread::catch_panic", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let caught = thread::catch_panic(move || kit.call());
                assert_eq!(caught.is_err(), hostility.panics());
                std::mem::forget(caught);
            })
        }),
        row("thread::uncancellable", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                thread::uncancellable(|| kit.call());
                thread::yield_now();
            })
        })
        // Dropping the `Suspended` of an ethread that cannot be cancelled panics.
        .but(&[(Hostility::CancelSelf, super::But::Unwinds)]),
        row("runtime::JoinHandle::drop", "Drop", |kit| {
            // The result is there when the handle is dropped.
            let value = kit.value();
            Play::call(move || {
                let handle = thread::spawn(move || value);
                thread::yield_now();
                assert!(handle.is_finished());
                drop(handle);
            })
        }),
        row("runtime::JoinHandle::drop", "Drop", |kit| {
            // The result comes after the handle is dropped.
            let value = kit.value();
            Play::call(move || {
                drop(thread::spawn(move || value));
                settle();
            })
        }),
        row("runtime::CancelOnDrop::drop", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let handle = thread::spawn(move || value).cancel_on_drop();
                thread::yield_now();
                drop(handle);
            })
        }),
        row("runtime::JoinHandle::poll", "Wake", |kit| {
            // The end of the ethread wakes the waker.
            let waker = Waker::from(Arc::new(kit.value()));
            Play::call(move || {
                let mut handle = pin!(thread::spawn(thread::yield_now));
                let polled = handle.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                settle();
                assert!(handle.is_finished());
            })
        }),
        row("runtime::JoinHandle::poll", "Drop", |kit| {
            // Another waker replaces the hostile one.
            let waker = Waker::from(Arc::new(kit.value()));
            Play::call(move || {
                let mut handle = pin!(thread::spawn(thread::yield_now));
                let polled = handle.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                let _ = handle
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                settle();
            })
        }),
        row("runtime::JoinHandle::drop", "Drop", |kit| {
            // The handle is the last owner of the waker.
            let waker = Waker::from(Arc::new(kit.value()));
            Play::call(move || {
                let mut handle = Box::pin(thread::spawn(thread::yield_now));
                let polled = handle.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                drop(handle);
                settle();
            })
        }),
    ]
}

fn scopes() -> Vec<Row> {
    vec![
        row("thread::scope", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let words = [7, 8].map(|word| vec![word; 1000]);
                let sum: usize = thread::scope(|scope| {
                    let sums = [0, 1].map(|i| {
                        let words = &words;
                        scope.spawn(move || {
                            (0..5).for_each(|_| thread::yield_now());
                            words[i].iter().sum::<usize>()
                        })
                    });
                    kit.call();
                    sums.map(|sum| sum.join().unwrap()).iter().sum()
                });
                assert_eq!(sum, 15_000);
            })
        }),
        row("thread::scope", "Drop", |kit| {
            // The dropped value is what the scope would return if no child had failed.
            let kit = kit.clone();
            Play::call(move || {
                let scoped = thread::catch_panic(|| {
                    thread::scope(|scope| {
                        let fails = || std::panic::resume_unwind(Box::new("a child"));
                        drop(scope.spawn(fails));
                        let value = kit.value();
                        for _ in 0..3 {
                            thread::uncancellable(thread::yield_now);
                        }
                        value
                    })
                });
                std::mem::forget(scoped.err());
            })
        }),
        row("thread::Scope::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    scope.spawn(|| {
                        (0..5).for_each(|_| thread::yield_now());
                        assert_eq!(words[999], 7);
                    });
                    scope.spawn(|| {
                        kit.call();
                        assert_eq!(words[998], 7);
                    });
                });
            })
        }),
        row("thread::Scope::spawn", "Drop", |kit| {
            // The dropped value is a result that is not joined.
            let kit = kit.clone();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    drop(scope.spawn(|| {
                        assert_eq!(words[999], 7);
                        kit.value()
                    }));
                    let there = scope.spawn(|| kit.value());
                    thread::yield_now();
                    drop(there);
                });
            })
        }),
        row("thread::Builder::spawn_scoped", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let words = vec![7; 1000];
                thread::scope(|scope| {
                    let spawned = thread::Builder::new().spawn_scoped(scope, || {
                        kit.call();
                        assert_eq!(words[998], 7);
                    });
                    let _ = spawned.unwrap().join().map_err(std::mem::forget);
                });
            })
        }),
    ]
}

fn bounds() -> Vec<Row> {
    vec![
        row("time::timeout", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || time::timeout(HOUR, || kit.call()).unwrap())
        }),
        row("time::timeout", "Drop", |kit| {
            // One value is dropped while the deadline unwinds, another one after that.
            let kit = kit.clone();
            Play::call(move || {
                let value = kit.value();
                let late = time::timeout(Duration::ZERO, || {
                    let _value = kit.value();
                    thread::sleep(HOUR);
                });
                late.unwrap_err();
                drop(value);
            })
        }),
        row("time::deadline", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || time::deadline(Instant::now() + HOUR, || kit.call()).unwrap())
        }),
        row("time::timeout_io", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let done = time::timeout_io(HOUR, || {
                    kit.call();
                    Ok(())
                });
                done.unwrap();
            })
        }),
    ]
}

/// Runs `f` with a group of one shard.
fn with_group(f: impl FnOnce(&ShardGroup)) {
    let group = Runtime::builder().shards(1).start().unwrap();
    // Shuts the group down, however `f` ends.
    struct Ends(ShardGroup);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.shutdown();
        }
    }
    let group = Ends(group);
    f(&group.0);
}

fn shards() -> Vec<Row> {
    vec![
        row("runtime::Shard::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let handle = Shard::current().spawn(move || kit.call()).unwrap();
                let result = handle.join();
                assert_eq!(result.is_err(), hostility.unwinds());
                std::mem::forget(result);
            })
        }),
        row("thread::Builder::spawn_on", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let here = Shard::current();
                drop(thread::Builder::new().spawn_on(&here, move || kit.call()));
                settle();
            })
        }),
        row("runtime::RemoteJoinHandle::drop", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let handle = Shard::current().spawn(move || value).unwrap();
                settle();
                assert!(handle.is_finished());
                drop(handle);
            })
        }),
        row("runtime::RemoteJoinHandle::drop", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                drop(Shard::current().spawn(move || value));
                settle();
            })
        }),
        row("runtime::RemoteJoinHandle::poll", "Wake", |kit| {
            let waker = Waker::from(Arc::new(kit.value()));
            Play::call(move || {
                let mut handle = pin!(Shard::current().spawn(thread::yield_now).unwrap());
                let polled = handle.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                settle();
                assert!(handle.is_finished());
            })
        }),
        row("runtime::RemoteJoinHandle::poll", "Drop", |kit| {
            let waker = Waker::from(Arc::new(kit.value()));
            Play::call(move || {
                let mut handle = pin!(Shard::current().spawn(thread::yield_now).unwrap());
                let polled = handle.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(waker);
                let _ = handle
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                settle();
            })
        }),
        row("runtime::ShardGroup::by_key", "Hash", |kit| {
            let value = kit.value();
            Play::call(move || {
                with_group(|group| {
                    let _ = group.by_key(&value);
                });
            })
        }),
        row("runtime::ShardGroup::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                with_group(|group| {
                    let hostility = kit.hostility();
                    let result = group.spawn(move || kit.call()).unwrap().join();
                    assert_eq!(result.is_err(), hostility.unwinds());
                    std::mem::forget(result);
                });
            })
        }),
        row("runtime::ShardGroup::shutdown", "Drop", |kit| {
            // The shutdown drops a closure that did not begin, and the value of an ethread that
            // waits.
            let kit = kit.clone();
            Play::call(move || {
                with_group(|group| {
                    let value = kit.value();
                    let waits = group.spawn(move || {
                        thread::park();
                        drop(value);
                    });
                    drop(waits);
                    let value = kit.value();
                    drop(group.spawn(move || drop(value)));
                });
            })
        }),
        row("runtime::Shards::name", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Runtime::builder().shards(1).name(value)))
        }),
        row("runtime::Shards::run", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let shards = Runtime::builder().shards(1);
                std::mem::forget(fresh(move || shards.run(move |_| kit.call())));
            })
        }),
    ]
}

fn runs() -> Vec<Row> {
    vec![
        row("runtime::run_main", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let result = fresh(move || run_main(move || kit.call()));
                assert_eq!(result.is_err(), hostility == Hostility::CancelSelf);
            })
        }),
        row("runtime::run_main", "Drop", |kit| {
            // The dropped value is that of an ethread that is left when the root ends.
            let value = kit.value();
            Play::call(move || {
                let result = fresh(move || {
                    run_main(move || {
                        drop(thread::spawn(move || {
                            thread::park();
                            drop(value);
                        }));
                        thread::yield_now();
                    })
                });
                result.unwrap();
            })
        })
        .unreached(),
        row("runtime::Builder::run", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let result = fresh(move || Runtime::builder().run(move || kit.call()));
                assert_eq!(result.is_err(), hostility == Hostility::CancelSelf);
            })
        }),
        row("runtime::run", "Drop", |kit| {
            // The dropped value is the result of an ethread that was spawned before the run.
            let kit = kit.clone();
            Play::call(move || {
                fresh(move || {
                    drop(thread::spawn(move || kit.value()));
                    let _ = ethreads::run();
                });
            })
        }),
        #[cfg(feature = "sim")]
        row("sim::run", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let result = fresh(move || ethreads::sim::run(7, move || kit.call()));
                assert_eq!(result.is_err(), hostility == Hostility::CancelSelf);
            })
        })
        .but(&[(Hostility::Offload, super::But::Skip)]),
    ]
}

#[test]
fn ethreads_stay_sound() {
    super::run_all(rows());
}
