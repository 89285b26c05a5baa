//! The pull server: when an answer is on the wire, in which order answers may be given, and which
//! responses are no answers.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use ethreads::http::pull::{Client as Pulled, Request, WebServer};
use ethreads::http::{Body, StatusCode};
use ethreads::{bridge, thread};

use crate::http::pull::{addr, ask, next, pull_server, received};
use crate::http::util::{Client, on_a_shard, settle};
use crate::support::{collect_log, fresh, logged, text};

#[test]
fn many_are_under_way_and_are_answered_in_any_order() {
    fresh(|| {
        let server = pull_server();
        let paths = ["/0", "/1", "/2", "/3"];
        let mut peers = paths.map(|path| ask(&server, &[path]));
        let mut clients = paths.map(|_| Some(next(&server)));
        for n in [2, 0, 3, 1] {
            let (client, request) = clients[n].take().unwrap();
            let of = paths
                .iter()
                .position(|path| *path == request.path())
                .unwrap();
            client.write(format!("answer {of}")).unwrap();
            // This peer has its answer; the peers without an answer still wait.
            assert!(received(&mut peers[of]).ends_with(&format!("answer {of}")));
        }
        assert!(peers.iter_mut().all(|peer| received(peer).is_empty()));
    });
}

#[test]
fn pipelined_requests_come_out_in_order_and_each_answer_at_once() {
    fresh(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/0", "/1", "/2"]);
        for n in 0..3 {
            let (client, request) = next(&server);
            assert_eq!(request.path(), format!("/{n}"));
            // The next request of this connection is ready, and waits for this answer.
            server.write(client, format!("answer {n}")).unwrap();
            assert!(received(&mut peer).ends_with(&format!("answer {n}")), "{n}");
        }
    });
}

#[test]
fn what_the_kernel_does_not_take_follows_while_the_shard_runs() {
    on_a_shard(|| {
        const LENGTH: usize = 16 << 20;
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send("GET /0 HTTP/1.1\r\nhost: a\r\n\r\nGET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
        let (client, _) = next(&server);
        // The peer reads nothing meanwhile, and still this call returns.
        server.write(client, vec![b'x'; LENGTH]).unwrap();
        let theirs = server.clone();
        let second = thread::spawn(move || {
            let (client, request) = next(&theirs);
            client.write(request.path().to_owned()).unwrap();
        });
        assert_eq!(peer.answer().body, vec![b'x'; LENGTH]);
        assert_eq!(peer.answer().text(), "/1");
        second.join().unwrap();
    });
}

#[test]
fn of_a_stream_what_comes_before_its_first_wait_is_sent() {
    for in_ethread in [false, true] {
        let test = move || {
            let server = pull_server();
            let mut peer = ask(&server, &["/"]);
            let (client, _) = next(&server);
            let writer = Body::writer(|out| {
                thread::park();
                out.write_all(b"unreachable")
            });
            server.write(client, writer).unwrap();
            let head = received(&mut peer);
            assert!(head.starts_with("HTTP/1.1 200"), "{in_ethread}: {head:?}");
            assert!(head.ends_with("\r\n\r\n"), "{in_ethread}: {head:?}");
        };
        if in_ethread {
            on_a_shard(test);
        } else {
            fresh(test);
        }
    }
}

#[test]
fn a_stream_without_end_does_not_keep_its_writer() {
    fresh(|| {
        let server = pull_server();
        let mut stream = ask(&server, &["/"]);
        // The peer takes everything that arrives, at its own pace.
        let reader = std::thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
        let (client, _) = next(&server);
        let endless = Body::writer(|out| {
            loop {
                out.write_all(b"x")?;
                out.flush()?;
            }
        });
        server.write(client, endless).unwrap();
        let mut other = ask(&server, &["/other"]);
        let (client, request) = next(&server);
        assert_eq!(request.path(), "/other");
        server.write(client, "x").unwrap();
        assert!(received(&mut other).ends_with('x'));
        server.handle().drain(Duration::ZERO);
        assert!(server.read().unwrap().is_none());
        assert!(reader.join().unwrap().unwrap_or(1) > 0);
    });
}

#[test]
fn head_gets_the_length_and_not_the_body() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        for (length, body) in [("7", Body::from("7 bytes")), ("7", Body::empty())] {
            peer.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
            let (client, _) = next(&server);
            client.write(([("content-length", "7")], body)).unwrap();
            assert_eq!(peer.head().header("content-length"), Some(length));
        }
        peer.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (client, _) = next(&server);
        client
            .write(Body::writer(|_| panic!("nothing wants it")))
            .unwrap();
        assert_eq!(peer.head().header("transfer-encoding"), Some("chunked"));
        // No bytes of the bodies precede the next answer.
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        next(&server).0.write("next").unwrap();
        assert_eq!(peer.answer().text(), "next");
    });
}

#[test]
fn a_response_that_answers_no_request_is_an_error_and_a_500() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        let mut check = |write: fn(&WebServer, Pulled) -> io::Result<()>| {
            peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let error = write(&server, next(&server).0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(peer.answer().status, 500);
        };
        check(|server, client| server.write(client, StatusCode::CONTINUE));
        check(|_, client| client.write((StatusCode::SWITCHING_PROTOCOLS, "x")));
    });
}

#[test]
fn a_client_that_is_dropped_gets_a_500() {
    collect_log();
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::from_host(addr(&server), 2);
        let me = peer.stream.local_addr().unwrap();
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        drop(next(&server));
        assert_eq!(peer.answer().status, 500);
        let lines = logged(&format!("a request of {me} was dropped without an answer"));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("ERROR"));
        // A panic drops a client too, and the connection stays open.
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let theirs = server.clone();
        let reader = thread::spawn(move || {
            let _client = next(&theirs);
            panic!("in the reader")
        });
        assert_eq!(peer.answer().status, 500);
        assert_eq!(text(&*reader.join().unwrap_err()), "in the reader");
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        next(&server).0.write("x").unwrap();
        assert_eq!(peer.answer().text(), "x");
    });
}

#[test]
fn on_the_schedulers_side_it_writes_without_waiting() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = ask(&server, &["/"]);
        let (client, _) = next(&server);
        bridge::suspend(move |me| {
            client.write("from between the ethreads").unwrap();
            me.resume(()).unwrap();
        });
        settle();
        assert!(received(&mut peer).ends_with("from between the ethreads"));
    });
}

/// Pseudo-random numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's MMIX; its upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn whatever_the_order_each_peer_gets_its_own_answers_in_its_own() {
    const PEERS: usize = 8;
    const REQUESTS: usize = 6;
    for seed in 1..=20 {
        on_a_shard(move || {
            let server = pull_server();
            let peers: Vec<_> = (0..PEERS)
                .map(|n| {
                    let address = addr(&server);
                    thread::spawn(move || {
                        let mut peer = Client::new(address);
                        for k in 0..REQUESTS {
                            peer.send(format!("GET /{n}/{k} HTTP/1.1\r\nhost: a\r\n\r\n"));
                        }
                        for k in 0..REQUESTS {
                            let answer = peer.answer();
                            let own = format!("/{n}/{k}");
                            assert!(
                                answer.status == 500 || answer.text() == own,
                                "seed {seed}: {own} got {answer:?}"
                            );
                        }
                    })
                })
                .collect();
            let mut dice = Dice(seed);
            let mut outstanding: Vec<(_, Request)> = Vec::new();
            let mut left = [REQUESTS; PEERS];
            let peer_of = |request: &Request| request.path()[1..2].parse::<usize>().unwrap();
            loop {
                // While a connection waits for an answer its next request is not due.
                let mut due = left.map(|requests| requests > 0);
                outstanding
                    .iter()
                    .for_each(|(_, request)| due[peer_of(request)] = false);
                let may_read = due.contains(&true);
                if outstanding.is_empty() && !may_read {
                    break;
                }
                if may_read && (outstanding.is_empty() || dice.roll(2) == 0) {
                    let (client, request) = next(&server);
                    left[peer_of(&request)] -= 1;
                    outstanding.push((client, request));
                    continue;
                }
                let (client, request) = outstanding.swap_remove(dice.roll(outstanding.len()));
                let path = request.path().to_owned();
                match dice.roll(8) {
                    0 => drop(client),
                    1 | 2 => client.into_remote().write(path),
                    3 => drop(thread::spawn(move || client.write(path).unwrap())),
                    _ => server.write(client, path).unwrap(),
                }
            }
            peers.into_iter().for_each(|peer| peer.join().unwrap());
            server.close().unwrap();
        });
    }
}
