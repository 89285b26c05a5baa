//! The race between several addresses of one `TcpStream::connect`.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream, UnixStream};
use ethreads::runtime::{WouldPark, stats};
use ethreads::thread::{self, Cancelled};
use ethreads::time::{self, Instant};
use socket2::{Domain, Socket, Type};

use crate::net::support::{on_each_driver, refusing, until_true};
use crate::support::{OnDrop, no_child_begins};

/// A listener whose queue is full: Linux drops the requests that it cannot queue, and a connecting
/// socket sends another request a second later.
struct Full {
    listener: Socket,
    addr: SocketAddr,
    _queued: Socket,
}

fn full() -> Full {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (listener, queued) = (socket(), socket());
    listener
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    queued.connect(&addr).unwrap();
    Full {
        listener,
        addr: addr.as_socket().unwrap(),
        _queued: queued,
    }
}

impl Full {
    /// Attempts that wait for an answer, as Linux lists them: state 2 is SYN_SENT.
    fn attempts(&self) -> usize {
        let to_it = format!("0100007F:{:04X} 02 ", self.addr.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().filter(|line| line.contains(&to_it)).count()
    }

    /// Lets other ethreads run until an attempt to connect is under way.
    fn until_tried(&self) {
        while self.attempts() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes room in the queue, and accepts the next attempt. Holds the shard meanwhile.
    fn accept(&self) -> Socket {
        drop(self.listener.accept().unwrap());
        self.listener.accept().unwrap().0
    }
}

fn sources() -> usize {
    stats().unwrap().sources
}

fn kind(result: io::Result<TcpStream>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn an_address_that_does_not_answer_is_overtaken_by_the_next_one() {
    on_each_driver(|| {
        let before = sources();
        let full = full();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = good.local_addr().unwrap();
        let addrs = [full.addr, addr];
        let connecting = thread::spawn(move || TcpStream::connect(&addrs[..]).unwrap());
        until_true(|| full.attempts() == 1);
        let (peer, _) = good.accept().unwrap();
        let stream = connecting.join().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
        assert_eq!(peer.peer_addr().unwrap(), stream.local_addr().unwrap());
        assert_eq!(full.attempts(), 0, "the one that lost has ended");
        drop((stream, peer, good));
        assert_eq!(sources(), before);
    });
}

#[test]
fn after_one_that_fails_the_next_one_begins_at_once() {
    on_each_driver(|| {
        let (_held, refused) = refusing();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = good.local_addr().unwrap();
        let mut addrs = vec![refused; 80];
        addrs.push(addr);
        // With a delay for each address the sleeper would be over long before.
        let sleeper = thread::spawn(|| thread::sleep(Duration::from_secs(10)));
        let stream = TcpStream::connect(&addrs[..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
        assert!(!sleeper.is_finished());
        sleeper.cancel();
        let (peer, _) = good.accept().unwrap();
        assert_eq!(peer.peer_addr().unwrap(), stream.local_addr().unwrap());
    });
}

#[test]
fn if_all_fail_the_last_error_is_told() {
    on_each_driver(|| {
        let before = sources();
        let (_held, refused) = refusing();
        // A connection to this address cannot even be tried.
        let impossible = SocketAddr::from(([255, 255, 255, 255], 9));
        let alone = kind(TcpStream::connect(impossible));
        assert_ne!(alone, ErrorKind::ConnectionRefused);
        let table = [
            (vec![refused, refused], ErrorKind::ConnectionRefused),
            (vec![impossible, refused], ErrorKind::ConnectionRefused),
            (vec![refused, impossible], alone),
            (vec![impossible, refused, impossible], alone),
        ];
        for (addrs, expected) in table {
            assert_eq!(kind(TcpStream::connect(&addrs[..])), expected, "{addrs:?}");
        }
        assert_eq!(sources(), before);
    });
}

#[test]
fn a_cancel_and_a_deadline_end_all_attempts() {
    on_each_driver(|| {
        let before = sources();
        let (one, other) = (full(), full());
        let addrs = [one.addr, other.addr];
        let connecting = thread::spawn(move || TcpStream::connect(&addrs[..]));
        other.until_tried();
        assert_eq!((one.attempts(), other.attempts()), (1, 1));
        assert_eq!(sources(), before + 2);
        connecting.cancel();
        assert!(connecting.join().unwrap_err().is::<Cancelled>());
        assert_eq!((one.attempts(), other.attempts()), (0, 0));
        assert_eq!(sources(), before);
        // The deadline passes before the second attempt begins, and after that.
        for limit in [10, 300] {
            let limit = Duration::from_millis(limit);
            let result = time::timeout_io(limit, || TcpStream::connect(&addrs[..]));
            assert_eq!(kind(result), ErrorKind::TimedOut);
            assert_eq!((one.attempts(), other.attempts()), (0, 0));
            assert_eq!(sources(), before);
        }
        assert_eq!(stats().unwrap().io_waits, 0);
    });
}

/// Both connections are established before the shard runs again.
#[test]
fn one_that_stands_but_has_lost_is_closed() {
    on_each_driver(|| {
        let _no_copies = no_child_begins();
        let (one, other) = (full(), full());
        let addrs = [one.addr, other.addr];
        let connecting = thread::spawn(move || TcpStream::connect(&addrs[..]).unwrap());
        other.until_tried();
        let (mut theirs, mut others) = (one.accept(), other.accept());
        let stream = connecting.join().unwrap();
        // Of the established connections the one that was begun first is taken.
        assert_eq!(stream.peer_addr().unwrap(), one.addr);
        assert_eq!(others.read(&mut [0]).unwrap(), 0);
        drop(stream);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    });
}

/// A connection that is established when the deadline is noticed counts, even if the driver has
/// other events to report first.
#[test]
fn a_connection_that_stands_in_time_is_not_lost_to_a_deadline() {
    // Less than the second after which Linux sends the next request.
    const LIMIT: Duration = Duration::from_millis(900);
    on_each_driver(|| {
        let before = stats().unwrap().io_waits;
        let pairs = (0..100).map(|_| UnixStream::pair().unwrap());
        let others = pairs.map(|(mut ours, theirs)| {
            let reader = thread::spawn(move || ours.read(&mut [0]).unwrap());
            (reader, theirs)
        });
        let mut others: Vec<_> = others.collect();
        until_true(|| stats().unwrap().io_waits == before + 100);
        let (_held, refused) = refusing();
        let full = full();
        // No further attempt follows that would end the wait.
        let addrs = [refused, full.addr];
        let connecting =
            thread::spawn(move || time::timeout_io(LIMIT, || TcpStream::connect(&addrs[..])));
        full.until_tried();
        // The shard is held until the deadline has passed, and then until the connection is
        // established.
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {}
        for (_, theirs) in &mut others {
            theirs.write_all(b"x").unwrap();
        }
        let _theirs = full.accept();
        let stream = connecting.join().unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), full.addr);
        for (reader, _theirs) in others {
            assert_eq!(reader.join().unwrap(), 1);
        }
    });
}

#[test]
fn without_ethreads_and_while_unwinding_it_is_no_race() {
    let (_held, refused) = refusing();
    let good = TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [refused, good.local_addr().unwrap()];
    let connect = move || TcpStream::connect(&addrs[..]);
    let stream = std::thread::spawn(connect).join().unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addrs[1]);
    on_each_driver(move || {
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| *slot.borrow_mut() = Some(connect()));
            panic!("on the way");
        });
        assert!(unwinds.join().is_err());
        let error = result.take().unwrap().unwrap_err();
        assert!(error.get_ref().unwrap().is::<WouldPark>(), "{error}");
    });
}

/// On a shard's own OS thread, outside of ethreads, the connect is a race: the shard is driven
/// meanwhile.
#[test]
fn the_own_side_of_an_os_thread_races_too() {
    crate::support::fresh(|| {
        let full = full();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = [full.addr, good.local_addr().unwrap()];
        let acceptor = thread::spawn(move || good.accept().unwrap().1);
        let stream = TcpStream::connect(&addrs[..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addrs[1]);
        assert_eq!(acceptor.join().unwrap(), stream.local_addr().unwrap());
    });
}
