//! `on_ready`: waits for descriptors without holding a stack.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread as os;
use std::time::Duration;

use ethreads::bridge::{self, Interest, Wakeup};
use ethreads::io::Eport;
use ethreads::net::UnixStream;
use ethreads::runtime::{self, Stats};
use ethreads::spawn;
use ethreads::thread::{self, Cancelled, JoinHandle};
use ethreads::time::Instant;

use crate::bridge::support::{OsThread, until_asleep};
use crate::net::support::{on_each_driver, until, until_waiting};
use crate::support::{OnDrop, deadlock, fresh};

const MANY: usize = 5000;
const SHORT: Duration = Duration::from_millis(1);

fn stats() -> Stats {
    runtime::stats().unwrap()
}

fn wait<T: 'static>(stream: &UnixStream, f: impl FnOnce(Wakeup) -> T + 'static) -> JoinHandle<T> {
    bridge::on_ready(stream, Interest::Readable, None, f).unwrap()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + SHORT)
}

/// Begins `MANY` waits on one idle source, checks that they hold no stack, and ends them.
fn many_at_once(
    deadline: fn() -> Option<Instant>,
    end: impl FnOnce(&[JoinHandle<Wakeup>], UnixStream) + Clone + Send + 'static,
    expected: Option<Wakeup>,
) {
    on_each_driver(move || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let before = stats();
        let handles: Vec<_> = (0..MANY)
            .map(|_| {
                bridge::on_ready(&ours, Interest::Readable, deadline(), |wakeup| wakeup).unwrap()
            })
            .collect();
        let during = stats();
        assert_eq!(during.ethreads, before.ethreads + MANY);
        assert_eq!(during.stacks.live, before.stacks.live);
        assert_eq!(during.stacks.reserved, before.stacks.reserved);
        assert_eq!(during.stacks.mapped_bytes, before.stacks.mapped_bytes);
        end(&handles, theirs);
        for handle in handles {
            match (handle.join(), expected) {
                (Ok(wakeup), Some(expected)) => assert_eq!(wakeup, expected),
                (Err(payload), None) => assert!(payload.is::<Cancelled>()),
                (other, expected) => panic!("{other:?}, not {expected:?}"),
            }
        }
        let after = stats();
        assert_eq!((after.ethreads, after.io_waits, after.timers), (1, 0, 0));
    });
}

#[test]
fn thousands_get_their_event() {
    let end = |handles: &[JoinHandle<_>], theirs| {
        assert_eq!(stats().io_waits, handles.len());
        drop(theirs);
    };
    many_at_once(|| None, end, Some(Wakeup::Ready));
}

#[test]
fn thousands_time_out() {
    // The peer stays open until the waits have ended.
    let end = |handles: &[JoinHandle<_>], _theirs| {
        while !handles.iter().all(JoinHandle::is_finished) {
            thread::sleep(SHORT);
        }
    };
    many_at_once(soon, end, Some(Wakeup::TimedOut));
}

#[test]
fn thousands_are_cancelled() {
    let end = |handles: &[JoinHandle<_>], _theirs| {
        handles.iter().for_each(JoinHandle::cancel);
        thread::yield_now();
        assert!(handles.iter().all(JoinHandle::is_finished));
    };
    many_at_once(|| None, end, None);
}

#[test]
fn thousands_of_time_outs_on_an_idle_source_leave_the_line_in_order() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut lasting = Vec::new();
        for n in 0..MANY {
            if n % 500 == 0 {
                let (order, mut stream) = (order.clone(), ours.try_clone().unwrap());
                lasting.push(wait(&ours, move |_| {
                    stream.read_exact(&mut [0]).unwrap();
                    order.borrow_mut().push(n);
                }));
            }
            let past = Some(Instant::now());
            let handle = bridge::on_ready(&ours, Interest::Readable, past, |wakeup| wakeup);
            assert_eq!(handle.unwrap().join().unwrap(), Wakeup::TimedOut);
        }
        theirs.write_all(&vec![0; lasting.len()]).unwrap();
        let expected: Vec<_> = (0..MANY).step_by(500).collect();
        lasting
            .into_iter()
            .for_each(|handle| handle.join().unwrap());
        assert_eq!(*order.borrow(), expected);
    });
}

#[test]
fn starters_and_readers_are_served_in_the_order_they_came() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        let order = Rc::new(RefCell::new(Vec::new()));
        let read = |n: usize| {
            let (stream, order) = (ours.clone(), order.clone());
            move || {
                (&*stream).read_exact(&mut [0]).unwrap();
                order.borrow_mut().push(n);
            }
        };
        let mut handles = Vec::new();
        for n in 0..6 {
            let read = read(n);
            handles.push(if n % 2 == 0 {
                wait(&ours, move |_| read())
            } else {
                spawn(read)
            });
            until_waiting(n + 1);
        }
        theirs.write_all(b"abcdef").unwrap();
        handles
            .into_iter()
            .for_each(|handle| handle.join().unwrap());
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn one_that_does_not_read_passes_the_wake_up_on() {
    let leaves: [(&str, fn()); 2] = [
        ("returns", || ()),
        ("panics", || panic!("instead of reading")),
    ];
    for (name, leave) in leaves {
        on_each_driver(move || {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let ours = Rc::new(ours);
            let idle: Vec<_> = (0..3).map(|_| wait(&ours, move |_| leave())).collect();
            let stream = ours.clone();
            let reader = spawn(move || (&*stream).read(&mut [0; 8]).unwrap());
            until_waiting(4);
            theirs.write_all(b"for one").unwrap();
            assert_eq!(reader.join().unwrap(), 7, "{name}");
            let ended = idle.into_iter().map(|handle| handle.join().is_ok());
            assert!(ended.eq([name == "returns"; 3]), "{name}");
        });
    }
}

#[test]
fn one_that_is_cancelled_after_its_wake_up_passes_it_on() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let first = wait(&ours, |_| thread::park());
        let second = wait(&ours, |wakeup| wakeup);
        theirs.write_all(b"x").unwrap();
        // The first waiter has the wake-up, and does nothing with it.
        until(|stats| stats.io_waits == 1);
        thread::yield_now();
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(second.join().unwrap(), Wakeup::Ready);
    });
}

#[test]
fn what_is_there_already_begins_it() {
    on_each_driver(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        // The driver does not know the source yet.
        theirs.write_all(b"ab").unwrap();
        assert_eq!(wait(&ours, |wakeup| wakeup).join().unwrap(), Wakeup::Ready);
        // The driver knows the source, and its earlier readiness still holds.
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(wait(&ours, |wakeup| wakeup).join().unwrap(), Wakeup::Ready);
        let writable = bridge::on_ready(&ours, Interest::Writable, None, |wakeup| wakeup);
        assert_eq!(writable.unwrap().join().unwrap(), Wakeup::Ready);
    });
}

#[test]
fn a_source_that_was_not_tried_yet_is_not_taken_for_ready() {
    type Before = fn(&UnixStream, &mut UnixStream);
    let befores: [(&str, Before); 3] = [
        ("unknown to the driver", |_, _| ()),
        ("known for the other direction", |ours, _| {
            let room = bridge::on_ready(ours, Interest::Writable, None, |wakeup| wakeup);
            assert_eq!(room.unwrap().join().unwrap(), Wakeup::Ready);
        }),
        ("known, and read to the last byte", |mut ours, theirs| {
            let ready = wait(ours, |wakeup| wakeup);
            theirs.write_all(b"x").unwrap();
            assert_eq!(ready.join().unwrap(), Wakeup::Ready);
            ours.read_exact(&mut [0]).unwrap();
        }),
    ];
    for (name, before) in befores {
        on_each_driver(move || {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            before(&ours, &mut theirs);
            let reader = ours.try_clone().unwrap();
            let waits = wait(&ours, move |_| (&reader).read(&mut [0]).unwrap());
            // A ready ethread would be the first to run. The loop asks the driver twice in these
            // turns.
            (0..2).for_each(|_| thread::yield_now());
            assert_eq!(stats().stacks.live, 1, "{name}: it has begun");
            theirs.write_all(b"x").unwrap();
            assert_eq!(waits.join().unwrap(), 1, "{name}");
        });
    }
}

#[test]
fn the_other_direction_is_another_line() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = wait(&ours, |wakeup| wakeup);
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        let writer = bridge::on_ready(&ours, Interest::Writable, None, |wakeup| wakeup).unwrap();
        until_waiting(2);
        theirs.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), Wakeup::Ready);
        assert!(!writer.is_finished());
        theirs.set_nonblocking(true).unwrap();
        while theirs.read(&mut [0; 4096]).is_ok() {}
        assert_eq!(writer.join().unwrap(), Wakeup::Ready);
    });
}

#[test]
fn the_end_of_the_source_begins_it() {
    type End = fn(Eport<OwnedFd>);
    let ends: [(&str, End); 3] = [
        ("dropped", drop),
        ("closed", |port| port.close()),
        ("dropped elsewhere", |port| {
            os::spawn(move || drop(port)).join().unwrap();
        }),
    ];
    for (name, end) in ends {
        on_each_driver(move || {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let port = Eport::new(OwnedFd::from(ours)).unwrap();
            let reads = bridge::on_ready(&port, Interest::Readable, None, |wakeup| wakeup);
            let waits = reads.unwrap();
            thread::yield_now();
            assert!(!waits.is_finished());
            end(port);
            assert_eq!(waits.join().unwrap(), Wakeup::Ready, "{name}");
        });
    }
}

#[test]
fn a_source_that_was_closed_is_refused() {
    on_each_driver(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let port = Eport::new(OwnedFd::from(ours)).unwrap();
        port.close();
        let refused = bridge::on_ready(&port, Interest::Readable, None, |_| ());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(stats().ethreads, 1);
    });
}

#[cfg(feature = "sim")]
#[test]
fn a_simulation_has_nothing_to_wait_for() {
    let (ours, _theirs) = fresh(UnixStream::pair).unwrap();
    let refused = ethreads::sim::run(1, move || {
        let refused = bridge::on_ready(&ours, Interest::Readable, None, |_| ());
        assert_eq!(stats().ethreads, 1);
        refused.unwrap_err().kind()
    });
    assert_eq!(refused.unwrap(), ErrorKind::Unsupported);
}

#[test]
fn an_event_in_time_leaves_no_timer() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let hour = Some(Instant::now() + Duration::from_secs(3600));
        let waits = bridge::on_ready(&ours, Interest::Readable, hour, |wakeup| wakeup).unwrap();
        assert_eq!(stats().timers, 1);
        theirs.write_all(b"x").unwrap();
        assert_eq!(waits.join().unwrap(), Wakeup::Ready);
        assert_eq!(stats().timers, 0);
    });
}

#[test]
fn a_cancel_drops_the_closure_on_a_stack_of_its_own() {
    on_each_driver(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let dropped_by = Rc::new(Cell::new(None));
        let witness = dropped_by.clone();
        let guard = OnDrop(move || {
            witness.set(Some(thread::current().id()));
            // The destructor runs on a stack, so it can suspend. The cancel takes effect there.
            thread::yield_now();
            unreachable!("it was cancelled");
        });
        let waits = wait(&ours, move |_| {
            let _guard = guard;
            unreachable!("it was cancelled");
        });
        waits.cancel();
        assert_eq!(dropped_by.get(), None);
        let id = waits.thread().id();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
        assert_eq!(dropped_by.get(), Some(id));
    });
}

#[test]
fn once_begun_it_is_an_ethread_like_any_other() {
    on_each_driver(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let slot = Rc::new(Cell::new(None));
        let begun = slot.clone();
        let waits = wait(&ours, move |_| {
            begun.set(Some(thread::current().id()));
            thread::park();
            thread::park();
        });
        let id = waits.thread().id();
        drop(theirs);
        while slot.get().is_none() {
            thread::yield_now();
        }
        assert_eq!(slot.get(), Some(id), "the same one that the handle names");
        waits.thread().unpark();
        thread::yield_now();
        waits.cancel();
        assert!(waits.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_run_waits_for_it_and_finds_no_deadlock() {
    fresh(|| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = UnixStream::from(ours);
        let waits = wait(&ours, |wakeup| wakeup);
        let parked = spawn(|| thread::park());
        let shard = OsThread::current();
        let elsewhere = os::spawn(move || {
            // Nothing is ready and no handle is out, but the peer of the descriptor may still
            // write.
            until_asleep(&shard);
            theirs.write_all(b"x").unwrap();
        });
        // After the event the deadlock of the parked ethread is certain.
        let report = deadlock(ethreads::run());
        elsewhere.join().unwrap();
        assert_eq!(report.parked().len(), 1, "{report}");
        assert_eq!(report.parked()[0].id, parked.thread().id());
        assert_eq!(waits.join().unwrap(), Wakeup::Ready);
        parked.cancel();
        ethreads::run().unwrap();
    });
}
