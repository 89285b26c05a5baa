//! How a server ends.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Request, Server, ServerHandle};
use ethreads::net::TcpStream;
use ethreads::thread::{self, Thread};

use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::net::support::until;
use crate::support::{OnDrop, no_child_begins};

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A handler that parks, and the ethreads that are parked in it.
pub(crate) fn parking() -> (
    impl Fn(&mut Request) -> &'static str,
    Rc<RefCell<Vec<Thread>>>,
) {
    let parked = Rc::new(RefCell::new(Vec::new()));
    let list = parked.clone();
    let handler = move |_: &mut Request| {
        list.borrow_mut().push(thread::current());
        thread::park();
        "done"
    };
    (handler, parked)
}

#[test]
fn idle_connections_are_closed_at_once() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        let mut used = site.connect();
        assert_eq!(used.get("/").status, 200);
        let mut fresh = site.connect();
        settle();
        site.end();
        used.end();
        fresh.end();
    });
}

/// hunchentoot#141: a soft stop with two requests.
#[test]
fn requests_in_flight_are_answered() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let (handler, parked) = parking();
        let site = Site::new(handler);
        let mut clients = [site.connect(), site.connect()];
        for client in &mut clients {
            client.send(GET);
            settle();
        }
        site.handle.drain(LONG);
        settle();
        // The server no longer listens, so new connections are refused at once.
        let error = TcpStream::connect(site.addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // The second request ends first.
        for n in [1, 0] {
            assert!(!site.served.is_finished());
            parked.borrow()[n].unpark();
            assert_eq!(clients[n].last_answer(200).text(), "done");
        }
        drop(clients);
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_request_that_has_begun_is_read_to_its_end() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| request.text().unwrap());
        let mut in_head = site.connect();
        in_head.send("POST / HTTP/1.1\r\nhost");
        let mut in_body = site.connect();
        in_body.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo");
        let mut waits_for_100 = site.connect();
        waits_for_100.send(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n",
        );
        settle();
        // The head has arrived, but the server has not read it yet; the body comes later.
        let mut at_the_same_time = site.connect();
        settle();
        at_the_same_time.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n");
        site.handle.drain(LONG);
        settle();
        in_head.send(": a\r\ncontent-length: 4\r\n\r\nbody");
        in_body.send("dy");
        assert_eq!(waits_for_100.answer().status, 100);
        waits_for_100.send("body");
        at_the_same_time.send("body");
        for mut client in [in_head, in_body, waits_for_100, at_the_same_time] {
            assert_eq!(client.last_answer(200).text(), "body");
        }
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn pending_connections_are_answered() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        settle();
        let waiting: Vec<_> = (0..200)
            .map(|_| {
                // Blocks the shard, so the server accepts no connection meanwhile.
                let mut stream = std::net::TcpStream::connect(site.addr).unwrap();
                stream.write_all(GET.as_bytes()).unwrap();
                stream
            })
            .collect();
        site.handle.drain(LONG);
        for stream in waiting {
            Client::from(TcpStream::from(stream)).last_answer(200);
        }
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_drain_that_comes_before_serving_takes_effect_then() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let mut client = Client::new(server.local_addr().unwrap());
        client.send(GET);
        server.handle().drain(LONG);
        let served = thread::spawn(move || server.serve(|_: &mut Request| "x"));
        client.last_answer(200);
        drop(client);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_left_is_cut_after_the_grace() {
    on_a_shard(|| {
        let (handler, parked) = parking();
        let unwound = Rc::new(Cell::new(0));
        let count = unwound.clone();
        let site = Site::new(move |request: &mut Request| {
            let count = count.clone();
            let _guard = OnDrop(move || count.set(count.get() + 1));
            handler(request)
        });
        let mut client = site.connect();
        client.send(GET);
        let mut slow = site.connect();
        slow.send("GET / HT");
        settle();
        site.handle.drain(SHORT);
        site.served.join().unwrap().unwrap();
        client.end();
        slow.end();
        assert_eq!((parked.borrow().len(), unwound.get()), (1, 1));
    });
}

#[test]
fn a_grace_of_nothing_and_one_without_end() {
    on_a_shard(|| {
        for grace in [Duration::ZERO, Duration::MAX] {
            let site = Site::new(|_: &mut Request| "x");
            let mut client = site.connect();
            assert_eq!(client.get("/").status, 200);
            site.handle.drain(grace);
            client.end();
            site.served.join().unwrap().unwrap();
            // An idle connection has nothing to lose, so it counts as ended and not as cut.
            let report = site.handle.drained().unwrap();
            assert_eq!((report.ended, report.cut.len()), (1, 0));
        }
    });
}

#[test]
fn a_server_is_served_once() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        server.handle().drain(LONG);
        server.serve(|_: &mut Request| "x").unwrap();
        let error = server.serve(|_: &mut Request| "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        server.handle().drain(LONG);
    });
}

#[test]
fn any_os_thread_can_drain() {
    fn is_send<T: Send + Clone + 'static>(_: &T) {}
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        let mut client = site.connect();
        assert_eq!(client.get("/").status, 200);
        let handle: ServerHandle = site.handle.clone();
        is_send(&handle);
        let drainer = std::thread::spawn(move || handle.drain(LONG));
        client.end();
        site.served.join().unwrap().unwrap();
        drainer.join().unwrap();
    });
}

#[test]
fn a_cancelled_serve_leaves_nothing_behind() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let before = ethreads::runtime::stats().unwrap();
        let (handler, _parked) = parking();
        let site = Site::new(handler);
        let mut idle = site.connect();
        let mut busy = site.connect();
        busy.send(GET);
        settle();
        // This connection becomes ready to be accepted in the same turn as the cancel.
        let mut late = std::net::TcpStream::connect(site.addr).unwrap();
        late.write_all(GET.as_bytes()).unwrap();
        site.served.cancel();
        assert!(site.served.join().is_err());
        idle.end();
        busy.end();
        let mut late = Client::from(TcpStream::from(late));
        let _ = io::Read::read_to_end(&mut late.stream, &mut Vec::new());
        drop((idle, busy, late));
        until(|after| {
            (
                after.ethreads,
                after.io_waits,
                after.sources,
                after.stacks.live,
            ) == (
                before.ethreads,
                before.io_waits,
                before.sources,
                before.stacks.live,
            )
        });
        assert!(TcpStream::connect(site.addr).is_err());
    });
}

#[test]
fn a_drain_of_a_stream_waits_for_its_end() {
    on_a_shard(|| {
        let (handler, parked) = parking();
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())),
            move |r: &mut Request| {
                let text = handler(r);
                ethreads::http::Body::writer(move |out| {
                    out.write_all(text.as_bytes())?;
                    out.flush()?;
                    settle();
                    out.write_all(b" at last")
                })
            },
        );
        let mut client = site.connect();
        client.send(GET);
        settle();
        parked.borrow()[0].unpark();
        site.handle.drain(LONG);
        // The head goes out before or after the drain begins; both are correct.
        assert_eq!(client.answer().text(), "done at last");
        client.end();
        drop(client);
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_connection_that_crosses_the_cancel_of_serve_ends_too() {
    on_a_shard(|| {
        // The driver is polled after at most 64 runs. In one of these rounds the poll falls between
        // the cancel and the end of `serve`, which then finds the acceptor on its way to a
        // connection.
        for round in 0..64 {
            let site = Site::new(|_: &mut Request| "x");
            settle();
            for _ in 0..round {
                thread::yield_now();
            }
            let stream = std::net::TcpStream::connect(site.addr).unwrap();
            site.served.cancel();
            assert!(site.served.join().is_err());
            until(|stats| stats.ethreads == 1);
            drop(stream);
        }
    });
}

#[test]
fn a_stream_without_end_does_not_keep_the_others_waiting() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/endless" => ethreads::http::Body::writer(|out| {
                loop {
                    out.write_all(b"x")?;
                    out.flush()?;
                }
            }),
            _ => "x".into(),
        });
        let mut stream = std::net::TcpStream::connect(site.addr).unwrap();
        stream
            .write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        // The peer takes everything that arrives, at its own pace.
        let reader = std::thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
        settle();
        assert_eq!(site.connect().get("/").text(), "x");
        site.handle.drain(SHORT);
        site.served.join().unwrap().unwrap();
        let _ = reader.join().unwrap();
    });
}
