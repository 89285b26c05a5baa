//! `bridge`: the ways in and out of the scheduler.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;

use ethreads::bridge::{self, Interest, RemoteSuspended, Suspended};
use ethreads::future::block_on;
use ethreads::io::Eport;
use ethreads::thread::{self, JoinHandle};

use crate::support::fresh;

use super::kit::{Hostile, Hostility};
use super::{But, Play, Row, row};

/// On the scheduler's side nothing can wait, so these hostilities unwind.
const NOTHING_WAITS: &[(Hostility, But)] = &[
    (Hostility::Yield, But::Unwinds),
    (Hostility::Sleep, But::Unwinds),
    (Hostility::Spawn, But::Unwinds),
    (Hostility::Lock, But::Unwinds),
    (Hostility::Send, But::Unwinds),
    (Hostility::Offload, But::Unwinds),
    (Hostility::Elapse, But::Unwinds),
    (Hostility::CancelSelf, But::Unwinds),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = suspended();
    rows.extend(others());
    rows
}

/// Spawns an ethread that is suspended. Returns its handle and the means to resume it.
fn waiter() -> (JoinHandle<Hostile>, Suspended<Hostile>) {
    let slot = Rc::new(RefCell::new(None));
    let theirs = slot.clone();
    let waiter = thread::spawn(move || bridge::suspend(|me| *theirs.borrow_mut() = Some(me)));
    thread::yield_now();
    let me = slot.borrow_mut().take().unwrap();
    (waiter, me)
}

fn remote_waiter() -> (JoinHandle<Hostile>, RemoteSuspended<Hostile>) {
    let (waiter, me) = waiter();
    (waiter, me.into_remote())
}

/// Joins an ethread. Drops its value, and forgets a payload, which may panic when it is dropped.
fn end(waiter: JoinHandle<Hostile>) {
    match waiter.join() {
        Ok(value) => drop(value),
        Err(payload) => std::mem::forget(payload),
    }
}

fn suspended() -> Vec<Row> {
    vec![
        row("bridge::suspend", "Fn", |kit| {
            let kit = kit.clone();
            kit.again(|| drop(thread::spawn(thread::yield_now)));
            Play::call(move || {
                let got = bridge::suspend(|me: Suspended<u32>| {
                    kit.call();
                    me.resume(7).unwrap();
                });
                assert_eq!(got, 7);
            })
        })
        .but(NOTHING_WAITS),
        row("bridge::suspend", "Drop", |kit| {
            // The value is a capture of the closure.
            let value = kit.value();
            Play::call(move || {
                let got = bridge::suspend(move |me: Suspended<u32>| {
                    let _value = value;
                    me.resume(7).unwrap();
                });
                assert_eq!(got, 7);
            })
        })
        .but(NOTHING_WAITS),
        row("bridge::Suspended::resume", "Drop", |kit| {
            // The ethread has ended.
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = waiter();
                waiter.cancel();
                end(waiter);
                drop(me.resume(value));
            })
        }),
        row("bridge::Suspended::resume", "Drop", |kit| {
            // The ethread is cancelled before it runs.
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = waiter();
                assert!(me.resume(value).is_ok());
                waiter.cancel();
                end(waiter);
            })
        }),
        row("bridge::Suspended::resume_with", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let (waiter, me) = waiter();
                let resumed = me.resume_with(move || {
                    kit.call();
                    kit.value()
                });
                assert!(resumed.is_ok());
                end(waiter);
            })
        }),
        row("bridge::Suspended::resume_with", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = waiter();
                waiter.cancel();
                drop(me.resume_with(move || value));
                end(waiter);
            })
        }),
        row("bridge::RemoteSuspended::resume", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = remote_waiter();
                waiter.cancel();
                end(waiter);
                me.resume(value);
            })
        }),
        row("bridge::RemoteSuspended::resume", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = remote_waiter();
                me.resume(value);
                waiter.cancel();
                end(waiter);
            })
        })
        .called("cancelled")
        .unreached(),
        row("bridge::RemoteSuspended::resume_with", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let (waiter, me) = remote_waiter();
                me.resume_with(move || {
                    kit.call();
                    kit.value()
                });
                end(waiter);
            })
        }),
        row("bridge::RemoteSuspended::resume_with", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                let (waiter, me) = remote_waiter();
                waiter.cancel();
                end(waiter);
                me.resume_with(move || value);
            })
        }),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row("bridge::block_on", "Future", |kit| {
            let value = kit.value();
            Play::call(move || block_on(value))
        }),
        row("bridge::block_on", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                block_on(poll_fn(move |context| {
                    let _ = &value;
                    context.waker().wake_by_ref();
                    Poll::Ready(())
                }));
            })
        }),
        row("bridge::block_on", "Fn", |kit| {
            // The poll first wakes itself, and is hostile after that.
            let kit = kit.clone();
            kit.again(|| block_on(async {}));
            Play::call(move || {
                let mut polls = 0;
                block_on(poll_fn(move |context| {
                    polls += 1;
                    if polls == 1 {
                        context.waker().wake_by_ref();
                        kit.call();
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                }));
            })
        }),
        row("bridge::blocking", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || bridge::blocking(move || kit.call()))
        }),
        row("bridge::blocking", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || bridge::blocking(move || drop(value)))
        }),
        row("bridge::run_until", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let got = fresh(move || {
                    bridge::run_until(|exit| {
                        kit.call();
                        exit.finish(7);
                    })
                });
                assert_eq!(got.unwrap(), 7);
            })
        })
        // Outside of ethreads a wait drives the shard, and there is no ethread to cancel.
        .but(&[(Hostility::CancelSelf, But::Skip)]),
        row("bridge::Exit::finish", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || {
                fresh(move || {
                    let left = bridge::run_until(move |exit| {
                        drop(thread::spawn(move || exit.finish(value)));
                    });
                    drop(left);
                });
            })
        })
        .but(&[(Hostility::CancelSelf, But::Skip)]),
        row("bridge::on_ready", "Fn", |kit| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let port = Eport::new(theirs).unwrap();
            let kit = kit.clone();
            Play::call(move || {
                use std::io::Write;
                let hostility = kit.hostility();
                let waits = bridge::on_ready(&port, Interest::Readable, None, move |_| kit.call());
                ours.write_all(b"x").unwrap();
                let result = waits.unwrap().join();
                assert_eq!(result.is_err(), hostility.unwinds());
                std::mem::forget(result);
            })
        }),
        row("bridge::on_ready", "AsFd", |kit| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let port = Eport::new(kit.fd(theirs)).unwrap();
            Play::call(move || {
                let waits = bridge::on_ready(&port, Interest::Readable, None, |_| ());
                drop(ours);
                waits.unwrap().join().unwrap();
            })
        }),
        row("bridge::on_ready", "Drop", |kit| {
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let port = Eport::new(theirs).unwrap();
            let value = kit.value();
            Play::call(move || {
                let waits = bridge::on_ready(&port, Interest::Readable, None, move |_| value);
                let waits = waits.unwrap();
                waits.cancel();
                end(waits);
            })
        }),
    ]
}

#[test]
fn bridges_stay_sound() {
    super::run_all(rows());
}
