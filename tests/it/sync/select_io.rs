//! `sync::select` on events from elsewhere: descriptors and the ends of ethreads.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use ethreads::io::Eport;
use ethreads::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use ethreads::sync::select::{Operation, after, any, finished, readable, writable};
use ethreads::sync::{Signal, channel};
use ethreads::thread::{self, Cancelled};
use ethreads::{runtime, select, time};

use crate::net::support::{fill, on_each_driver, until_true, until_waiting};
use crate::support::leaving_nothing as check;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

fn nothing_waits() {
    assert_eq!(runtime::stats().unwrap().io_waits, 0);
}

#[test]
fn a_descriptor_is_ready_at_once_if_it_is() {
    on_each_driver(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let look = |socket: &UnixStream| {
            select! { ready = readable(socket) => { ready.unwrap(); true } default => false }
        };
        assert!(!look(&ours));
        // No ethread has waited, and the shard has not polled its driver since.
        theirs.write_all(b"x").unwrap();
        assert!(look(&ours), "there is input");
        assert!(look(&ours), "it is still there");
        ours.read_exact(&mut [0]).unwrap();
        assert!(!look(&ours));
        // The same after a read that returned `WouldBlock`.
        ours.set_nonblocking(true).unwrap();
        let error = ours.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        theirs.write_all(b"y").unwrap();
        assert!(look(&ours), "there is input again");
        let first = select! {
            biased;
            ready = readable(&ours) => { ready.unwrap(); 1 }
            () = after(Duration::ZERO) => 2,
        };
        assert_eq!(first, 1);
        assert!(matches!(writable(&ours).try_perform(), Some(Ok(()))));
        // The end of the stream is input as well.
        ours.read_exact(&mut [0]).unwrap();
        assert!(!look(&ours));
        drop(theirs);
        assert!(look(&ours), "it has come to its end");
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        nothing_waits();
    });
}

#[test]
fn a_peer_that_writes_or_closes_ends_a_choice() {
    on_each_driver(|| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let peer = thread::spawn(move || {
            let mut theirs = theirs;
            for text in [b"ab", b"cd"] {
                until_waiting(1);
                theirs.write_all(text).unwrap();
                until_waiting(0);
            }
            until_waiting(1);
        });
        let never = Signal::<()>::new();
        let mut heard = Vec::new();
        loop {
            select! {
                () = never.waiting() => unreachable!("nothing signals"),
                ready = readable(&ours) => ready.unwrap(),
            }
            let mut text = [0; 8];
            match ours.read(&mut text).unwrap() {
                0 => break,
                n => heard.extend_from_slice(&text[..n]),
            }
        }
        assert_eq!(heard, b"abcd");
        peer.join().unwrap();
        assert_eq!(never.waiters(), 0);
        nothing_waits();
    });
}

#[test]
fn whatever_can_be_waited_on_can_be_chosen_from() {
    on_each_driver(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut pipe, mut end) = ethreads::io::pipe().unwrap();
        let first = |limit| {
            select! {
                ready = readable(&listener) => { ready.unwrap(); "listener" }
                ready = readable(&udp) => { ready.unwrap(); "udp" }
                ready = readable(&pipe) => { ready.unwrap(); "pipe" }
                () = after(limit) => "nothing",
            }
        };
        assert_eq!(first(MOMENT), "nothing");
        let client = thread::spawn(move || TcpStream::connect(address).unwrap());
        assert_eq!(first(HOUR), "listener");
        drop((listener.accept().unwrap(), client.join().unwrap()));
        udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
        assert_eq!(first(HOUR), "udp");
        udp.recv_from(&mut [0]).unwrap();
        end.write_all(b"x").unwrap();
        assert_eq!(first(HOUR), "pipe");
        pipe.read_exact(&mut [0]).unwrap();
        assert!(writable(&end).perform().is_ok());
        nothing_waits();
    });
}

#[test]
fn what_cannot_be_watched_is_an_error() {
    on_each_driver(|| {
        let file = Eport::new(File::open("/proc/self/exe").unwrap()).unwrap();
        let failed = select! { ready = readable(&file) => ready, () = after(HOUR) => Ok(()) };
        assert!(failed.is_err());
        let failed = select! { ready = writable(&file) => ready, default => Ok(()) };
        assert!(failed.is_err());
        nothing_waits();
    });
}

#[test]
fn a_port_that_is_closed_meanwhile_is_an_error() {
    on_each_driver(|| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let port = Rc::new(Eport::new(ours).unwrap());
        let spawn = || {
            let port = port.clone();
            thread::spawn(move || {
                select! {
                    ready = readable(&*port) => ready.map_err(|error| error.kind()),
                    () = after(HOUR) => Ok(()),
                }
            })
        };
        let waiting = [spawn(), spawn()];
        until_waiting(2);
        port.close();
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap(), Err(ErrorKind::NotConnected));
        }
        assert_eq!(spawn().join().unwrap(), Err(ErrorKind::NotConnected));
        nothing_waits();
    });
}

#[test]
fn both_directions_of_a_socket_are_two_things() {
    on_each_driver(|| {
        let (client, mut server) = crate::net::support::tcp_pair();
        let filled = fill(&client);
        let first = || {
            select! {
                ready = readable(&client) => { ready.unwrap(); "input" }
                ready = writable(&client) => { ready.unwrap(); "room" }
                () = after(MOMENT) => "nothing",
            }
        };
        until_true(|| first() == "nothing");
        server.write_all(b"x").unwrap();
        until_true(|| first() == "input");
        (&client).read_exact(&mut [0]).unwrap();
        until_true(|| first() == "nothing");
        server.read_exact(&mut vec![0; filled]).unwrap();
        until_true(|| first() == "room");
        // Two operations on the same direction wait one behind the other.
        let twice = any([readable(&client), readable(&client)]);
        let neither = select! { _ = twice => true, () = after(MOMENT) => false };
        assert!(!neither);
        server.write_all(b"y").unwrap();
        let (_, ready) = any([readable(&client), readable(&client)]).perform();
        ready.unwrap();
        nothing_waits();
    });
}

#[test]
fn an_edge_goes_round_choosers_and_readers_of_one_socket() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        let got = Rc::new(RefCell::new(Vec::new()));
        let never = Rc::new(Signal::<()>::new());
        let read_one = |n: usize| {
            let (ours, got) = (ours.clone(), got.clone());
            move || {
                let mut byte = [0];
                let read = (&*ours).read(&mut byte).unwrap();
                got.borrow_mut().extend((read == 1).then_some((n, byte[0])));
                read == 1
            }
        };
        let choosers = [0, 1].map(|n| {
            let (ours, never, read_one) = (ours.clone(), never.clone(), read_one(n));
            thread::spawn(move || {
                loop {
                    select! {
                        ready = readable(&*ours) => {
                            ready.unwrap();
                            if !read_one() {
                                break;
                            }
                        }
                        () = never.waiting() => unreachable!("nothing signals"),
                    }
                }
            })
        });
        let read_one = read_one(2);
        let reader = thread::spawn(move || while read_one() {});
        until_waiting(3);
        // One edge for all waiters, and single edges.
        for text in [&b"abc"[..], b"d", b"e", b"fghij", b"k", b"lmnop"] {
            theirs.write_all(text).unwrap();
            let so_far = usize::from(text[text.len() - 1] - b'a') + 1;
            until_true(|| got.borrow().len() == so_far);
        }
        // In order, as each waiter reads one byte at a time from one stream.
        let bytes: Vec<_> = got.borrow().iter().map(|(_, byte)| *byte).collect();
        assert!(bytes.iter().copied().eq(b'a'..=b'p'), "{bytes:?}");
        // The end is one edge for all waiters.
        drop(theirs);
        reader.join().unwrap();
        for chooser in choosers {
            chooser.join().unwrap();
        }
        assert_eq!(never.waiters(), 0);
        nothing_waits();
    });
}

#[test]
fn a_chooser_that_does_not_read_passes_the_edge_on() {
    on_each_driver(|| {
        for leave in 0..3 {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (ours, signal) = (Rc::new(ours), Rc::new(Signal::new()));
            let (socket, other) = (ours.clone(), signal.clone());
            let chooser = thread::spawn(move || {
                select! {
                    ready = readable(&*socket) => { ready.unwrap(); 1 }
                    n = other.waiting() => n,
                }
            });
            until_waiting(1);
            let reader = thread::spawn(move || {
                let mut byte = [0];
                (&*ours).read_exact(&mut byte).unwrap();
                byte[0]
            });
            until_waiting(2);
            theirs.write_all(b"x").unwrap();
            match leave {
                0 => assert_eq!(chooser.join().unwrap(), 1),
                1 => {
                    signal.signal(2).unwrap();
                    assert_eq!(chooser.join().unwrap(), 2);
                }
                _ => {
                    chooser.cancel();
                    assert!(chooser.join().unwrap_err().is::<Cancelled>());
                }
            }
            assert_eq!(reader.join().unwrap(), b'x', "{leave}");
            nothing_waits();
        }
    });
}

#[test]
fn a_choice_that_leaves_a_socket_leaves_no_trace_at_it() {
    on_each_driver(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let never = Signal::<()>::new();
        for _ in 0..100 {
            let wait = || {
                select! {
                    ready = readable(&ours) => ready.unwrap(),
                    () = never.waiting() => unreachable!("nothing signals"),
                }
            };
            assert!(time::timeout(Duration::from_micros(10), wait).is_err());
            assert_eq!(never.waiters(), 0);
            nothing_waits();
        }
        theirs.write_all(b"x").unwrap();
        assert!(readable(&ours).perform().is_ok());
        let timers = runtime::stats().unwrap().timers;
        for _ in 0..100 {
            select! { () = after(HOUR) => (), ready = readable(&ours) => ready.unwrap() }
        }
        assert!(runtime::stats().unwrap().timers <= timers + 1);
    });
}

#[test]
fn an_ethread_that_has_ended_is_something_that_happens() {
    check(|| {
        // The ethread ends before the choice.
        let mut ended = thread::spawn(|| 1);
        thread::yield_now();
        assert_eq!(finished(&mut ended).try_perform(), Some(()));
        select! { () = finished(&mut ended) => (), () = after(HOUR) => unreachable!() }
        assert_eq!(ended.join().unwrap(), 1);
        // The ethread ends during the choice: by returning, by a panic, by a cancel.
        let ends: [fn() -> u32; 3] = [
            || 2,
            || panic!("on purpose"),
            || {
                thread::park();
                3
            },
        ];
        for (n, end) in ends.into_iter().enumerate() {
            let (go, gone) = channel::bounded::<()>(0);
            let mut ethread = thread::spawn(move || {
                assert!(gone.recv().is_err());
                end()
            });
            let mut other = thread::spawn(thread::park);
            assert_eq!(finished(&mut ethread).try_perform(), None);
            drop(go);
            if n == 2 {
                ethread.cancel();
            }
            let which = select! {
                () = finished(&mut other) => 1,
                () = finished(&mut ethread) => 2,
                () = after(HOUR) => 3,
            };
            assert_eq!(which, 2);
            assert!(ethread.is_finished());
            assert_eq!(ethread.join().is_ok(), n == 0);
            other.cancel();
            assert!(other.join().is_err());
        }
    });
}

#[test]
fn an_end_that_lost_wakes_no_ethread_later() {
    check(|| {
        let (go, gone) = channel::bounded::<()>(0);
        let mut ethread = thread::spawn(move || assert!(gone.recv().is_err()));
        let lost = select! { () = finished(&mut ethread) => 1, () = after(MOMENT) => 2 };
        assert_eq!(lost, 2);
        let signal = Rc::new(Signal::new());
        let theirs = signal.clone();
        let later = thread::spawn(move || {
            thread::yield_now();
            theirs.signal(7).unwrap();
        });
        drop(go);
        // The ethread ends during this wait, which is for something else.
        assert_eq!(signal.wait_timeout(HOUR), Some(7));
        assert!(ethread.is_finished());
        ethread.join().unwrap();
        later.join().unwrap();
        // The waiter is cancelled while it waits, and then the ethread ends.
        let (go, gone) = channel::bounded::<()>(0);
        let ended = Rc::new(Cell::new(false));
        let flag = ended.clone();
        let mut ethread = thread::spawn(move || {
            assert!(gone.recv().is_err());
            flag.set(true);
        });
        let waiting = thread::spawn(move || finished(&mut ethread).perform());
        thread::yield_now();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        drop(go);
        thread::yield_now();
        assert!(ended.get());
    });
}

#[test]
fn children_of_a_scope_can_be_waited_for_in_the_order_in_which_they_end() {
    check(|| {
        let gates: Vec<_> = (0..4).map(|_| channel::bounded::<()>(1)).collect();
        let order = thread::scope(|scope| {
            let mut children: Vec<_> = gates
                .iter()
                .enumerate()
                .map(|(n, gate)| {
                    scope.spawn(move || {
                        gate.1.recv().unwrap();
                        n
                    })
                })
                .collect();
            let mut order = Vec::new();
            for gate in [2, 0, 3, 1] {
                gates[gate].0.send(()).unwrap();
                let ends = any(children.iter_mut().map(finished));
                let (place, ()) = ends.perform();
                order.push(children.remove(place).join().unwrap());
            }
            order
        });
        assert_eq!(order, [2, 0, 3, 1]);
    });
}

/// The owner of a descriptor whose `as_fd` yields.
struct Yields(UnixStream);

impl AsFd for Yields {
    fn as_fd(&self) -> BorrowedFd<'_> {
        thread::yield_now();
        self.0.as_fd()
    }
}

#[test]
fn an_owner_of_a_descriptor_may_suspend_when_it_is_asked_for_it() {
    check(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let port = Eport::new(Yields(ours)).unwrap();
        let (sender, receiver) = channel::unbounded::<u8>();
        let writes = thread::spawn(move || {
            (0..10).for_each(|_| thread::yield_now());
            theirs.write_all(b"x").unwrap();
            thread::park();
            drop(theirs);
            sender
        });
        // The channel's operation is in its wait queue before `as_fd` is called.
        let is_readable = select! {
            biased;
            _ = receiver.receiving() => false,
            ready = readable(&port) => { ready.unwrap(); true }
        };
        assert!(is_readable);
        writes.thread().unpark();
        writes.join().unwrap();
    });
}
