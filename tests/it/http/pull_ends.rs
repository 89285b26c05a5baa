//! How a pull server ends, and what happens to its readers and its connections; answers from other
//! OS threads.

use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use ethreads::http::pull::{RemoteClient, Request, WebServer};
use ethreads::http::{Body, StatusCode};
use ethreads::runtime::{Stats, stats};
use ethreads::{bridge, thread};

use crate::http::pull::{addr, ask, next, pull_server, received};
use crate::http::util::{Client, LONG, SHORT, on_a_shard, settle};
use crate::net::support::until;
use crate::support::{OnDrop, collect_log, deadlock, fresh, logged, no_child_begins, text};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// The counts that must be the same after a server as before it.
fn left(stats: &Stats) -> (usize, usize, usize, usize) {
    (
        stats.ethreads,
        stats.io_waits,
        stats.sources,
        stats.stacks.live,
    )
}

#[test]
fn a_close_answers_all_requests() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let before = left(&stats().unwrap());
        let server = pull_server();
        let mut taken = Client::new(addr(&server));
        taken.send(GET);
        let (client, _) = next(&server);
        // Two requests that the program has not read; one of them is behind an answer that is yet
        // to come.
        taken.send(GET);
        let mut queued = Client::new(addr(&server));
        queued.send(GET);
        let mut idle = Client::new(addr(&server));
        settle();
        idle.send("");
        let theirs = server.clone();
        let closing = thread::spawn(move || theirs.close());
        assert_eq!(taken.last_answer(503).text(), "Service Unavailable");
        queued.last_answer(503);
        idle.end();
        drop((taken, queued, idle));
        closing.join().unwrap().unwrap();
        let error = server.write(client, "too late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let error = StdTcpStream::connect(addr(&server)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(server.read().unwrap().is_none());
        server.close().unwrap();
        until(|after| left(after) == before);
    });
}

#[test]
fn a_close_tells_the_readers() {
    on_a_shard(|| {
        let server = pull_server();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let server = server.clone();
                thread::spawn(move || server.read().unwrap().is_none())
            })
            .collect();
        settle();
        server.close().unwrap();
        assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
    });
}

#[test]
fn a_close_from_an_ethread_ends_the_read_of_the_os_thread() {
    fresh(|| {
        let server = pull_server();
        let theirs = server.clone();
        let closing = thread::spawn(move || theirs.close());
        assert!(server.read().unwrap().is_none());
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn a_close_before_the_first_read_closes_the_listener() {
    let _at_once = no_child_begins();
    on_a_shard(|| {
        let server = pull_server();
        let _waits = StdTcpStream::connect(addr(&server)).unwrap();
        server.close().unwrap();
        let error = StdTcpStream::connect(addr(&server)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(server.read().unwrap().is_none());
    });
}

#[test]
fn a_request_that_arrives_during_the_close_gets_a_503() {
    on_a_shard(|| {
        let server = pull_server();
        let mut slow = Client::new(addr(&server));
        slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha");
        let theirs = server.clone();
        let reader = thread::spawn(move || theirs.read().unwrap().is_none());
        settle();
        let theirs = server.clone();
        let closing = thread::spawn(move || theirs.close());
        assert!(reader.join().unwrap());
        slow.send("lf");
        slow.last_answer(503);
        drop(slow);
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn dropped_it_closes_without_waiting() {
    on_a_shard(|| {
        let before = left(&stats().unwrap());
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send(GET);
        let (client, _) = next(&server);
        drop(server);
        assert!(client.write("too late").is_err());
        peer.last_answer(503);
        drop(peer);
        until(|after| left(after) == before);
    });
}

#[test]
fn a_drain_lets_all_requests_finish() {
    on_a_shard(|| {
        let before = left(&stats().unwrap());
        let server = pull_server();
        let mut taken = Client::new(addr(&server));
        taken.send(GET);
        let (client, _) = next(&server);
        let mut queued = Client::new(addr(&server));
        queued.send(GET);
        let mut idle = Client::new(addr(&server));
        settle();
        // This connection is not accepted yet when the drain is requested.
        let mut waits = StdTcpStream::connect(addr(&server)).unwrap();
        waits.write_all(GET.as_bytes()).unwrap();
        server.handle().drain(LONG);
        settle();
        for _ in 0..2 {
            let (client, _) = next(&server);
            client.write("in time").unwrap();
        }
        assert_eq!(queued.last_answer(200).text(), "in time");
        let mut waits = Client::from(ethreads::net::TcpStream::from(waits));
        assert_eq!(waits.last_answer(200).text(), "in time");
        idle.end();
        let theirs = server.clone();
        let reader = thread::spawn(move || theirs.read().unwrap().is_none());
        settle();
        assert!(!reader.is_finished(), "one is still under way");
        client.write("at last").unwrap();
        assert_eq!(taken.last_answer(200).text(), "at last");
        drop((taken, queued, waits, idle));
        assert!(reader.join().unwrap());
        server.close().unwrap();
        until(|after| left(after) == before);
    });
}

#[test]
fn what_a_drain_cuts_can_not_be_answered() {
    on_a_shard(|| {
        let before = left(&stats().unwrap());
        let server = pull_server();
        let mut taken = Client::new(addr(&server));
        taken.send(GET);
        let (client, request) = next(&server);
        let mut queued = Client::new(addr(&server));
        queued.send(GET);
        settle();
        server.handle().drain(SHORT);
        // The queued request can still be read, until it is cut.
        let (second, _) = next(&server);
        assert!(server.read().unwrap().is_none());
        for client in [client, second] {
            let error = client.write("too late").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
        taken.end();
        queued.end();
        drop((taken, queued));
        assert_eq!(request.path(), "/");
        until(|after| left(after) == before);
    });
}

#[test]
fn a_drain_that_waits_for_its_own_reader_is_an_error() {
    fresh(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/"]);
        let (client, _) = next(&server);
        server.handle().drain(Duration::MAX);
        let error = server.read().unwrap_err().to_string();
        assert!(error.contains("deadlock"), "{error}");
        client.write("here").unwrap();
        assert!(received(&mut peer).ends_with("here"));
        drop(peer);
        assert!(server.read().unwrap().is_none());
    });
}

#[test]
fn an_ethread_that_reads_in_vain_is_a_deadlock_of_the_run() {
    fresh(|| {
        let server = pull_server();
        let theirs = server.clone();
        let peer = ask(&server, &["/"]);
        let reader = thread::spawn(move || {
            let _client = next(&theirs);
            theirs.handle().drain(Duration::MAX);
            theirs.read().map(|_| ())
        });
        let deadlock = deadlock(ethreads::run());
        assert!(
            deadlock.to_string().contains("http/pull_ends.rs"),
            "{deadlock}"
        );
        drop(peer);
        reader.cancel();
        assert!(reader.join().is_err());
        server.close().unwrap();
    });
}

#[test]
fn a_peer_that_has_gone_is_no_error_and_leaves_nothing_behind() {
    on_a_shard(|| {
        let before = left(&stats().unwrap());
        let server = pull_server();
        for with_reset in [false, true] {
            let peer = StdTcpStream::connect(addr(&server)).unwrap();
            (&peer).write_all(GET.as_bytes()).unwrap();
            let (client, _) = next(&server);
            if with_reset {
                let linger = Some(Duration::ZERO);
                socket2::SockRef::from(&peer).set_linger(linger).unwrap();
            }
            drop(peer);
            settle();
            // More than the kernel would keep for a peer that may still be there.
            client.write(vec![0; 16 << 20]).unwrap();
        }
        server.close().unwrap();
        until(|after| left(after) == before);
    });
}

#[test]
fn a_shard_that_ends_cuts_all_requests() {
    let outstanding = fresh(|| {
        ethreads::run_main(|| {
            let server = pull_server();
            let peer = ask(&server, &["/"]);
            let client = next(&server).0;
            let theirs = server.clone();
            drop(thread::spawn(move || theirs.read().map(|_| ())));
            settle();
            std::mem::forget((peer, client, server));
            stats().unwrap().ethreads
        })
    });
    // The root, the reader, the server, its acceptor and its connection; none of them is left.
    assert_eq!(outstanding.unwrap(), 5);
}

#[test]
fn a_cancelled_close_goes_on() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send(GET);
        let (client, _) = next(&server);
        let remote = client.into_remote();
        let theirs = server.clone();
        let closing = thread::spawn(move || theirs.close());
        settle();
        closing.cancel();
        assert!(closing.join().is_err());
        remote.write("still there");
        assert_eq!(peer.last_answer(200).text(), "still there");
        drop(peer);
        until(|stats| stats.ethreads == 1);
    });
}

#[test]
fn other_os_threads_answer() {
    fn is_send<T: Send + 'static>(_: &T) {}
    fresh(|| {
        let server = pull_server();
        let (sender, receiver) = mpsc::channel::<(RemoteClient, Request)>();
        let worker = std::thread::spawn(move || {
            for (client, request) in receiver {
                match request.path() {
                    "/text" => client.write("text"),
                    "/tuple" => client.write((StatusCode::CREATED, [("x", "y")], vec![1, 2])),
                    "/http" => client.write(http::Response::new("http")),
                    "/stream" => client.write_with(|| Body::writer(|out| out.write_all(b"made"))),
                    _ => drop(client),
                }
            }
        });
        let peers = ["/text", "/tuple", "/http", "/stream", "/drop"].map(|path| {
            let address = addr(&server);
            thread::spawn(move || {
                let mut client = Client::new(address);
                let answer = client.get(path);
                (answer.status, answer.body)
            })
        });
        for _ in &peers {
            let (client, request) = next(&server);
            let remote = client.into_remote();
            is_send(&remote);
            sender.send((remote, request)).unwrap();
        }
        let answers = peers.map(|peer| peer.join().unwrap());
        let expected: [(u16, &[u8]); 5] = [
            (200, b"text"),
            (201, &[1, 2]),
            (200, b"http"),
            (200, b"made"),
            (500, b"Internal Server Error"),
        ];
        assert_eq!(
            answers,
            expected.map(|(status, body)| (status, body.to_vec()))
        );
        drop(sender);
        worker.join().unwrap();
        server.close().unwrap();
    });
}

#[test]
fn what_goes_wrong_elsewhere_is_a_500_and_a_line_in_the_log() {
    collect_log();
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::from_host(addr(&server), 3);
        let me = peer.stream.local_addr().unwrap();
        let mut answer = |reply: fn(RemoteClient)| {
            peer.send(GET);
            let remote = next(&server).0.into_remote();
            std::thread::spawn(move || reply(remote));
            peer.answer().status
        };
        assert_eq!(answer(drop), 500);
        assert_eq!(
            answer(|client| client.write((StatusCode::from_u16(147).unwrap(), "4711"))),
            500
        );
        assert_eq!(
            answer(|client| client.write_with(|| -> &'static str { panic!("made of 4712") })),
            500
        );
        assert_eq!(logged(&format!("a request of {me} was dropped")).len(), 1);
        assert_eq!(logged("cannot be sent: the status 147 ").len(), 1);
        assert_eq!(logged("made of 4712").len(), 1);
    });
}

#[test]
fn while_another_os_thread_has_a_request_the_shard_waits() {
    fresh(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/"]);
        let remote = next(&server).0.into_remote();
        // There is no listener, no timer and no ready ethread: only the answer can wake anything.
        server.handle().drain(Duration::MAX);
        std::thread::spawn(move || remote.write("elsewhere"));
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(server.read().unwrap().is_none());
        assert!(received(&mut peer).ends_with("elsewhere"));
    });
}

#[test]
fn a_close_waits_for_answers_from_elsewhere() {
    fresh(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/"]);
        let remote = next(&server).0.into_remote();
        let (sender, receiver) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            receiver.recv().unwrap();
            remote.write("elsewhere");
        });
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        // The server has begun to close when this `read` returns.
        let theirs = server.clone();
        drop(thread::spawn(move || {
            assert!(theirs.read().unwrap().is_none());
            sender.send(()).unwrap();
        }));
        thread::yield_now();
        server.close().unwrap();
        assert!(received(&mut peer).ends_with("elsewhere"));
    });
}

#[test]
fn a_remote_client_outlives_its_shard() {
    let remote = fresh(|| {
        let server = pull_server();
        let _peer = ask(&server, &["/"]);
        let remote = next(&server).0.into_remote();
        server.handle().drain(Duration::ZERO);
        assert!(server.read().unwrap().is_none());
        remote
    });
    let dropped = std::sync::Arc::new(());
    let theirs = dropped.clone();
    remote.write_with(move || {
        drop(theirs);
    });
    assert_eq!(
        std::sync::Arc::strong_count(&dropped),
        1,
        "the closure was dropped"
    );
}

#[test]
fn closed_while_it_unwinds_it_ends_later() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send(GET);
        let _outstanding = next(&server);
        let theirs = server.clone();
        let closing = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                assert_eq!(theirs.close().unwrap_err().kind(), ErrorKind::Other);
            });
            panic!("on the way")
        });
        assert_eq!(text(&*closing.join().unwrap_err()), "on the way");
        peer.last_answer(503);
        drop(peer);
        until(|stats| stats.ethreads == 1);
    });
}

#[test]
fn a_destructor_of_a_suspended_closure_may_hold_a_client() {
    // A client that is dropped on the scheduler's side is answered all the same.
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send(GET);
        let (client, _) = next(&server);
        let dropped = Rc::new(Cell::new(false));
        let flag = dropped.clone();
        bridge::suspend(move |me: bridge::Suspended<()>| {
            drop(client);
            flag.set(true);
            me.resume(()).unwrap();
        });
        assert!(dropped.get());
        assert_eq!(peer.answer().status, 500);
    });
}

#[test]
fn two_servers_share_a_shard() {
    on_a_shard(|| {
        let servers = [pull_server(), pull_server()];
        let mut peers = [0, 1].map(|n: usize| Client::new(addr(&servers[n])));
        peers.iter_mut().for_each(|peer| peer.send(GET));
        let clients = [1, 0].map(|n: usize| (n, next(&servers[n]).0));
        for (n, client) in clients {
            // Each answer goes to its own peer, whichever server it is written through.
            WebServer::write(&servers[1 - n], client, format!("server {n}")).unwrap();
        }
        for (n, peer) in peers.iter_mut().enumerate() {
            assert_eq!(peer.answer().text(), format!("server {n}"));
        }
    });
}
