//! Channels, promises across shards, watched values and broadcasts.

use ethreads::sync::channel::TryRecvError;
use ethreads::sync::{broadcast, channel, remote, select, watch};
use ethreads::{select, thread};

use super::kit::{Hostile, Kit};
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = channels();
    rows.extend(remotes());
    rows.extend(latest());
    rows.extend(broadcasts());
    rows
}

/// Makes both ends. A re-entrant value sends on the channel.
fn ends(kit: &Kit) -> (channel::Sender<Hostile>, channel::Receiver<Hostile>) {
    let (sender, receiver) = channel::bounded(2);
    let again = sender.clone();
    let kit2 = kit.clone();
    kit.again(move || drop(again.try_send(kit2.value())));
    (sender, receiver)
}

fn channels() -> Vec<Row> {
    vec![
        row("sync::channel::Sender::send", "Drop", |kit| {
            // The message comes back, and is dropped.
            let (sender, receiver) = ends(kit);
            let value = kit.value();
            Play::call(move || {
                drop(receiver);
                drop(sender.send(value));
            })
        }),
        row("sync::channel::Sender::send_timeout", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::new(
                move || {
                    for value in values {
                        drop(sender.send_timeout(value, std::time::Duration::ZERO));
                    }
                },
                move |_| {
                    while receiver.try_recv().is_ok() {}
                },
            )
        }),
        row("sync::channel::Sender::try_send", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::new(
                move || {
                    for value in values {
                        drop(sender.try_send(value));
                    }
                },
                move |_| {
                    while receiver.try_recv().is_ok() {}
                },
            )
        }),
        row("sync::channel::Receiver::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::new(
                move || {
                    let waits = thread::spawn(move || {
                        let mut left = values.into_iter();
                        while left.next().is_some_and(|value| sender.send(value).is_ok()) {}
                        left.for_each(drop);
                    });
                    thread::yield_now();
                    drop(receiver);
                    drop(waits.join());
                },
                |_| (),
            )
        }),
        row("sync::channel::Sender::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let value = kit.value();
            kit.again(|| ());
            Play::call(move || {
                sender.try_send(value).unwrap();
                drop(sender);
                drop(receiver.recv());
                assert_eq!(receiver.try_recv().err(), Some(TryRecvError::Disconnected));
            })
        }),
        row("sync::channel::Sender::sending", "Drop", |kit| {
            // The dropped message is that of the operation that does not happen.
            let (sender, receiver) = ends(kit);
            let (full, value) = (sender.clone(), kit.value());
            let (other, things) = channel::bounded(1);
            let kit2 = kit.clone();
            Play::new(
                move || {
                    while full.try_send(kit2.value()).is_ok() {}
                    drop(thread::spawn(move || other.send(7)));
                    select! {
                        _ = sender.sending(value) => unreachable!("it is full"),
                        thing = things.receiving() => assert_eq!(thing, Ok(7)),
                    }
                },
                move |_| while receiver.try_recv().is_ok() {},
            )
        }),
    ]
}

fn remote_ends(
    kit: &Kit,
) -> (
    remote::channel::Sender<Hostile>,
    remote::channel::Receiver<Hostile>,
) {
    let (sender, receiver) = remote::bounded(2);
    let again = sender.clone();
    let kit2 = kit.clone();
    kit.again(move || drop(again.try_send(kit2.value())));
    (sender, receiver)
}

fn remotes() -> Vec<Row> {
    vec![
        row("sync::remote::Sender::send", "Drop", |kit| {
            let (sender, receiver) = remote_ends(kit);
            let value = kit.value();
            Play::call(move || {
                drop(receiver);
                drop(sender.send(value));
            })
        }),
        row("sync::remote::Sender::send_timeout", "Drop", |kit| {
            let (sender, receiver) = remote_ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::new(
                move || {
                    for value in values {
                        drop(sender.send_timeout(value, std::time::Duration::ZERO));
                    }
                },
                move |_| while receiver.try_recv().is_ok() {},
            )
        }),
        row("sync::remote::Sender::try_send", "Drop", |kit| {
            let (sender, receiver) = remote_ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::new(
                move || {
                    for value in values {
                        drop(sender.try_send(value));
                    }
                },
                move |_| while receiver.try_recv().is_ok() {},
            )
        }),
        row("sync::remote::Receiver::drop", "Drop", |kit| {
            let (sender, receiver) = remote_ends(kit);
            let values = [kit.value(), kit.value(), kit.value()];
            Play::call(move || {
                let waits = thread::spawn(move || {
                    let mut left = values.into_iter();
                    while left.next().is_some_and(|value| sender.send(value).is_ok()) {}
                    left.for_each(drop);
                });
                thread::yield_now();
                drop(receiver);
                drop(waits.join());
            })
        }),
        row("sync::remote::Sender::drop", "Drop", |kit| {
            let (sender, receiver) = remote_ends(kit);
            let value = kit.value();
            kit.again(|| ());
            Play::call(move || {
                sender.try_send(value).unwrap();
                drop(sender);
                drop(receiver.recv());
                assert!(receiver.recv().is_err());
            })
        }),
        row("sync::remote::Promise::get", "Clone", |kit| {
            let (promise, resolver) = remote::Promise::<Hostile, ()>::new();
            resolver.resolve(kit.value());
            let (theirs, again) = (promise.clone(), promise.clone());
            kit.again(move || drop(again.get()));
            Play::new(
                move || drop(theirs.get()),
                move |_| assert!(promise.is_settled()),
            )
        }),
        row("sync::remote::Promise::wait", "Clone", |kit| {
            let (promise, resolver) = remote::Promise::<Hostile, ()>::new();
            let (first, second, again) = (promise.clone(), promise.clone(), promise.clone());
            kit.again(move || drop(again.get()));
            let value = kit.value();
            Play::new(
                move || {
                    let second = thread::spawn(move || assert!(second.wait().is_ok()));
                    drop(thread::spawn(move || resolver.resolve(value)));
                    let first = first.wait();
                    drop((first, second.join()));
                },
                move |_| assert!(promise.get().unwrap().is_ok()),
            )
        }),
        row("sync::remote::Promise::wait_timeout", "Clone", |kit| {
            let (promise, resolver) = remote::Promise::<Hostile, ()>::new();
            resolver.resolve(kit.value());
            Play::call(move || drop(promise.wait_timeout(std::time::Duration::ZERO)))
        }),
        row("sync::remote::Resolver::resolve", "Drop", |kit| {
            let (promise, resolver) = remote::Promise::<Hostile, ()>::new();
            let value = kit.value();
            Play::call(move || {
                drop(promise);
                resolver.resolve(value);
            })
        }),
        row("sync::remote::Resolver::reject", "Drop", |kit| {
            let (promise, resolver) = remote::Promise::<(), Hostile>::new();
            let value = kit.value();
            Play::call(move || {
                drop(promise);
                resolver.reject(value);
            })
        }),
        row("sync::remote::Resolver::settle", "Drop", |kit| {
            let (promise, resolver) = remote::Promise::<Hostile, ()>::new();
            let value = kit.value();
            Play::call(move || {
                resolver.settle(Ok(value));
                drop(promise);
            })
        }),
    ]
}

fn latest() -> Vec<Row> {
    /// Makes both ends of a watched value. A re-entrant value replaces it.
    fn ends(kit: &Kit) -> (watch::Sender<Hostile>, watch::Receiver<Hostile>) {
        let (sender, receiver) = watch::channel(kit.value());
        let again = sender.clone();
        let kit2 = kit.clone();
        kit.again(move || drop(again.send_replace(kit2.value())));
        (sender, receiver)
    }
    fn check(mut receiver: watch::Receiver<Hostile>) {
        let _ = receiver.get_and_update();
        assert!(matches!(receiver.has_changed(), Ok(false) | Err(_)));
    }
    vec![
        row("sync::watch::Sender::send", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let (value, theirs) = (kit.value(), receiver.clone());
            Play::new(
                move || {
                    drop(theirs);
                    drop(sender.send(value));
                },
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Sender::send_replace", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let value = kit.value();
            Play::new(
                move || drop(sender.send_replace(value)),
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Sender::send_modify", "Clone", |kit| {
            let (sender, receiver) = ends(kit);
            Play::new(move || sender.send_modify(|_| ()), move |_| check(receiver))
        }),
        row("sync::watch::Sender::send_modify", "Fn", |kit| {
            let (sender, receiver) = ends(kit);
            let kit = kit.clone();
            Play::new(
                move || sender.send_modify(|_| kit.call()),
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Receiver::wait_for", "Fn", |kit| {
            let (sender, receiver) = ends(kit);
            let mut theirs = receiver.clone();
            let kit = kit.clone();
            Play::new(
                move || {
                    let kit2 = kit.clone();
                    let sends = thread::spawn(move || drop(sender.send(kit2.value())));
                    let mut looks = 0;
                    let found = theirs.wait_for(|_| {
                        kit.call();
                        looks += 1;
                        looks == 2
                    });
                    drop(found);
                    sends.join().unwrap();
                },
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Sender::fmt", "Debug", |kit| {
            let (sender, receiver) = ends(kit);
            Play::new(
                move || drop(format!("{sender:?}")),
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Receiver::fmt", "Debug", |kit| {
            let (_, receiver) = ends(kit);
            let theirs = receiver.clone();
            Play::new(
                move || drop(format!("{theirs:?}")),
                move |_| check(receiver),
            )
        }),
        row("sync::watch::Sender::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            kit.again(|| ());
            Play::call(move || drop((sender, receiver)))
        }),
        row("sync::watch::Receiver::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            kit.again(|| ());
            Play::call(move || {
                drop(sender);
                drop(receiver);
            })
        }),
    ]
}

fn broadcasts() -> Vec<Row> {
    fn ends(kit: &Kit) -> (broadcast::Sender<Hostile>, broadcast::Receiver<Hostile>) {
        let (sender, receiver) = broadcast::channel(2);
        let (again, kit2) = (sender.clone(), kit.clone());
        kit.again(move || drop(again.send(kit2.value())));
        (sender, receiver)
    }
    /// Checks that another receiver gets what is sent.
    fn check(sender: &broadcast::Sender<Hostile>, kit: &Kit) {
        let mut receiver = sender.subscribe();
        sender.send(kit.value()).unwrap();
        assert_eq!(receiver.len(), 1);
        drop(receiver.recv().unwrap());
        assert!(receiver.is_empty());
    }
    fn received(
        kit: &Kit,
        receive: fn(&mut broadcast::Receiver<Hostile>) -> Option<Hostile>,
    ) -> Play {
        let (sender, mut receiver) = ends(kit);
        let mut other = sender.subscribe();
        let kit = kit.clone();
        for _ in 0..3 {
            sender.send(kit.value()).unwrap();
        }
        Play::new(
            move || {
                drop(receive(&mut receiver));
                drop(receive(&mut receiver));
                drop(receive(&mut receiver));
            },
            move |_| {
                while !other.is_empty() {
                    drop(other.try_recv());
                }
                drop(other);
                // The channel does not keep messages that all receivers have got, or never will
                // get.
                assert!(sender.is_empty(), "{sender:?}");
                check(&sender, &kit);
            },
        )
    }
    vec![
        row("sync::broadcast::Sender::send", "Drop", |kit| {
            let (sender, _) = ends(kit);
            let theirs = sender.clone();
            let kit = kit.clone();
            Play::new(
                move || {
                    let receiver = theirs.subscribe();
                    for _ in 0..4 {
                        drop(theirs.send(kit.value()));
                    }
                    drop(receiver);
                    drop(theirs.send(kit.value()));
                },
                move |_| assert!(sender.is_empty()),
            )
        }),
        row("sync::broadcast::Receiver::recv", "Clone", |kit| {
            received(kit, |receiver| receiver.recv().ok())
        }),
        row("sync::broadcast::Receiver::try_recv", "Clone", |kit| {
            received(kit, |receiver| receiver.try_recv().ok())
        }),
        row("sync::broadcast::Receiver::receiving", "Clone", |kit| {
            received(kit, |receiver| {
                select::Operation::perform(receiver.receiving()).ok()
            })
        }),
        row("sync::broadcast::Receiver::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            let (theirs, kit) = (sender.clone(), kit.clone());
            Play::new(
                move || {
                    for _ in 0..3 {
                        drop(theirs.send(kit.value()));
                    }
                    drop(receiver);
                },
                move |_| assert!(sender.is_empty()),
            )
        }),
        row("sync::broadcast::Sender::drop", "Drop", |kit| {
            let (sender, receiver) = ends(kit);
            kit.again(|| ());
            let kit = kit.clone();
            Play::call(move || {
                drop(sender.send(kit.value()));
                drop(sender);
                drop(receiver);
            })
        }),
    ]
}

#[test]
fn messages_stay_sound() {
    super::run_all(rows());
}
