//! The loop of a pull server: a handler, and a state that goes from request to request.

use std::io;

use ethreads::http::pull::Request;
use ethreads::http::{HandlerError, Response, Result, StatusCode};
use ethreads::thread;

use crate::http_pull::{addr, next, pull_server};
use crate::http_util::{Client, on_a_shard};
use crate::support::{collect_log, logged};

/// Counts the requests that it answers, and fails in every way there is.
fn handler(request: &mut Request, count: &u32) -> Result<(Response, u32)> {
    use ethreads::http::IntoResponse;
    let next = count + 1;
    let response = match request.path() {
        "/error" => Err(io::Error::other("secret 5711"))?,
        "/missing" => return Err(HandlerError::status(StatusCode::NOT_FOUND, "not here")),
        "/panic" => panic!("handler 5712"),
        "/wrong" => ([("content-length", "5713")], "x").into_response(),
        _ => format!("number {next}").into_response(),
    };
    Ok((response, next))
}

#[test]
fn the_state_goes_from_request_to_request() {
    collect_log();
    on_a_shard(|| {
        let server = pull_server();
        let theirs = server.clone();
        let loops = thread::spawn(move || theirs.run_server(handler, 0));
        let mut peer = Client::new(addr(&server));
        assert_eq!(peer.get("/").text(), "number 1");
        // What fails leaves the state as it was, and the connection too.
        let failed = peer.get("/error");
        assert_eq!(
            (failed.status, failed.text()),
            (500, "Internal Server Error")
        );
        assert_eq!(peer.get("/missing").status, 404);
        assert_eq!(peer.get("/panic").status, 500);
        assert_eq!(peer.get("/wrong").status, 500);
        assert_eq!(peer.get("/").text(), "number 2");
        for part in ["secret 5711", "handler 5712", "content-length is 5713"] {
            assert_eq!(logged(part).len(), 1, "{part}");
        }
        drop(peer);
        server.close().unwrap();
        assert_eq!(loops.join().unwrap().unwrap(), 2);
    });
}

#[test]
fn one_request_is_served_at_a_time() {
    on_a_shard(|| {
        let server = pull_server();
        let mut state = 10;
        let mut peer = Client::new(addr(&server));
        for n in 11..14 {
            peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(server.serve_one(handler, &mut state).unwrap());
            assert_eq!(peer.answer().text(), format!("number {n}"));
        }
        server.handle().drain(std::time::Duration::ZERO);
        assert!(!server.serve_one(handler, &mut state).unwrap());
        assert_eq!(state, 13);
    });
}

#[test]
fn a_request_that_was_cut_within_its_handler_does_not_end_the_loop() {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        // The close waits for it to take its answer.
        let peer = thread::spawn(move || drop(peer.last_answer(503)));
        let closes = server.clone();
        let mut served = 0;
        let went_on = server.serve_one(
            |_: &mut Request, served: &u32| {
                closes.close().unwrap();
                Ok(("nobody is there", served + 1))
            },
            &mut served,
        );
        assert!(went_on.unwrap());
        assert_eq!(served, 1);
        assert!(!server.serve_one(handler, &mut served).unwrap());
        peer.join().unwrap();
    });
}

#[test]
fn a_handler_that_is_cancelled_answers_500() {
    on_a_shard(|| {
        let server = pull_server();
        let theirs = server.clone();
        let loops = thread::spawn(move || {
            let waits = |_: &mut Request, (): &()| {
                thread::park();
                Ok(("unreachable", ()))
            };
            theirs.run_server(waits, ())
        });
        let mut peer = Client::new(addr(&server));
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        crate::http_util::settle();
        loops.cancel();
        assert!(loops.join().is_err());
        assert_eq!(peer.answer().status, 500);
        // The server is whoever's reads next.
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        next(&server).0.write("x").unwrap();
        assert_eq!(peer.answer().text(), "x");
    });
}
