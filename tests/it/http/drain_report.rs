//! What a drain does with waiting connections, and what its report says about the ones it cut.

use std::io::Write;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{CutState, Request, Server, Taskmaster};
use ethreads::net::TcpStream;
use ethreads::runtime::WouldPark;
use ethreads::thread;

use crate::http::drain::{GET, parking};
use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::net::support::until;
use crate::support::{OnDrop, no_child_begins};

#[test]
fn a_request_that_is_on_its_way_is_answered() {
    on_a_shard(|| {
        let patient = timeouts(|timeouts| timeouts.in_flight = LONG);
        let site = Site::with(|server| server.timeouts(patient), |_: &mut Request| "x");
        let mut used = site.connect();
        assert_eq!(used.get("/").status, 200);
        let mut fresh = site.connect();
        settle();
        site.handle.drain(LONG);
        settle();
        for client in [&mut used, &mut fresh] {
            client.send(GET);
            client.last_answer(200);
        }
        site.served.join().unwrap().unwrap();
        assert_eq!(site.handle.drained().unwrap().ended, 2);
    });
}

#[test]
fn a_connection_without_a_request_within_that_time_is_closed() {
    on_a_shard(|| {
        let impatient = timeouts(|timeouts| timeouts.in_flight = SHORT);
        let site = Site::with(|server| server.timeouts(impatient), |_: &mut Request| "x");
        let mut used = site.connect();
        assert_eq!(used.get("/").status, 200);
        let mut fresh = site.connect();
        settle();
        site.end();
        used.end();
        fresh.end();
    });
}

#[test]
fn the_report_names_the_connections_that_were_cut() {
    on_a_shard(|| {
        let (handler, parked) = parking();
        let taskmaster = Taskmaster::with_limits(1, 4).unwrap().queue_timeout(LONG);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            move |request: &mut Request| match request.path() {
                "/quick" => "quick",
                _ => handler(request),
            },
        );
        let mut idle = site.connect();
        assert_eq!(idle.get("/quick").status, 200);
        let mut busy = site.connect();
        busy.send(GET);
        let mut queued = site.connect();
        queued.send(GET);
        settle();
        site.handle.drain(SHORT);
        site.served.join().unwrap().unwrap();
        assert_eq!(parked.borrow().len(), 1);
        let report = site.handle.drained().unwrap();
        let mut cut: Vec<_> = report
            .cut
            .iter()
            .map(|cut| (&*cut.name, cut.state))
            .collect();
        cut.sort_unstable_by_key(|(name, _)| name.to_owned());
        let name = |client: &Client| format!("http-client {}", client.stream.local_addr().unwrap());
        let (busy_name, queued_name) = (name(&busy), name(&queued));
        let mut expected = [
            (&*busy_name, CutState::Serving),
            (&*queued_name, CutState::Queued),
        ];
        expected.sort_unstable_by_key(|(name, _)| name.to_owned());
        assert_eq!(cut, expected);
        assert_eq!((report.ended, report.refused), (1, 1));
        idle.end();
        busy.end();
        queued.last_answer(503);
    });
}

#[test]
fn queued_requests_are_handled_before_the_deadline() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let (handler, parked) = parking();
        let taskmaster = Taskmaster::with_limits(1, 4).unwrap().queue_timeout(LONG);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            handler,
        );
        let mut clients: Vec<_> = (0..6)
            .map(|_| {
                let mut client = site.connect();
                client.send(GET);
                settle();
                client
            })
            .collect();
        site.handle.drain(LONG);
        settle();
        // No client can connect any more, although some requests are still queued.
        assert!(TcpStream::connect(site.addr).is_err());
        assert_eq!(site.handle.counts().queued, 3);
        for client in clients.drain(4..) {
            assert_eq!(Client::from(client.stream).answer().status, 503);
        }
        for (n, client) in clients.iter_mut().enumerate() {
            until(|_| parked.borrow().len() == n + 1);
            parked.borrow()[n].unpark();
            client.last_answer(200);
        }
        site.served.join().unwrap().unwrap();
        let report = site.handle.drained().unwrap();
        assert_eq!((report.ended, report.refused, report.cut.len()), (6, 0, 0));
    });
}

#[test]
fn queued_requests_are_refused_at_the_deadline() {
    on_a_shard(|| {
        let (handler, _parked) = parking();
        let taskmaster = Taskmaster::with_limits(1, 4).unwrap().queue_timeout(LONG);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            handler,
        );
        let mut clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = site.connect();
                client.send(GET);
                settle();
                client
            })
            .collect();
        site.handle.drain(SHORT);
        site.served.join().unwrap().unwrap();
        clients.remove(0).end();
        for client in &mut clients {
            client.last_answer(503);
        }
        let report = site.handle.drained().unwrap();
        let states: Vec<_> = report.cut.iter().map(|cut| cut.state).collect();
        let [served, waiting @ ..] = &states[..] else {
            panic!("{report:?}");
        };
        assert_eq!(*served, CutState::Serving);
        assert_eq!(waiting, [CutState::Queued; 3]);
        assert_eq!(report.refused, 3);
        assert_eq!(site.handle.counts().refused, 3);
    });
}

#[test]
fn a_cancelled_serve_refuses_the_queue() {
    on_a_shard(|| {
        let (handler, _parked) = parking();
        let taskmaster = Taskmaster::with_limits(1, 3).unwrap().queue_timeout(LONG);
        let site = Site::with(
            |server| server.timeouts(timeouts(|_| ())).taskmaster(taskmaster),
            handler,
        );
        let mut clients: Vec<_> = (0..3)
            .map(|_| {
                let mut client = site.connect();
                client.send(GET);
                settle();
                client
            })
            .collect();
        // The server has not accepted this connection.
        let mut late = StdTcpStream::connect(site.addr).unwrap();
        late.write_all(GET.as_bytes()).unwrap();
        site.served.cancel();
        assert!(site.served.join().is_err());
        clients.remove(0).end();
        clients.push(TcpStream::from(late).into());
        for client in &mut clients {
            client.last_answer(503);
        }
        let error = site.handle.drained().unwrap_err();
        assert_eq!(error.to_string(), "the server has ended without a drain");
        assert_eq!(site.handle.counts().queued, 0);
    });
}

/// A connection that reached the listener before the drain gets an answer, even from a server that
/// has no time left.
#[test]
fn a_grace_of_nothing_refuses_pending_connections() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let waiting: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = StdTcpStream::connect(addr).unwrap();
                stream.write_all(GET.as_bytes()).unwrap();
                Client::from(TcpStream::from(stream))
            })
            .collect();
        handle.drain(Duration::ZERO);
        server.serve(|_: &mut Request| "x").unwrap();
        for mut client in waiting {
            client.last_answer(503);
        }
        let report = handle.drained().unwrap();
        assert_eq!((report.ended, report.refused), (0, 200));
    });
}

/// The last answer of this connection was out before the drain. A drain does not wait for the peer
/// to close, as a server that goes on does.
#[test]
fn a_peer_that_does_not_close_its_side_does_not_keep_a_drain() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nbad\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.answer().status, 400);
        // The server waits for the peer to close, and the peer does not.
        client.end();
        site.handle.drain(LONG);
        site.served.join().unwrap().unwrap();
        let report = site.handle.drained().unwrap();
        assert_eq!((report.ended, report.cut.len()), (0, 0));
        assert!(report.took < LONG);
        until(|stats| stats.ethreads == 1);
    });
}

#[test]
fn a_waiter_for_the_end_gets_the_report() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "x");
        let mut client = site.connect();
        assert_eq!(client.get("/").status, 200);
        let handle = site.handle.clone();
        let ethreads: Vec<_> = (0..2)
            .map(|_| {
                let handle = handle.clone();
                thread::spawn(move || handle.drained().unwrap())
            })
            .collect();
        let cancelled = {
            let handle = handle.clone();
            thread::spawn(move || handle.drained())
        };
        let blocked = {
            let handle = handle.clone();
            std::thread::spawn(move || handle.drained().unwrap())
        };
        let elsewhere = {
            let handle = handle.clone();
            std::thread::spawn(move || ethreads::run_main(move || handle.drained().unwrap()))
        };
        let unwinding = {
            let handle = handle.clone();
            thread::spawn(move || {
                let _destructor = OnDrop(|| {
                    let error = handle.drained().unwrap_err();
                    assert!(error.get_ref().unwrap().is::<WouldPark>());
                });
                panic!("on the way");
            })
        };
        assert!(unwinding.join().is_err());
        settle();
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        assert!(!ethreads[0].is_finished());
        handle.drain(LONG);
        client.end();
        let report = handle.drained().unwrap();
        assert_eq!((report.ended, report.cut.len()), (1, 0));
        for ethread in ethreads {
            assert_eq!(ethread.join().unwrap(), report);
        }
        assert_eq!(blocked.join().unwrap(), report);
        assert_eq!(elsewhere.join().unwrap().unwrap(), report);
        site.served.join().unwrap().unwrap();
        // The report is kept.
        assert_eq!(handle.drained().unwrap(), report);
    });
}

#[test]
fn a_server_that_is_never_served_keeps_no_waiter() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let handle = server.handle();
        let waits = thread::spawn(move || handle.drained());
        settle();
        drop(server);
        assert!(waits.join().unwrap().is_err());
        // A server whose serving was cancelled keeps no caller waiting either, although it still
        // exists.
        let server = Rc::new(Server::bind("127.0.0.1:0").unwrap());
        let (handle, theirs) = (server.handle(), server.clone());
        let served = thread::spawn(move || theirs.serve(|_: &mut Request| "x"));
        settle();
        served.cancel();
        assert!(served.join().is_err());
        assert!(handle.drained().is_err());
    });
}
