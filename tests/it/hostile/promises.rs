//! Promises, signals and selects.

use std::rc::Rc;

use ethreads::sync::{Promise, PromiseError, Signal, channel, select};
use ethreads::{select, thread};

use super::kit::{Hostile, Kit};
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = promises();
    rows.extend(signals());
    rows.extend(choices());
    rows
}

type Vow = Promise<Hostile, Hostile>;

fn promises() -> Vec<Row> {
    /// A promise that is settled while two ethreads wait for it.
    fn settled(kit: &Kit, settle: fn(ethreads::sync::Resolver<Hostile, Hostile>, &Kit)) -> Play {
        let (promise, resolver) = Vow::new();
        let (first, second, again) = (promise.clone(), promise.clone(), promise.clone());
        kit.again(move || {
            let race = Promise::race([&again]);
            let _ = (race.get().is_some(), again.get().is_some());
        });
        let kit = kit.clone();
        Play::new(
            move || {
                let first = thread::spawn(move || drop(first.wait()));
                let second = thread::spawn(move || drop(second.wait()));
                thread::yield_now();
                settle(resolver, &kit);
                drop((first.join(), second.join()));
            },
            move |_| assert!(promise.is_settled()),
        )
    }
    vec![
        row("sync::Promise::wait", "Clone", |kit| {
            settled(kit, |resolver, kit| resolver.resolve(kit.value()))
        }),
        row("sync::Resolver::reject", "Clone", |kit| {
            settled(kit, |resolver, kit| resolver.reject(kit.value()))
        }),
        row("sync::Resolver::resolve", "Drop", |kit| {
            let (promise, resolver) = Vow::new();
            let value = kit.value();
            Play::call(move || {
                drop(promise);
                resolver.resolve(value);
            })
        }),
        row("sync::Resolver::reject", "Drop", |kit| {
            settled(kit, |resolver, kit| resolver.reject(kit.value()))
        }),
        row("sync::Resolver::settle", "Drop", |kit| {
            settled(kit, |resolver, kit| resolver.settle(Ok(kit.value())))
        }),
        row("sync::Resolver::settle", "Clone", |kit| {
            // All dependent promises are settled, whatever the clone for the first of them does.
            let (promise, resolver) = Vow::new();
            let (other, _never) = Vow::new();
            let races: Vec<_> = (0..3).map(|_| Promise::race([&promise, &other])).collect();
            let all = Promise::all([&promise]);
            let kit = kit.clone();
            Play::new(
                move || resolver.settle(Ok(kit.value())),
                move |_| {
                    assert!(races.iter().all(Promise::is_settled));
                    assert!(all.is_settled());
                    drop(_never);
                },
            )
        }),
        row("sync::Promise::settling", "Clone", |kit| {
            let (promise, resolver) = Vow::new();
            let theirs = promise.clone();
            let kit = kit.clone();
            Play::new(
                move || {
                    drop(thread::spawn(move || resolver.resolve(kit.value())));
                    drop(select::Operation::perform(theirs.settling()));
                    drop(select::Operation::perform(theirs.settling()));
                },
                move |_| assert!(promise.is_settled()),
            )
        }),
        row("sync::Promise::spawn", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let promise = Vow::spawn(move || {
                    kit.call();
                    Ok(kit.value())
                });
                assert_eq!(promise.wait().is_err(), hostility.unwinds());
            })
        }),
        row("sync::Promise::map", "Fn", |kit| {
            let promise = Vow::resolved(kit.value());
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let mapped = promise.map(move |_| kit.call());
                assert_eq!(mapped.wait().is_err(), hostility.unwinds());
            })
        }),
        row("sync::Promise::and_then", "Fn", |kit| {
            let promise = Vow::resolved(kit.value());
            let kit = kit.clone();
            Play::call(move || {
                let hostility = kit.hostility();
                let next = promise.and_then(move |value| {
                    kit.call();
                    Ok(value)
                });
                assert_eq!(next.wait().is_err(), hostility.unwinds());
            })
        }),
        row("sync::Promise::map", "Clone", |kit| {
            let promise = Vow::resolved(kit.value());
            Play::call(move || drop(promise.map(drop).wait()))
        }),
        row("sync::Promise::and_then", "Clone", |kit| {
            let promise = Vow::rejected(kit.value());
            Play::call(move || drop(promise.and_then(Ok).wait()))
        }),
        row("sync::Promise::all", "Iterator", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let (slow, resolver) = Vow::new();
                let promises = [Vow::resolved(kit.value()), slow];
                let all = Promise::all(kit.each(&promises));
                drop(thread::spawn({
                    let kit = kit.clone();
                    move || resolver.resolve(kit.value())
                }));
                assert_eq!(
                    all.wait().unwrap_or_else(|_| panic!("all are kept")).len(),
                    2
                );
            })
        }),
        row("sync::Promise::race", "Iterator", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let (slow, resolver) = Vow::new();
                let promises = [slow, Vow::resolved(kit.value())];
                let first = Promise::race(kit.each(&promises));
                assert!(first.wait().is_ok());
                drop(resolver);
            })
        }),
        row("sync::Promise::all", "Clone", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let promises = [Vow::resolved(kit.value()), Vow::resolved(kit.value())];
                assert!(Promise::all(&promises).wait().is_ok());
            })
        }),
        row("sync::Promise::race", "Clone", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let promises = [Vow::resolved(kit.value()), Vow::resolved(kit.value())];
                assert!(Promise::race(&promises).wait().is_ok());
            })
        }),
        row("sync::Promise::fmt", "Debug", |kit| {
            let promise = Vow::resolved(kit.value());
            let (theirs, again) = (promise.clone(), promise.clone());
            kit.again(move || drop(format!("{again:?}")));
            Play::new(
                move || drop(format!("{theirs:?}")),
                move |_| assert!(promise.is_settled()),
            )
        }),
        row("sync::PromiseError::source", "Error", |kit| {
            let error = PromiseError::Rejected(kit.value());
            Play::call(move || assert!(std::error::Error::source(&error).is_none()))
        }),
        row("sync::PromiseError::fmt", "Display", |kit| {
            let error = PromiseError::Rejected(kit.value());
            Play::call(move || drop(format!("{error}")))
        }),
    ]
}

fn signals() -> Vec<Row> {
    vec![
        row("sync::Signal::signal", "Drop", |kit| {
            let signal = Rc::new(Signal::new());
            let (theirs, again) = (signal.clone(), signal.clone());
            let (value, kit2) = (kit.value(), kit.clone());
            kit.again(move || drop(again.signal(kit2.value())));
            Play::new(
                move || drop(theirs.signal(value)),
                move |_| assert_eq!(signal.waiters(), 0),
            )
        }),
        row("sync::Signal::broadcast", "Clone", |kit| told(kit, 1)),
        // All three waiters are cancelled before the broadcast.
        row("sync::Signal::broadcast", "Clone", |kit| told(kit, 3)),
        row("sync::Signal::broadcast", "Drop", |kit| told(kit, 1)),
    ]
}

/// A broadcast for three waiters, of which `gone` are cancelled before it.
fn told(kit: &Kit, gone: usize) -> Play {
    let signal = Rc::new(Signal::new());
    let (theirs, again) = (signal.clone(), signal.clone());
    let (value, kit2) = (kit.value(), kit.clone());
    kit.again(move || {
        again.broadcast(kit2.value());
    });
    Play::new(
        move || {
            let waits = || {
                let signal = theirs.clone();
                thread::spawn(move || drop(signal.wait()))
            };
            let waiters = [waits(), waits(), waits()];
            thread::yield_now();
            assert_eq!(theirs.waiters(), 3);
            waiters
                .iter()
                .take(gone)
                .for_each(thread::JoinHandle::cancel);
            let told =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| theirs.broadcast(value)));
            waiters.iter().for_each(thread::JoinHandle::cancel);
            waiters.into_iter().for_each(|waiter| drop(waiter.join()));
            if let Err(payload) = told {
                std::panic::resume_unwind(payload);
            }
        },
        move |_| {
            assert_eq!(signal.waiters(), 0);
            // The wait queue works as before.
            let waits = signal.clone();
            let waits = thread::spawn(move || drop(waits.wait()));
            thread::yield_now();
            assert_eq!(signal.waiters(), 1);
            waits.cancel();
            assert!(waits.join().is_err());
            assert_eq!(signal.waiters(), 0);
        },
    )
}

fn choices() -> Vec<Row> {
    vec![
        row("sync::select::any", "Iterator", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let (sender, receiver) = channel::bounded(1);
                let operations = kit.each([receiver.receiving(), receiver.receiving()]);
                sender.send(7).unwrap();
                let (_, got) = select::Operation::perform(select::any(operations));
                assert_eq!(got, Ok(7));
            })
        }),
        row("sync::select::Operation::map", "Fn", |kit| {
            let (sender, receiver) = channel::bounded(1);
            let again = sender.clone();
            let kit2 = kit.clone();
            kit.again(move || {
                let _ = again.try_send(8);
            });
            Play::call(move || {
                drop(thread::spawn(move || sender.send(7)));
                let mapped = select::Operation::map(receiver.receiving(), |got| {
                    kit2.call();
                    got
                });
                let got = select::Operation::perform(select::Operation::or(
                    mapped,
                    select::after(std::time::Duration::from_secs(3600)),
                ));
                assert_eq!(got, select::Either::First(Ok(7)));
            })
        }),
        row("sync::select::readable", "AsFd", chosen).times(2),
        row("sync::select::writable", "AsFd", |kit| {
            let (reader, writer) = std::io::pipe().unwrap();
            let port = ethreads::io::Eport::new(kit.fd(writer)).unwrap();
            Play::call(move || {
                select::Operation::perform(select::writable(&port)).unwrap();
                drop(reader);
            })
        }),
    ]
}

/// A select between a message and a descriptor, where the message comes while the library asks for
/// the descriptor.
fn chosen(kit: &Kit) -> Play {
    let (reader, writer) = std::io::pipe().unwrap();
    let port = ethreads::io::Eport::new(kit.fd(reader)).unwrap();
    let (sender, receiver) = channel::unbounded();
    let again = sender.clone();
    kit.again(move || {
        let _ = again.try_send(8);
    });
    Play::call(move || {
        let sends = thread::spawn(move || sender.send(7).is_ok());
        select! {
            biased;
            got = receiver.receiving() => assert!(got.is_ok()),
            _ = select::readable(&port) => unreachable!("nothing is written"),
        }
        sends.join().unwrap();
        drop(writer);
    })
}

#[test]
fn promises_stay_sound() {
    super::run_all(rows());
}
