//! The loop of a pull server: a handler, and a state that goes from request to request.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ethreads::http::pull::Request;
use ethreads::http::{HandlerError, Response, Result, StatusCode};
use ethreads::thread;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::raise;

use crate::http::pull::{addr, next, pull_server};
use crate::http::util::{Client, on_a_shard};
use crate::support::{collect_log, in_child, logged, stderr};

/// Counts the requests that it answers, and can fail in every possible way.
fn handler(request: &mut Request, count: &u32) -> Result<(Response, u32)> {
    use ethreads::http::IntoResponse;
    let next = count + 1;
    let response = match request.path() {
        "/error" => Err(io::Error::other("secret 5711"))?,
        "/missing" => return Err(HandlerError::status(StatusCode::NOT_FOUND, "not here")),
        "/panic" => panic!("handler 5712"),
        "/wrong" => StatusCode::from_u16(157).unwrap().into_response(),
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
        // A failure changes neither the state nor the connection.
        let failed = peer.get("/error");
        assert_eq!(
            (failed.status, failed.text()),
            (500, "Internal Server Error")
        );
        assert_eq!(peer.get("/missing").status, 404);
        assert_eq!(peer.get("/panic").status, 500);
        assert_eq!(peer.get("/wrong").status, 500);
        assert_eq!(peer.get("/").text(), "number 2");
        for part in ["secret 5711", "handler 5712", "the status 157"] {
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
        // The close waits for the peer to take its answer.
        let peer = thread::spawn(move || drop(peer.last_answer(503)));
        let closes = server.clone();
        let mut served = 0;
        let went_on = server.serve_one(
            |_: &mut Request, served: &u32| {
                closes.close().unwrap();
                Ok(("no reader is there", served + 1))
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
        crate::http::util::settle();
        loops.cancel();
        assert!(loops.join().is_err());
        assert_eq!(peer.answer().status, 500);
        // The next reader gets the requests of the server.
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        next(&server).0.write("x").unwrap();
        assert_eq!(peer.answer().text(), "x");
    });
}

/// Serves requests until a signal ends the loop; the peer raises the signal when it has its answer.
fn serve_until_raised() -> u32 {
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        let raiser = thread::spawn(move || {
            assert_eq!(peer.get("/").text(), "number 1");
            raise(SIGINT).unwrap();
            peer.end();
        });
        assert_eq!(server.run_server(handler, 0).unwrap(), 1);
        raiser.join().unwrap();
    });
    1
}

#[test]
fn a_signal_ends_the_loop_and_the_next_one_the_process() {
    const NAME: &str = "http::pull_run::a_signal_ends_the_loop_and_the_next_one_the_process";
    if let Some(output) = in_child(NAME) {
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("both rounds are over"), "{printed}");
        // After the loop, the signal does what it did before.
        assert_eq!(output.status.signal(), Some(SIGINT), "{}", stderr(&output));
        return;
    }
    // The loop runs a second time too.
    let rounds = serve_until_raised() + serve_until_raised();
    assert_eq!(rounds, 2);
    println!("both rounds are over");
    raise(SIGINT).unwrap();
    unreachable!("it is the end of the process");
}

#[test]
fn a_second_signal_ends_a_process_that_is_stuck() {
    const NAME: &str = "http::pull_run::a_second_signal_ends_a_process_that_is_stuck";
    if let Some(output) = in_child(NAME) {
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("stuck"), "{printed}");
        assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
        return;
    }
    on_a_shard(|| {
        let server = pull_server();
        let mut peer = Client::new(addr(&server));
        peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let stuck = |_: &mut Request, (): &()| -> Result<((), ())> {
            raise(SIGTERM).unwrap();
            println!("stuck");
            raise(SIGTERM).unwrap();
            unreachable!("it is the end of the process")
        };
        server.run_server(stuck, ()).unwrap();
    });
}

#[test]
fn a_handler_of_the_programs_own_stays_in_charge() {
    const NAME: &str = "http::pull_run::a_handler_of_the_programs_own_stays_in_charge";
    if let Some(output) = in_child(NAME) {
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    let seen = Arc::new(AtomicUsize::new(0));
    signal_hook::flag::register_usize(SIGINT, seen.clone(), 1).unwrap();
    serve_until_raised();
    assert_eq!(seen.swap(0, Ordering::SeqCst), 1);
    raise(SIGINT).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}
