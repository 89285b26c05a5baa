//! The calls of `sync::remote` that suspend.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ethreads::Runtime;
use ethreads::runtime::{Shard, Stats, WouldPark};
use ethreads::sync::remote::channel::{Receiver, Sender};
use ethreads::sync::remote::{Notifier, Promise, Semaphore, bounded, unbounded};

use super::Unwinding::{Aborts, Returns};
use super::{Case, Row, Unwinding, When};

const HOUR: Duration = Duration::from_secs(3600);

fn row(
    name: &'static str,
    result: &'static str,
    unwinding: Unwinding,
    case: fn(When) -> Case,
) -> Row {
    Row {
        name,
        case,
        result,
        always_suspends: false,
        unwinding,
    }
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "runtime::RemoteJoinHandle::join",
            "Ok(1)",
            Returns("WouldPark"),
            joined,
        ),
        row("runtime::Shard::stats", "Ok", Unwinding::WouldPark, counted),
        row("sync::remote::Notifier::wait", "()", Aborts, |when| {
            notified(when, |notifier| format!("{:?}", notifier.wait()))
        }),
        row(
            "sync::remote::Notifier::wait_timeout",
            "true",
            Returns("false"),
            |when| notified(when, |notifier| notifier.wait_timeout(HOUR).to_string()),
        ),
        row(
            "sync::remote::Promise::wait",
            "Ok(1)",
            Returns("Err(Broken)"),
            |when| promised(when, |promise| format!("{:?}", promise.wait())),
        ),
        row(
            "sync::remote::Promise::wait_timeout",
            "Some(Ok(1))",
            Returns("None"),
            |when| promised(when, |promise| format!("{:?}", promise.wait_timeout(HOUR))),
        ),
        row(
            "sync::remote::Receiver::recv",
            "Ok(1)",
            Returns("Err(RecvError)"),
            |when| received(when, |receiver| format!("{:?}", receiver.recv())),
        ),
        row(
            "sync::remote::Receiver::recv_timeout",
            "Ok(1)",
            Returns("Err(Timeout)"),
            |when| {
                received(when, |receiver| {
                    format!("{:?}", receiver.recv_timeout(HOUR))
                })
            },
        ),
        row(
            "sync::remote::Receiver::iter",
            "Some(1)",
            Returns("None"),
            |when| received(when, |receiver| format!("{:?}", receiver.iter().next())),
        ),
        row(
            "sync::remote::Sender::send",
            "Ok(())",
            Returns("Err(SendError { .. })"),
            |when| sent(when, |sender| format!("{:?}", sender.send(2))),
        ),
        row(
            "sync::remote::Sender::send_timeout",
            "Ok(())",
            Returns("Err(Timeout(..))"),
            |when| sent(when, |sender| format!("{:?}", sender.send_timeout(2, HOUR))),
        ),
        row("sync::remote::Semaphore::acquire", "1", Aborts, |when| {
            acquired(when, |semaphore| semaphore.acquire().count().to_string())
        }),
        row(
            "sync::remote::Semaphore::acquire_many",
            "2",
            Aborts,
            |when| {
                acquired(when, |semaphore| {
                    semaphore.acquire_many(2).count().to_string()
                })
            },
        ),
        row(
            "sync::remote::Semaphore::acquire_timeout",
            "true",
            Returns("false"),
            |when| {
                acquired(when, |semaphore| {
                    semaphore.acquire_timeout(HOUR).is_ok().to_string()
                })
            },
        ),
    ]
}

/// The join of an ethread of another shard.
fn joined(when: When) -> Case {
    let (sender, receiver) = bounded(1);
    let shards = Runtime::builder().shards(1).start().unwrap();
    let handle = shards.spawn(move || receiver.recv().unwrap_or(0)).unwrap();
    if when == When::Ready {
        sender.send(1).unwrap();
        while !handle.is_finished() {
            std::thread::yield_now();
        }
    }
    let call = move || match handle.join() {
        Err(payload) if payload.is::<WouldPark>() => "WouldPark".to_owned(),
        result => format!("{result:?}"),
    };
    Case::new(call, move |_| {
        let _in_time = &shards;
        sender.send(1).unwrap();
    })
}

/// A snapshot of the caller's shard, or of one that is held meanwhile.
fn counted(when: When) -> Case {
    if when == When::Ready {
        return Case::new(|| said(Shard::current().stats()), |_| ());
    }
    let shards = Runtime::builder().shards(1).start().unwrap();
    let (release, held) = mpsc::channel();
    let (begin, has_begun) = mpsc::channel();
    let holder = shards.spawn(move || {
        begin.send(()).unwrap();
        held.recv()
    });
    has_begun.recv().unwrap();
    let shard = shards.next().clone();
    Case::new(
        move || said(shard.stats()),
        move |_| {
            let _in_time = (&shards, &holder);
            release.send(()).unwrap();
        },
    )
}

fn said(stats: io::Result<Stats>) -> String {
    match stats {
        Ok(_) => "Ok".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => "TimedOut".to_owned(),
        Err(error)
            if error
                .get_ref()
                .is_some_and(|source| source.is::<WouldPark>()) =>
        {
            "WouldPark".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

fn notified(when: When, call: fn(&Notifier) -> String) -> Case {
    let notifier = Arc::new(Notifier::new());
    if when == When::Ready {
        notifier.notify_one();
    }
    let theirs = notifier.clone();
    Case::new(move || call(&notifier), move |_| theirs.notify_one())
}

fn promised(when: When, call: fn(&Promise<u32, String>) -> String) -> Case {
    let (promise, resolver) = Promise::new();
    let mut resolver = Some(resolver);
    let mut resolve = move || resolver.take().unwrap().resolve(1);
    if when == When::Ready {
        resolve();
    }
    Case::new(move || call(&promise), move |_| resolve())
}

fn received(when: When, call: fn(&Receiver<u32>) -> String) -> Case {
    let (sender, receiver) = unbounded();
    if when == When::Ready {
        sender.send(1).unwrap();
    }
    Case::new(move || call(&receiver), move |_| sender.send(1).unwrap())
}

fn sent(when: When, call: fn(&Sender<u32>) -> String) -> Case {
    let (sender, receiver) = bounded(1);
    if when != When::Ready {
        sender.send(1).unwrap();
    }
    let take = move |_: &ethreads::thread::Thread| assert_eq!(receiver.try_recv(), Ok(1));
    Case::new(move || call(&sender), take)
}

fn acquired(when: When, call: fn(&Semaphore) -> String) -> Case {
    let semaphore = Arc::new(Semaphore::new(if when == When::Ready { 2 } else { 0 }));
    let theirs = semaphore.clone();
    Case::new(move || call(&semaphore), move |_| theirs.add_permits(2))
}
