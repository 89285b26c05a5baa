//! Admission: which requests are handled, queued or refused, and which connections are closed.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::time::Duration;

use ethreads::http::{Body, IntoHandler, IntoResponse, Request, ServerCounts, Taskmaster};
use ethreads::net::TcpStream;
use ethreads::runtime;
use ethreads::thread::{self, Thread};

use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::net::support::until_true;
use crate::support::{collect_log, wait_for_log};

pub(super) const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Handlers that park until the test releases them, in the order in which they began.
#[derive(Clone, Default)]
pub(super) struct Parked(Rc<RefCell<Vec<Thread>>>);

impl Parked {
    pub(super) fn handler(&self) -> impl Fn(&mut Request) -> String + use<> {
        let parked = self.clone();
        move |request| {
            parked.0.borrow_mut().push(thread::current());
            thread::park();
            request.path().to_owned()
        }
    }

    /// Unparks the handler that began first.
    pub(super) fn release(&self) {
        self.0.borrow_mut().remove(0).unpark();
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

pub(super) fn site<M: 'static>(
    taskmaster: Taskmaster,
    handler: impl IntoHandler<M, Output: IntoResponse>,
) -> Site {
    let quiet = timeouts(|_| ());
    Site::with(
        |server| server.timeouts(quiet).taskmaster(taskmaster),
        handler,
    )
}

pub(super) fn limits(
    threads: impl Into<Option<usize>>,
    accept: impl Into<Option<usize>>,
) -> Taskmaster {
    Taskmaster::with_limits(threads, accept)
        .unwrap()
        .queue_timeout(LONG)
}

/// A client that has sent a request for `path`.
pub(super) fn asking(site: &Site, path: &str) -> Client {
    let mut client = site.connect();
    client.send(format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    ));
    settle();
    client
}

/// The numbers of requests handled, queued, and refused so far.
pub(super) fn numbers(counts: ServerCounts) -> (usize, usize, u64) {
    (counts.handling, counts.queued, counts.refused)
}

/// Makes the close of `stream` send a reset instead of a FIN.
fn reset(stream: impl std::os::fd::AsFd) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn beyond_the_threads_they_wait_and_beyond_the_accepted_they_are_refused() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(2, 4), parked.handler());
        let mut clients: Vec<_> = (0..2).map(|n| asking(&site, &format!("/{n}"))).collect();
        let before = runtime::stats().unwrap();
        clients.extend((2..4).map(|n| asking(&site, &format!("/{n}"))));
        assert_eq!(numbers(site.handle.counts()), (2, 2, 0));
        // Queued requests cost no stack.
        let after = runtime::stats().unwrap();
        assert_eq!(after.ethreads, before.ethreads + 2);
        assert_eq!(after.stacks.live, before.stacks.live);
        let mut refused = asking(&site, "/4");
        assert_eq!(numbers(site.handle.counts()), (2, 2, 1));
        let answer = refused.last_answer(503);
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.header("server"), Some("ethreads"));
        assert!(answer.header("date").is_some());
        assert_eq!(answer.text(), "Service Unavailable\n");
        // Queued requests are handled in the order in which they arrived.
        for (n, mut client) in clients.into_iter().enumerate() {
            parked.release();
            assert_eq!(client.last_answer(200).text(), format!("/{n}"));
            drop(client);
            settle();
        }
        let counts = site.handle.counts();
        assert_eq!((numbers(counts), counts.served), ((0, 0, 1), 5));
        site.end();
    });
}

#[test]
fn without_an_accept_limit_they_are_refused_at_the_thread_limit() {
    on_a_shard(|| {
        let parked = Parked::default();
        let taskmaster = limits(1, None)
            .retry_after(Duration::from_secs(90))
            .busy_message("come back later\n");
        let site = site(taskmaster, parked.handler());
        let mut served = asking(&site, "/");
        let answer = asking(&site, "/").last_answer(503);
        assert_eq!(answer.header("retry-after"), Some("90"));
        assert_eq!(answer.text(), "come back later\n");
        parked.release();
        served.last_answer(200);
        drop(served);
        site.end();
    });
}

#[test]
fn without_limits_all_are_served() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(None, None), parked.handler());
        let clients: Vec<_> = (0..40).map(|_| asking(&site, "/")).collect();
        assert_eq!(numbers(site.handle.counts()), (40, 0, 0));
        for mut client in clients {
            parked.release();
            client.last_answer(200);
        }
        site.end();
    });
}

/// Hunchentoot wakes a waiter below its *accept* limit, and runs more threads than its limit.
#[test]
fn never_more_than_the_threads_run_at_once() {
    on_a_shard(|| {
        let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let highest = most.clone();
        let site = site(limits(3, 30), move |_: &mut Request| {
            running.set(running.get() + 1);
            highest.set(highest.get().max(running.get()));
            for _ in 0..5 {
                thread::yield_now();
            }
            running.set(running.get() - 1);
            "x"
        });
        let addr = site.addr;
        let clients: Vec<_> = (0..20)
            .map(|_| {
                thread::spawn(move || {
                    let mut client = Client::new(addr);
                    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                    client.last_answer(200);
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!(most.get(), 3);
        assert_eq!(site.handle.counts().refused, 0);
        site.end();
    });
}

#[test]
fn a_request_that_waits_for_too_long_is_refused() {
    on_a_shard(|| {
        collect_log();
        let parked = Parked::default();
        let site = site(limits(1, 5).queue_timeout(SHORT), parked.handler());
        let mut served = asking(&site, "/");
        let waiting: Vec<_> = (0..3).map(|_| asking(&site, "/")).collect();
        for mut client in waiting {
            client.last_answer(503);
        }
        assert_eq!(numbers(site.handle.counts()), (1, 0, 3));
        wait_for_log("refused 1 requests with 503: queued for too long");
        parked.release();
        served.last_answer(200);
        // The places of the refused connections are free again.
        let mut next = asking(&site, "/next");
        parked.release();
        assert_eq!(next.last_answer(200).text(), "/next");
        drop((served, next));
        site.end();
    });
}

/// hunchentoot#54 and #61: after "too many request threads" the server served no more requests.
#[test]
fn after_an_overload_all_is_well_again() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(2, 3), parked.handler());
        for _ in 0..3 {
            let mut taken: Vec<_> = (0..3).map(|_| asking(&site, "/")).collect();
            for _ in 0..20 {
                asking(&site, "/").last_answer(503);
            }
            for client in &mut taken {
                parked.release();
                client.last_answer(200);
                settle();
            }
        }
        assert_eq!(numbers(site.handle.counts()), (0, 0, 60));
        site.end();
    });
}

/// The answer must not be lost to a reset because a request was on its way (RFC 9112 section 9.6).
#[test]
fn a_refused_client_that_sends_its_request_later_reads_the_answer() {
    on_a_shard(|| {
        let parked = Parked::default();
        let one = limits(None, None).max_connections(1);
        let site = site(one, parked.handler());
        let mut served = asking(&site, "/");
        let mut before = asking(&site, "/");
        let mut after = site.connect();
        settle();
        assert_eq!(site.handle.counts().refused, 2);
        after.send(GET);
        for _ in 0..16 {
            after.send([b'x'; 4096]);
        }
        settle();
        before.last_answer(503);
        after.last_answer(503);
        // Connections beyond the number that is kept are closed at once, and get their answer too.
        let mut many: Vec<_> = (0..100).map(|_| asking(&site, "/")).collect();
        for client in &mut many {
            client.last_answer(503);
            // Not even a reset follows the answer.
            let error = socket2::SockRef::from(&client.stream).take_error().unwrap();
            assert!(error.is_none(), "{error:?}");
        }
        parked.release();
        served.last_answer(200);
        drop(served);
        site.end();
    });
}

/// Calls `misbehave` 20 times on a server that handles one request at a time, and checks that all
/// slots come back.
fn rounds<M: 'static>(
    handler: impl IntoHandler<M, Output: IntoResponse>,
    misbehave: impl Fn(&Site),
) {
    let site = site(limits(1, 3), handler);
    for _ in 0..20 {
        misbehave(&site);
        settle();
    }
    until_true(|| {
        let counts = site.handle.counts();
        (counts.handling, counts.queued, counts.serving) == (0, 0, 0)
    });
    assert_eq!(asking(&site, "/ok").last_answer(200).text(), "ok");
    site.end();
}

fn ok(_: &mut Request) -> &'static str {
    "ok"
}

#[test]
fn a_panic_gives_the_slot_back() {
    on_a_shard(|| {
        let panics = |request: &mut Request| -> Body {
            match request.path() {
                "/handler" => panic!("a panic that belongs to this test"),
                "/body" => Body::writer(|_| panic!("a panic that belongs to this test")),
                _ => "ok".into(),
            }
        };
        rounds(panics, |site| {
            asking(site, "/handler").last_answer(500);
            let mut broken = asking(site, "/body");
            let _ = std::io::Read::read_to_end(&mut broken.stream, &mut Vec::new());
        });
    });
}

/// helidon#9442: a broken pipe did not release the permit, so every later answer was 503.
#[test]
fn a_broken_pipe_gives_the_slot_back() {
    on_a_shard(|| {
        let big = |request: &mut Request| match request.path() {
            "/" => vec![b'x'; 8 << 20],
            _ => b"ok".to_vec(),
        };
        rounds(big, |site| {
            let client = asking(site, "/");
            reset(&client.stream);
        });
    });
}

/// hunchentoot#182: a reset by the peer killed the process.
#[test]
fn a_reset_at_any_point_gives_the_slot_back() {
    on_a_shard(|| {
        rounds(ok, |site| {
            for sent in ["", "G", "GET / HTTP/1.1\r\nhost", GET] {
                let mut client = site.connect();
                client.send(sent);
                settle();
                reset(&client.stream);
            }
        });
    });
}

/// hunchentoot#36: the slot leaked if the peer was gone before its thread was named.
#[test]
fn a_peer_that_is_gone_before_it_is_accepted_costs_nothing() {
    on_a_shard(|| {
        rounds(ok, |site| {
            for _ in 0..3 {
                // Blocks the shard, so the acceptor sees the connection only after its reset.
                let stream = StdTcpStream::connect(site.addr).unwrap();
                reset(&stream);
            }
        });
    });
}

#[test]
fn a_peer_that_is_gone_while_it_waits_costs_nothing() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(1, 3), parked.handler());
        let mut served = asking(&site, "/served");
        for resets in [false, true] {
            let waiting = asking(&site, "/gone");
            if resets {
                reset(&waiting.stream);
            }
        }
        assert_eq!(numbers(site.handle.counts()), (1, 2, 0));
        parked.release();
        served.last_answer(200);
        // Both peers sent their request before they left, so their answers go nowhere.
        until_true(|| {
            if parked.len() > 0 {
                parked.release();
            }
            numbers(site.handle.counts()) == (0, 0, 0)
        });
        site.end();
    });
}

/// hunchentoot#189: threads hung in the first line for ever, and kept their slots.
#[test]
fn a_peer_that_never_ends_the_first_line_takes_no_slot() {
    on_a_shard(|| {
        let slow = timeouts(|timeouts| timeouts.head = SHORT);
        let site = Site::with(
            |server| server.timeouts(slow).taskmaster(limits(1, None)),
            ok,
        );
        let mut stuck = site.connect();
        stuck.send("GET / HT");
        settle();
        assert_eq!(asking(&site, "/ok").last_answer(200).text(), "ok");
        stuck.last_answer(408);
        drop(stuck);
        site.end();
    });
}

#[test]
fn a_connection_without_an_ethread_is_refused_and_the_listener_goes_on() {
    on_a_shard(|| {
        collect_log();
        let site = Site::with(
            |server| server.stack_size(2 << 30).taskmaster(limits(1, 2)),
            ok,
        );
        for n in 1..4 {
            // The server does not read this request, so its close may be a reset.
            let mut client = site.connect();
            assert_eq!(client.answer().status, 503);
            drop(client);
            assert_eq!(numbers(site.handle.counts()), (0, 0, n));
            assert_eq!(site.handle.counts().served, 0);
        }
        wait_for_log("refused 1 connections with 503: no ethread for them");
        site.end();
    });
}

#[test]
fn one_thread_serves_one_connection_after_the_other() {
    on_a_shard(|| {
        let parked = Parked::default();
        let handler = parked.handler();
        let names = move |request: &mut Request| match request.path() {
            "/name" => thread::current().name().unwrap_or_default().to_owned(),
            "/panic" => panic!("a panic that belongs to this test"),
            _ => handler(request),
        };
        let site = site(Taskmaster::single_threaded(), names);
        let mut first = site.connect();
        first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\nGET /name HTTP/1.1\r\nhost: a\r\n\r\n");
        settle();
        let mut second = asking(&site, "/second");
        assert_eq!((parked.len(), site.handle.counts().serving), (1, 1));
        parked.release();
        // The connection ends with its first response, so its second request is not served.
        assert_eq!(first.last_answer(200).text(), "/first");
        settle();
        parked.release();
        assert_eq!(second.last_answer(200).text(), "/second");
        asking(&site, "/panic").last_answer(500);
        let listener = format!("http-listener {}", site.addr);
        assert_eq!(asking(&site, "/name").last_answer(200).text(), listener);
        let gone = asking(&site, "/gone");
        reset(&gone.stream);
        drop(gone);
        parked.release();
        assert_eq!(asking(&site, "/name").last_answer(200).text(), listener);
        site.end();
    });
}

#[test]
fn a_single_threaded_server_drains_its_queue_too() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(Taskmaster::single_threaded(), parked.handler());
        let mut clients: Vec<_> = (0..5).map(|_| asking(&site, "/")).collect();
        site.handle.drain(LONG);
        settle();
        for client in &mut clients {
            until_true(|| parked.len() == 1);
            parked.release();
            client.last_answer(200);
        }
        site.served.join().unwrap().unwrap();
        assert_eq!(site.handle.drained().unwrap().ended, 5);
    });
}

#[test]
fn names_are_the_users_to_choose() {
    on_a_shard(|| {
        let site = Site::with(
            |server| {
                server
                    .listener_name("front door")
                    .client_name(|peer| format!("guest from {}", peer.unwrap().ip()))
            },
            |_: &mut Request| thread::current().name().unwrap_or_default().to_owned(),
        );
        assert_eq!(
            asking(&site, "/").last_answer(200).text(),
            "guest from 127.0.0.1"
        );
        site.end();
        let site = Site::with(
            |server| {
                server
                    .listener_name("front door")
                    .taskmaster(Taskmaster::single_threaded())
            },
            |_: &mut Request| thread::current().name().unwrap_or_default().to_owned(),
        );
        assert_eq!(asking(&site, "/").last_answer(200).text(), "front door");
        site.end();
    });
}

#[test]
fn what_is_around_a_connection_runs_in_its_ethread() {
    thread_local! {
        static OPEN: Cell<i32> = const { Cell::new(0) };
        static CALLS: Cell<i32> = const { Cell::new(0) };
    }
    for taskmaster in [limits(1, 2), Taskmaster::single_threaded()] {
        on_a_shard(move || {
            let site = Site::with(
                |server| {
                    server.taskmaster(taskmaster).around_connections(|serve| {
                        OPEN.set(OPEN.get() + 1);
                        CALLS.set(CALLS.get() + 1);
                        match CALLS.get() {
                            1 => {}
                            2 => panic!("a panic that belongs to this test"),
                            _ => {
                                serve();
                                serve();
                            }
                        }
                        OPEN.set(OPEN.get() - 1);
                    })
                },
                |_: &mut Request| OPEN.get().to_string(),
            );
            // The first connection is not served, and the second panics: both are closed without an
            // answer.
            for _ in 0..2 {
                let mut client = site.connect();
                client.end();
            }
            assert_eq!(asking(&site, "/").last_answer(200).text(), "2");
            settle();
            assert_eq!(OPEN.get(), 1);
            assert_eq!(site.handle.counts().serving, 0);
            site.end();
        });
    }
}

#[test]
fn other_os_threads_read_the_counts() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(1, 3), parked.handler());
        let mut clients = [asking(&site, "/"), asking(&site, "/")];
        let handle = site.handle.clone();
        let counts = std::thread::spawn(move || handle.counts()).join().unwrap();
        assert_eq!(numbers(counts), (1, 1, 0));
        for client in &mut clients {
            parked.release();
            client.last_answer(200);
            settle();
        }
        site.end();
    });
}

/// While requests wait for a slot, others are still refused.
#[test]
fn a_full_queue_refuses_all_others() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(1, 2), parked.handler());
        let mut clients = [asking(&site, "/0"), asking(&site, "/1")];
        // All these connections are pending before the acceptor looks once.
        let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let waiting: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = StdTcpStream::connect(site.addr).unwrap();
                stream.write_all(get.as_bytes()).unwrap();
                stream
            })
            .collect();
        for stream in waiting {
            Client::from(TcpStream::from(stream)).last_answer(503);
        }
        for client in &mut clients {
            parked.release();
            client.last_answer(200);
            settle();
        }
        site.end();
    });
}

#[test]
fn requests_and_connections_that_break_off_are_counted() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/panic" => panic!("counted too"),
            "/short" => Body::sized_reader(std::io::empty(), 3),
            _ => Body::empty(),
        });
        let mut client = site.connect();
        for _ in 0..3 {
            client.get("/");
        }
        assert_eq!(client.get("/panic").status, 500);
        let mut refused = site.connect();
        refused.send("no request\r\n\r\n");
        refused.last_answer(400);
        let counts = site.handle.counts();
        assert_eq!((counts.requests, counts.broken_off), (4, 0));
        let mut short = site.connect();
        short.send("GET /short HTTP/1.1\r\nhost: a\r\n\r\n");
        short.rest();
        let counts = site.handle.counts();
        assert_eq!((counts.requests, counts.broken_off), (5, 1));
        short.finish();
        client.finish();
        site.end();
    });
}
