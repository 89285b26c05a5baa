//! The waiters of a socket: which of them are woken, and in what order.

// Test helpers may panic like tests.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::thread as os;
use std::time::Duration;

use ethreads::net::{TcpListener, TcpStream};
use ethreads::runtime::WouldPark;
use ethreads::thread::{self, Cancelled};
use ethreads::{DriverKind, spawn};

use crate::net::support::{fill, on_driver, on_each_driver, tcp_pair, until, until_waiting};

const SHORT: Option<Duration> = Some(Duration::from_millis(10));

#[test]
fn readers_are_served_in_order_and_one_edge_serves_all() {
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        let server = Rc::new(server);
        let got = Rc::new(RefCell::new(Vec::new()));
        let readers: Vec<_> = (0..4)
            .map(|n| {
                let (server, got) = (server.clone(), got.clone());
                spawn(move || {
                    let mut byte = [0];
                    (&*server).read_exact(&mut byte).unwrap();
                    got.borrow_mut().push((n, byte[0]));
                })
            })
            .collect();
        until_waiting(4);
        client.write_all(b"abcd").unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(*got.borrow(), [(0, b'a'), (1, b'b'), (2, b'c'), (3, b'd')]);
    });
}

#[test]
fn a_cancelled_reader_passes_its_wake_up_on() {
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        let server = Rc::new(server);
        let read_one = |server: Rc<TcpStream>| {
            move || {
                let mut byte = [0];
                (&*server).read_exact(&mut byte).unwrap();
                byte[0]
            }
        };
        let first = spawn(read_one(server.clone()));
        let second = spawn(read_one(server));
        until_waiting(2);
        client.write_all(b"a").unwrap();
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(second.join().unwrap(), b'a');
    });
}

#[test]
fn a_reader_that_times_out_leaves_the_others_in_line() {
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        let server = Rc::new(server);
        server.set_read_timeout(SHORT).unwrap();
        let stream = server.clone();
        let impatient = spawn(move || (&*stream).read(&mut [0; 8]).unwrap_err().kind());
        until_waiting(1);
        server.set_read_timeout(None).unwrap();
        let patient = spawn(move || (&*server).read(&mut [0; 8]).unwrap());
        until_waiting(2);
        assert_eq!(impatient.join().unwrap(), ErrorKind::TimedOut);
        client.write_all(b"late").unwrap();
        assert_eq!(patient.join().unwrap(), 4);
    });
}

#[test]
fn a_reader_and_a_writer_wait_on_one_descriptor() {
    on_each_driver(|| {
        let (client, server) = tcp_pair();
        let filled = fill(&client);
        let client = Rc::new(client);
        let (reading, writing) = (client.clone(), client.clone());
        let reader = spawn(move || (&*reading).read(&mut [0; 8]).unwrap());
        let written = Rc::new(Cell::new(false));
        let flag = written.clone();
        let writer = spawn(move || {
            (&*writing).write_all(b"more").unwrap();
            flag.set(true);
        });
        until_waiting(2);
        // Only the reader's event comes: the writer must stay in the wait queue, and be woken by
        // its own event later.
        (&server).write_all(b"answer").unwrap();
        assert_eq!(reader.join().unwrap(), 6);
        assert!(!written.get());
        let mut all = vec![0; filled + 4];
        (&server).read_exact(&mut all).unwrap();
        writer.join().unwrap();
        assert_eq!(&all[filled..], b"more");
    });
}

#[test]
fn shutdown_wakes_the_waiters_and_halves_close_apart() {
    on_each_driver(|| {
        let (client, mut server) = tcp_pair();
        let client = Rc::new(client);
        let stream = client.clone();
        let reader = spawn(move || (&*stream).read(&mut [0; 8]).unwrap());
        until_waiting(1);
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
        (&*client).write_all(b"still open").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still open");
        assert_eq!(
            (&*client).write(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn polling_a_non_blocking_stream_lets_the_others_run() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        server.set_nonblocking(true).unwrap();
        let writer = spawn(move || client.write_all(b"x").unwrap());
        // The loop does not yield: the budget of operations lets the writer run.
        while server.read(&mut [0; 8]).is_err() {}
        writer.join().unwrap();
    });
}

#[test]
fn an_always_ready_stream_lets_the_others_run() {
    on_each_driver(|| {
        let (mut client, mut server) = tcp_pair();
        client.write_all(&[0; 4096]).unwrap();
        let turns = Rc::new(Cell::new(0));
        let counter = turns.clone();
        let other = spawn(move || {
            loop {
                counter.set(counter.get() + 1);
                thread::yield_now();
            }
        });
        server.read_exact(&mut [0; 1]).unwrap();
        let before = turns.get();
        for _ in 0..4095 {
            server.read_exact(&mut [0; 1]).unwrap();
        }
        // 128 operations make a budget.
        assert!(
            turns.get() - before >= 4095 / 128,
            "{} turns",
            turns.get() - before
        );
        other.cancel();
        assert!(other.join().is_err());
    });
}

#[test]
fn acceptors_are_served_in_order() {
    on_each_driver(|| {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let acceptors: Vec<_> = (0..3)
            .map(|n| {
                let (listener, order) = (listener.clone(), order.clone());
                spawn(move || {
                    let (stream, _) = listener.accept().unwrap();
                    order.borrow_mut().push(n);
                    stream
                })
            })
            .collect();
        until_waiting(3);
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let _streams: Vec<_> = acceptors.into_iter().map(|a| a.join().unwrap()).collect();
        assert_eq!(*order.borrow(), [0, 1, 2]);
    });
}

#[test]
fn one_stream_serves_two_shards_and_a_plain_thread() {
    for kind in [DriverKind::Epoll, DriverKind::Polling] {
        let (writer, stream) = on_driver(kind, tcp_pair).join().unwrap();
        let stream = Arc::new(stream);
        let (gone, counts) = std::sync::mpsc::channel();
        let count = |stream: Arc<TcpStream>, gone: std::sync::mpsc::Sender<usize>| {
            move || {
                let mut bytes = 0;
                while (&*stream).read(&mut [0; 1]).unwrap() > 0 {
                    bytes += 1;
                    gone.send(1).unwrap();
                }
                bytes
            }
        };
        let readers = [
            on_driver(kind, count(stream.clone(), gone.clone())),
            on_driver(kind, count(stream.clone(), gone.clone())),
            os::spawn(count(stream, gone)),
        ];
        // The bytes are sent one after the other, so that each byte finds all readers waiting.
        for _ in 0..300 {
            (&writer).write_all(b"x").unwrap();
            counts.recv().unwrap();
        }
        drop(writer);
        let total: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert_eq!(total, 300);
    }
}

#[test]
fn dropping_a_stream_on_another_thread_frees_its_place() {
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        let server = Arc::new(server);
        let reader = {
            let server = server.clone();
            spawn(move || (&*server).read(&mut [0; 8]).unwrap())
        };
        until_waiting(1);
        let before = ethreads::runtime::stats().unwrap().sources;
        client.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        os::spawn(move || drop(server)).join().unwrap();
        // The message about the drop is in the shard's inbox now.
        until(|stats| stats.sources == before - 1);
    });
}

#[test]
fn a_read_while_unwinding_tries_once() {
    struct ReadOnDrop(TcpStream, Rc<RefCell<Vec<io::Result<usize>>>>);
    impl Drop for ReadOnDrop {
        fn drop(&mut self) {
            for _ in 0..2 {
                self.1.borrow_mut().push(self.0.read(&mut [0; 8]));
            }
        }
    }
    on_each_driver(|| {
        let (mut client, server) = tcp_pair();
        client.write_all(b"last").unwrap();
        let results = Rc::new(RefCell::new(Vec::new()));
        let guard = ReadOnDrop(server, results.clone());
        let parked = spawn(move || {
            let _guard = guard;
            thread::park();
        });
        thread::yield_now();
        parked.cancel();
        assert!(parked.join().is_err());
        let results = results.borrow();
        assert_eq!(*results[0].as_ref().unwrap(), 4);
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(
            error
                .get_ref()
                .is_some_and(|source| source.is::<WouldPark>()),
            "{error:?}"
        );
    });
}
