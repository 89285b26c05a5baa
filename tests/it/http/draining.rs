//! What tells handlers and other parts of a program that a server drains.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::testing::Client;
use ethreads::http::{Draining, Request, Server};
use ethreads::{runtime, select, thread};

use crate::http::util::{LONG, Site, on_a_shard, settle, timeouts};
use crate::support::{OnDrop, fresh};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Waits for the drain, and then answers.
fn poll(request: &mut Request) -> &'static str {
    let draining = request.draining();
    assert!(!draining.has_begun());
    draining.wait();
    assert!(draining.has_begun());
    "drained"
}

#[test]
fn a_handler_that_waits_for_the_drain_answers() {
    on_a_shard(|| {
        let site = Site::new(poll);
        let mut clients = [site.connect(), site.connect()];
        for client in &mut clients {
            client.send(GET);
        }
        settle();
        site.handle.drain(LONG);
        for mut client in clients {
            let answer = client.rest();
            assert!(answer.ends_with("\r\n\r\ndrained"), "{answer}");
        }
        let report = site.handle.drained().unwrap();
        assert_eq!(report.ended, 2);
        assert!(report.cut.is_empty());
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn it_is_an_operation_of_a_choice() {
    on_a_shard(|| {
        let choose = |request: &mut Request| {
            let draining = request.draining();
            let first = select! {
                () = draining.waiting() => "drain",
                () = ethreads::sync::select::after(Duration::ZERO) => "time",
            };
            let second = select! {
                () = draining.waiting() => "drain",
                () = ethreads::sync::select::after(LONG) => "time",
            };
            format!("{first} {second}")
        };
        let site = Site::new(choose);
        let mut client = site.connect();
        client.send(GET);
        settle();
        site.handle.drain(LONG);
        assert!(client.rest().ends_with("time drain"));
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn it_outlives_its_request_and_tells_of_any_end() {
    on_a_shard(|| {
        let kept = Rc::new(RefCell::new(None::<Draining>));
        let keep = kept.clone();
        let site = Site::new(move |request: &mut Request| {
            *keep.borrow_mut() = Some(request.draining());
        });
        site.exchange(GET);
        let draining = kept.take().unwrap();
        assert!(!draining.has_begun());
        let waits = thread::spawn(move || draining.wait());
        settle();
        assert!(!waits.is_finished());
        // The ethread that serves is cancelled: no drain.
        site.served.cancel();
        assert!(site.served.join().is_err());
        waits.join().unwrap();
        assert!(site.handle.is_draining());
        site.handle.draining().unwrap();
        assert!(site.handle.drained().is_err());
    });
}

#[test]
fn handles_tell_ethreads_and_os_threads() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0")
            .unwrap()
            .timeouts(timeouts(|_| ()));
        let (handle, told, elsewhere) = (server.handle(), server.handle(), server.handle());
        let os_thread = std::thread::spawn(move || elsewhere.draining());
        let ethread = thread::spawn(move || told.draining());
        let cancelled = thread::spawn({
            let handle = handle.clone();
            move || handle.draining()
        });
        let served = thread::spawn(move || server.serve(|| "hello"));
        settle();
        assert!(!handle.is_draining());
        assert!(!ethread.is_finished() && !os_thread.is_finished());
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        handle.drain(LONG);
        assert!(handle.is_draining());
        handle.draining().unwrap();
        ethread.join().unwrap().unwrap();
        os_thread.join().unwrap().unwrap();
        served.join().unwrap().unwrap();
        handle.draining().unwrap();
    });
}

#[test]
fn while_unwinding_a_handle_fails_instead_of_waiting() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let handle = server.handle();
        let unwinds = thread::spawn(move || {
            let _destructor = OnDrop(|| {
                let error = handle.draining().unwrap_err();
                let source = error.get_ref().unwrap();
                assert!(source.is::<runtime::WouldPark>());
                handle.drain(LONG);
                handle.draining().unwrap();
            });
            panic!("on the way");
        });
        assert!(unwinds.join().is_err());
        drop(server);
    });
}

#[test]
fn a_connection_of_the_program_learns_of_the_drain() {
    on_a_shard(|| {
        let server = Server::without_listener();
        let handle = server.handle();
        let client = Client::with_server(server, poll);
        let waits = thread::spawn(move || client.get("/").send().text());
        settle();
        handle.drain(LONG);
        assert_eq!(waits.join().unwrap(), "drained");
    });
}

#[test]
fn without_a_server_no_drain_begins() {
    fresh(|| {
        let draining = Request::get("/").build().unwrap().draining();
        assert!(!draining.has_begun());
        assert_eq!(format!("{draining:?}"), "Draining { has_begun: false }");
    });
}
