//! The formatted texts of the types in `sync`.

use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::{self, broadcast, channel, remote, select, watch};
use ethreads::thread;

use super::texts::{both, debug, port, text};
use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        debug!("sync::Barrier::fmt", sync::Barrier::new(1), |barrier| {
            barrier.wait();
        }),
        debug!("sync::Condvar::fmt", sync::Condvar::new(), |condvar| {
            condvar.notify_all()
        }),
        debug!("sync::WaitGroup::fmt", sync::WaitGroup::new(), |group| {
            group.wait()
        }),
        debug!(
            "sync::Member::fmt",
            sync::WaitGroup::new().join(),
            |member| drop(member.clone())
        ),
        debug!(
            "sync::Semaphore::fmt",
            sync::Semaphore::new(1),
            |semaphore| {
                drop(semaphore.acquire());
            }
        ),
        row("sync::Permit::fmt", "Write", |kit| {
            let semaphore: &'static sync::Semaphore = Box::leak(Box::new(sync::Semaphore::new(1)));
            text(
                kit,
                semaphore.acquire(),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        both!(
            "sync::TryAcquireError::fmt",
            sync::Semaphore::new(0).try_acquire().unwrap_err()
        ),
        // The guard is held while the value is formatted, as in std, so a wait for the lock would
        // not end.
        debug!("sync::Mutex::fmt", sync::Mutex::new(7), |mutex| drop(
            mutex.try_lock()
        )),
        row("sync::MutexGuard::fmt", "Write", |kit| {
            let mutex: &'static sync::Mutex<u8> = Box::leak(Box::default());
            let guard = mutex.lock().unwrap();
            text(
                kit,
                guard,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        }),
        debug!("sync::RwLock::fmt", sync::RwLock::new(7), |lock| drop(
            lock.read()
        )),
        row("sync::RwLockReadGuard::fmt", "Write", |kit| {
            let lock: &'static sync::RwLock<u8> = Box::leak(Box::default());
            let guard = lock.read().unwrap();
            text(
                kit,
                guard,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        }),
        row("sync::RwLockWriteGuard::fmt", "Write", |kit| {
            let lock: &'static sync::RwLock<u8> = Box::leak(Box::default());
            let guard = lock.write().unwrap();
            text(
                kit,
                guard,
                |value, to| write!(to, "{value:?} {value}"),
                |_| (),
            )
        }),
        debug!("sync::OnceCell::fmt", sync::OnceCell::from(7), |cell| {
            let _ = cell.get_or_init(|| 8);
        }),
        debug!("sync::OnceCell::fmt", sync::OnceCell::new(), |cell| {
            let _ = cell.get_or_init(|| 8);
        })
        .called("empty"),
        debug!("sync::Lazy::fmt", sync::Lazy::<u8>::new(|| 7), |lazy| {
            let _ = **lazy;
        }),
        debug!("sync::Signal::fmt", sync::Signal::new(), |signal| {
            let _ = signal.signal(7);
        }),
        debug!(
            "sync::Promise::fmt",
            sync::Promise::<u8, ()>::resolved(7),
            |promise| {
                let _ = promise.wait();
            }
        ),
        both!(
            "sync::PromiseError::fmt",
            sync::PromiseError::Rejected("late")
        ),
        row("sync::Resolver::fmt", "Write", |kit| {
            let (promise, resolver) = sync::Promise::<u8, ()>::new();
            let shown = (promise, Some(resolver));
            text(kit, shown, |(_, value), to| write!(to, "{value:?}"), |_| ())
        }),
        debug!(
            "sync::resource::Resource::fmt",
            sync::Resource::new(|| Ok::<u8, ()>(7)),
            |thing| {
                // Another ethread may stop the resource meanwhile.
                drop(thing.restart());
                thing.stop();
            }
        ),
        debug!(
            "sync::resource::Builder::fmt",
            sync::Resource::builder(|| Ok::<u8, ()>(7)).name("thing")
        ),
        row("sync::resource::Lease::fmt", "Write", |kit| {
            let thing = sync::Resource::new(|| Ok::<u8, ()>(7));
            let lease = thing.get().unwrap();
            text(
                kit,
                (lease, thing),
                |(value, _), to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        both!(
            "sync::resource::StartError::fmt",
            sync::resource::StartError::Failed(Rc::new("no"))
        ),
        debug!("sync::watch::Sender::fmt", watch::channel(7).0, |sender| {
            sender.send_replace(8);
        }),
        debug!("sync::watch::Receiver::fmt", watch::channel(7), |(
            sender,
            _,
        )| {
            sender.send_replace(8);
        }),
        row("sync::watch::Changing::fmt", "Write", |kit| {
            let receiver = Box::leak(Box::new(watch::channel(7).1));
            text(
                kit,
                receiver.changing(),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        debug!(
            "sync::broadcast::Sender::fmt",
            broadcast::channel(1),
            |(sender, _)| {
                sender.send(7).unwrap();
            }
        ),
        debug!(
            "sync::broadcast::Receiver::fmt",
            broadcast::channel(1),
            |(sender, _)| {
                sender.send(7).unwrap();
            }
        ),
        row("sync::broadcast::Receiving::fmt", "Write", |kit| {
            let receiver = Box::leak(Box::new(broadcast::channel::<u8>(1).1));
            text(
                kit,
                receiver.receiving(),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        both!(
            "sync::broadcast::RecvError::fmt",
            broadcast::RecvError::Lagged(7)
        ),
        both!(
            "sync::broadcast::TryRecvError::fmt",
            broadcast::TryRecvError::Lagged(7)
        ),
        debug!(
            "sync::channel::Sender::fmt",
            channel::unbounded().0,
            |sender| {
                let _ = sender.send(7);
            }
        ),
        debug!(
            "sync::channel::Receiver::fmt",
            channel::unbounded(),
            |(sender, receiver)| {
                sender.send(7).unwrap();
                receiver.recv().unwrap();
            }
        ),
        row("sync::channel::Receiving::fmt", "Write", |kit| {
            let receiver = Box::leak(Box::new(channel::unbounded::<u8>().1));
            text(
                kit,
                receiver.receiving(),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        row("sync::channel::Sending::fmt", "Write", |kit| {
            let sender = Box::leak(Box::new(channel::unbounded().0));
            text(
                kit,
                sender.sending(7),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        both!(
            "sync::channel::SendTimeoutError::fmt",
            channel::SendTimeoutError::Timeout(7)
        ),
        debug!(
            "sync::remote::Sender::fmt",
            remote::unbounded().0,
            |sender| {
                let _ = sender.send(7);
            }
        ),
        debug!(
            "sync::remote::Receiver::fmt",
            remote::unbounded(),
            |(sender, receiver)| {
                sender.send(7).unwrap();
                receiver.recv().unwrap();
            }
        ),
        debug!(
            "sync::remote::Semaphore::fmt",
            remote::Semaphore::new(1),
            |semaphore| {
                drop(semaphore.acquire());
            }
        ),
        row("sync::remote::Permit::fmt", "Write", |kit| {
            let semaphore = Box::leak(Box::new(remote::Semaphore::new(2)));
            text(
                kit,
                semaphore.acquire(),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        debug!(
            "sync::remote::Notifier::fmt",
            remote::Notifier::new(),
            |notifier| {
                notifier.notify_one();
            }
        ),
        debug!(
            "sync::remote::Promise::fmt",
            remote::Promise::<u8, ()>::new(),
            |(promise, _)| {
                let _ = promise.get();
            }
        ),
        debug!(
            "sync::remote::Resolver::fmt",
            remote::Promise::<u8, ()>::new(),
            |(promise, _)| {
                let _ = promise.get();
            }
        ),
        row("sync::select::Map::fmt", "Write", |kit| {
            let sleeps = select::after(Duration::from_secs(3600));
            let mapped = select::Operation::map(sleeps, |()| 7);
            text(kit, mapped, |value, to| write!(to, "{value:?}"), |_| ())
        }),
        row("sync::select::Finished::fmt", "Write", |kit| {
            let handle = Box::leak(Box::new(thread::spawn(|| ())));
            text(
                kit,
                select::finished(handle),
                |value, to| write!(to, "{value:?}"),
                |_| (),
            )
        }),
        row("sync::select::Ready::fmt", "Write", |kit| {
            let port = port();
            text(
                kit,
                port,
                |value, to| write!(to, "{:?}", select::readable(value)),
                |_| (),
            )
        }),
        row("sync::Settling::fmt", "Write", |kit| {
            let promise = sync::Promise::<u8, ()>::resolved(7);
            text(
                kit,
                promise,
                |value, to| write!(to, "{:?}", value.settling()),
                |_| (),
            )
        }),
        row("sync::Waiting::fmt", "Write", |kit| {
            let signal = sync::Signal::<u8>::new();
            text(
                kit,
                signal,
                |value, to| write!(to, "{:?}", value.waiting()),
                |_| (),
            )
        }),
    ]
}

#[test]
fn texts_of_sync_stay_sound() {
    super::run_all(rows());
}
