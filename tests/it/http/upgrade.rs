//! Connections that switch to another protocol.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;

use ethreads::http::{IntoResponse, Request, Response, Server, Upgraded};
use ethreads::net::{UnixListener, UnixStream};
use ethreads::thread;

use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle};
use crate::support::{collect_log, logged};

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

fn echo(stream: Upgraded) {
    io::copy(&mut &stream, &mut &stream).unwrap();
}

/// A site that upgrades a request for `/` to `take_over`.
fn site(take_over: fn(Upgraded)) -> Site {
    Site::new(move |request: &mut Request| match request.path() {
        "/" => Response::upgrade("echo", take_over),
        path => path.to_owned().into_response(),
    })
}

/// Expects the 101.
#[track_caller]
fn switched(client: &mut Client) {
    let head = client.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.header("connection"), Some("upgrade"));
    assert_eq!(head.header("upgrade"), Some("echo"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("transfer-encoding"), None);
}

#[test]
fn what_was_sent_behind_the_request_is_read_first() {
    on_a_shard(|| {
        let site = site(|stream| {
            assert_eq!(stream.buffered(), b"early ");
            echo(stream);
        });
        let mut client = site.connect();
        client.send(format!("{UPGRADE}early "));
        switched(&mut client);
        client.send("late");
        assert_eq!(client.until("late"), "early late");
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn answers_before_it_are_not_lost() {
    on_a_shard(|| {
        let site = site(echo);
        let mut client = site.connect();
        let before = "GET /one HTTP/1.1\r\nhost: a\r\n\r\nGET /two HTTP/1.1\r\nhost: a\r\n\r\n";
        client.send(format!("{before}{UPGRADE}three"));
        assert_eq!(client.answer().text(), "/one");
        assert_eq!(client.answer().text(), "/two");
        switched(&mut client);
        client.finish();
        assert_eq!(client.rest(), "three");
        site.end();
    });
}

#[test]
fn only_what_was_offered_is_switched_to_rfc9110_7_8() {
    on_a_shard(|| {
        let site = site(echo);
        let fields = |fields: &str| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let mut client = site.connect();
        for request in [
            fields(""),
            fields("upgrade: echo\r\n"),
            fields("connection: upgrade\r\n"),
            fields("connection: upgrade\r\nupgrade: h2c\r\n"),
            fields("connection: upgrade\r\nupgrade: echo/2\r\n"),
            fields("connection: upgrades\r\nupgrade: echo\r\n"),
        ] {
            client.send(&request);
            let answer = client.answer();
            assert_eq!(answer.status, 426, "{request}");
            assert_eq!(answer.header("upgrade"), Some("echo"));
            assert_eq!(answer.header("connection"), Some("upgrade"));
        }
        // The connection still speaks HTTP.
        assert_eq!(client.get("/next").text(), "/next");
        // RFC 9110 section 7.8: an offer in HTTP/1.0 is ignored.
        client.send(UPGRADE.replace("1.1", "1.0"));
        assert_eq!(client.head().status, 426);
        site.end();
    });
}

#[test]
fn offers_are_lists_and_ignore_case() {
    on_a_shard(|| {
        let site = site(echo);
        for fields in [
            "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, Echo",
            "connection: a\r\nconnection: upgrade\r\nupgrade: h2c\r\nupgrade: ECHO",
        ] {
            let mut client = site.connect();
            client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nx"));
            switched(&mut client);
            client.finish();
            assert_eq!(client.rest(), "x");
        }
        site.end();
    });
}

#[test]
fn an_offer_that_is_not_taken_is_ignored() {
    on_a_shard(|| {
        let site = site(echo);
        let mut client = site.connect();
        client.send(UPGRADE.replace("GET /", "GET /plain"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "/plain"));
        assert_eq!(answer.header("upgrade"), None);
        assert_eq!(client.get("/next").text(), "/next");
        site.end();
    });
}

#[test]
fn the_request_is_read_whole_before() {
    on_a_shard(|| {
        let site = site(echo);
        let head = UPGRADE.replace("GET", "POST");
        let head = head.trim_end();
        let mut client = site.connect();
        client.send(format!("{head}\r\ncontent-length: 4\r\n\r\nbodyx"));
        switched(&mut client);
        client.finish();
        assert_eq!(client.rest(), "x");

        // RFC 9110 section 7.8: a 100 that is due comes before the 101.
        let mut client = site.connect();
        client.send(format!(
            "{head}\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
        ));
        assert_eq!(client.head().status, 100);
        client.send("bodyx");
        switched(&mut client);
        client.finish();
        assert_eq!(client.rest(), "x");

        let mut client = site.connect();
        client.send(format!("{head}\r\ncontent-length: 10000000\r\n\r\n"));
        let sender = thread::spawn({
            let mut stream = client.stream.try_clone().unwrap();
            move || {
                let _ = stream.write_all(&[b'x'; 1_000_000]);
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
        client.last_answer(413);
        sender.join().unwrap();
        site.end();
    });
}

#[test]
fn a_drain_tells_it() {
    on_a_shard(|| {
        let site = site(|mut stream| {
            io::copy(&mut &stream, &mut io::sink()).unwrap();
            stream.write_all(b"bye").unwrap();
        });
        let mut client = site.connect();
        client.send(UPGRADE);
        switched(&mut client);
        site.handle.drain(LONG);
        assert_eq!(client.rest(), "bye");
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn none_begins_while_the_server_drains() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            // Reading the body gives the drain time to begin.
            request.bytes().unwrap();
            Response::upgrade("echo", echo)
        });
        let mut client = site.connect();
        let head = UPGRADE.replace("GET", "POST");
        client.send(format!("{}\r\ncontent-length: 1\r\n\r\n", head.trim_end()));
        settle();
        site.handle.drain(LONG);
        settle();
        client.send("x");
        client.last_answer(503);
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_panic_ends_it_alone() {
    collect_log();
    on_a_shard(|| {
        let site = site(|_| panic!("upgraded on purpose"));
        let mut client = site.connect();
        client.send(UPGRADE);
        switched(&mut client);
        client.end();
        assert_eq!(logged("upgraded on purpose").len(), 1);
        assert_eq!(site.connect().get("/alive").text(), "/alive");
        site.end();
    });
}

#[test]
fn a_101_by_hand_is_an_error() {
    on_a_shard(|| {
        let site =
            Site::new(|_: &mut Request| Response::new(http::StatusCode::SWITCHING_PROTOCOLS));
        let mut client = site.connect();
        client.send(UPGRADE);
        assert_eq!(client.answer().status, 500);
        assert_eq!(client.get("/").status, 500);
        site.end();
    });
}

#[test]
fn it_becomes_a_tcp_stream_once_nothing_is_buffered() {
    on_a_shard(|| {
        let site = site(|stream| {
            let stream = stream.into_unix().unwrap_err();
            let mut stream = stream.into_tcp().unwrap_err();
            stream.read_exact(&mut [0; 5]).unwrap();
            let stream = stream.into_tcp().unwrap();
            // The stream outlives the server's part of the connection.
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        });
        let mut client = site.connect();
        client.send(format!("{UPGRADE}early"));
        switched(&mut client);
        client.send("late");
        assert_eq!(client.until("late"), "late");
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn on_a_unix_socket_it_becomes_a_unix_stream() {
    on_a_shard(|| {
        let path = std::env::temp_dir().join(format!("ethreads-upgrade-{}", std::process::id()));
        let server = Server::from(UnixListener::bind(&path).unwrap());
        let handle = server.handle();
        let served = thread::spawn(move || {
            server.serve(|_: &mut Request| {
                Response::upgrade("echo", |stream| {
                    assert_eq!(stream.peer_addr(), None);
                    let stream = stream.into_tcp().unwrap_err().into_unix().unwrap();
                    io::copy(&mut &stream, &mut &stream).unwrap();
                })
            })
        });
        let mut client = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        client.write_all(UPGRADE.as_bytes()).unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        client.write_all(b"over to you").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\r\n\r\nover to you"), "{rest}");
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn two_ethreads_share_it() {
    on_a_shard(|| {
        let site = site(|stream| {
            let stream = Rc::new(stream);
            let theirs = stream.clone();
            let reader = thread::spawn(move || {
                let mut got = String::new();
                (&*theirs).read_to_string(&mut got).unwrap();
                got
            });
            // The reader is waiting by now, or will be: in neither case does it hold up this
            // ethread.
            settle();
            (&*stream).write_all(b"first").unwrap();
            let got = reader.join().unwrap();
            (&*stream).write_all(got.as_bytes()).unwrap();
        });
        let mut client = site.connect();
        client.send(UPGRADE);
        switched(&mut client);
        assert_eq!(client.until("first"), "first");
        client.send("second");
        client.finish();
        assert_eq!(client.rest(), "second");
        site.end();
    });
}

#[test]
fn a_read_that_ends_early_loses_nothing() {
    on_a_shard(|| {
        let site = site(|mut stream| {
            stream.set_read_timeout(Some(SHORT));
            let error = stream.read(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            stream.set_read_timeout(None);
            stream.write_all(b"?").unwrap();

            let stream = Rc::new(stream);
            let theirs = stream.clone();
            let cancelled = thread::spawn(move || (&*theirs).read(&mut [0; 9]).unwrap());
            settle();
            cancelled.cancel();
            assert!(cancelled.join().is_err());
            (&*stream).write_all(b"!").unwrap();
            io::copy(&mut &*stream, &mut &*stream).unwrap();
        });
        let mut client = site.connect();
        client.send(UPGRADE);
        switched(&mut client);
        assert_eq!(client.until("?"), "?");
        assert_eq!(client.until("!"), "!");
        client.send("all of it");
        client.finish();
        assert_eq!(client.rest(), "all of it");
        site.end();
    });
}

#[test]
fn it_ends_with_its_closure_even_if_the_stream_is_held() {
    on_a_shard(|| {
        let site = site(|stream| {
            thread::spawn(move || io::copy(&mut &stream, &mut io::sink()));
        });
        let mut client = site.connect();
        client.send(UPGRADE);
        switched(&mut client);
        client.end();
        settle();
        assert_eq!(site.handle.counts().serving, 0);
        site.end();
    });
}

#[test]
fn one_that_crosses_the_beginning_of_a_drain_is_told_too() {
    on_a_shard(|| {
        let site = site(|mut stream| {
            io::copy(&mut &stream, &mut io::sink()).unwrap();
            stream.write_all(b"bye").unwrap();
        });
        let mut client = site.connect();
        let head = UPGRADE.replace("GET", "POST");
        client.send(format!("{}\r\ncontent-length: 1\r\n\r\n", head.trim_end()));
        // The upgrade is agreed upon, and the server waits for the rest of the request.
        settle();
        site.handle.drain(LONG);
        settle();
        client.send("x");
        switched(&mut client);
        assert_eq!(client.rest(), "bye");
        site.served.join().unwrap().unwrap();
    });
}
