//! A connection between two requests: its ethread has no stack then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Body, Request, ServerHandle, Taskmaster};
use ethreads::{runtime, thread};

use crate::http_util::{Client, SHORT, Site, on_a_shard, settle, timeouts};

fn live_stacks() -> usize {
    runtime::stats().unwrap().stacks.live
}

/// Sends a request over each connection, and returns how many stacks are in use when all are
/// answered, beside those that were before.
fn stacks_of_idle(site: &Site, count: usize) -> usize {
    let before = live_stacks();
    let mut clients: Vec<Client> = (0..count).map(|_| site.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.get("/").status, 200);
        }
    }
    settle();
    let idle = live_stacks() - before;
    for mut client in clients {
        client.finish();
        client.end();
    }
    idle
}

#[test]
fn idle_connections_hold_no_stack() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "hello");
        site.exchange("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(stacks_of_idle(&site, 50), 0);
        site.end();
    });
}

#[test]
fn a_request_that_has_begun_holds_one() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| "hello");
        site.exchange("GET / HTTP/1.0\r\n\r\n");
        let before = live_stacks();
        let mut client = site.connect();
        client.get("/");
        client.send("GET / HTT");
        settle();
        assert_eq!(live_stacks(), before + 1);
        client.send("P/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        settle();
        assert_eq!(live_stacks(), before);
        client.finish();
        client.end();
        site.end();
    });
}

#[test]
fn with_something_around_it_a_connection_keeps_its_stack() {
    on_a_shard(|| {
        let site = Site::with(
            |server| {
                let server = server.timeouts(timeouts(|_| ()));
                server.around_connections(|serve| {
                    let below = std::hint::black_box([7u8; 64]);
                    serve();
                    assert_eq!(below, [7; 64]);
                })
            },
            |_: &mut Request| "hello",
        );
        site.exchange("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(stacks_of_idle(&site, 5), 5);
        site.end();
    });
}

#[test]
fn the_acceptor_serves_on_its_own_stack_for_a_single_threaded_taskmaster() {
    on_a_shard(|| {
        let configure = |server: ethreads::http::Server| {
            let server = server.timeouts(timeouts(|_| ()));
            server.taskmaster(Taskmaster::single_threaded())
        };
        let site = Site::with(configure, |_: &mut Request| "hello");
        site.exchange("GET / HTTP/1.0\r\n\r\n");
        let before = live_stacks();
        let mut client = site.connect();
        settle();
        assert_eq!(live_stacks(), before);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.last_answer(200).text(), "hello");
        site.end();
    });
}

#[test]
fn all_requests_of_a_connection_run_in_one_ethread() {
    on_a_shard(|| {
        let ids = Rc::new(RefCell::new(Vec::new()));
        let seen = ids.clone();
        let site = Site::new(move |request: &mut Request| {
            let me = thread::current();
            seen.borrow_mut().push((me.id(), request.connection().id()));
            me.name().unwrap_or_default().to_owned()
        });
        let (mut one, mut other) = (site.connect(), site.connect());
        for _ in 0..3 {
            for client in [&mut one, &mut other] {
                assert!(client.get("/").text().starts_with("http-client 127.0.0.1:"));
            }
        }
        let ids = ids.take();
        assert!(ids.iter().step_by(2).all(|id| *id == ids[0]));
        assert!(ids.iter().skip(1).step_by(2).all(|id| *id == ids[1]));
        assert_ne!(ids[0], ids[1]);
        for mut client in [one, other] {
            client.finish();
            client.end();
        }
        site.end();
    });
}

/// Counts its drops, and panics in each.
struct Explosive(Rc<Cell<u32>>);

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        panic!("a destructor of the user's");
    }
}

/// Ends a connection that waits for its next request and holds an [`Explosive`]; the run must go
/// on as if nothing had happened.
fn check_end_of_idle(
    configure: impl FnOnce(ethreads::http::Server) -> ethreads::http::Server + Send + 'static,
    end: impl FnOnce(&ServerHandle, &mut Client) + Send + 'static,
) {
    on_a_shard(|| {
        let drops = Rc::new(Cell::new(0));
        let counted = drops.clone();
        let site = Site::with(configure, move |request: &mut Request| {
            request.connection_mut().insert(Explosive(counted.clone()));
            "hello"
        });
        let mut client = site.connect();
        client.get("/");
        settle();
        end(&site.handle, &mut client);
        client.end();
        assert_eq!(drops.get(), 1);
        site.end();
    });
}

#[test]
fn values_of_an_idle_connection_end_with_it_and_may_panic() {
    let patient = |server: ethreads::http::Server| server.timeouts(timeouts(|_| ()));
    // The peer ends it, the idle deadline does, a drain does.
    check_end_of_idle(patient, |_, client| client.finish());
    check_end_of_idle(
        |server| server.timeouts(timeouts(|t| t.idle = SHORT)),
        |_, _| (),
    );
    check_end_of_idle(patient, |handle, _| {
        handle.drain(Duration::from_secs(300));
    });
}

#[test]
fn a_body_whose_destructor_panics_costs_its_connection_only() {
    on_a_shard(|| {
        let drops = Rc::new(Cell::new(0));
        let counted = drops.clone();
        let site = Site::new(move |_: &mut Request| {
            let explosive = Explosive(counted.clone());
            Body::writer(move |_| {
                let _explosive = explosive;
                Ok(())
            })
        });
        // The writer of an answer to HEAD is dropped without being called.
        for asked in 1..=3 {
            let mut client = site.connect();
            client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
            let _ = client.rest();
            assert_eq!(drops.get(), asked);
        }
        site.end();
    });
}
