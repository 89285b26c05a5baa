//! A connection between two requests: its ethread holds no stack.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::panic;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ethreads::http::{Body, IntoResponse, Request, Response, ServerHandle, Taskmaster};
use ethreads::{Runtime, runtime, thread};
use http::{HeaderValue, header};

use crate::http::util::{Client, LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::support::fresh;

fn live_stacks() -> usize {
    runtime::stats().unwrap().stacks.live
}

/// Sends requests over `count` connections, and returns how many more stacks are in use when all
/// requests are answered.
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

/// Ends a connection that waits for its next request and holds an [`Explosive`]; the run must
/// go on unaffected.
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
    // The connection is ended by the peer, by the idle deadline, and by a drain.
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

/// Panics when it is dropped. The payload panics in the same way, one level less deep.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic::panic_any(Self(self.0 - 1));
        }
    }
}

#[test]
fn payloads_that_panic_when_they_are_dropped_end_their_connection_only() {
    for depth in 1..4 {
        fresh(move || {
            // The run may count it as a panic that was never joined.
            let _ = ethreads::run_main(move || {
                let site = Site::new(move |request: &mut Request| {
                    if request.path() == "/bomb" {
                        panic::panic_any(Bomb(depth));
                    }
                    "hello"
                });
                let mut client = site.connect();
                client.send("GET /bomb HTTP/1.1\r\nHost: a\r\n\r\n");
                client.finish();
                let _ = client.rest();
                let mut client = site.connect();
                assert_eq!(client.get("/").status, 200, "after a bomb of {depth}");
                client.finish();
                client.end();
                site.end();
            });
        });
    }
}

/// More connections than a driver reports at once.
const CROWD: usize = 200;

#[test]
fn what_has_arrived_in_time_is_answered_however_many_there_are() {
    on_a_shard(|| {
        let (idle, held) = (Duration::from_millis(400), Rc::new(Cell::new(true)));
        let hold = held.clone();
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.idle = idle)),
            move |_: &mut Request| {
                if !hold.replace(true) {
                    // The deadlines of all connections pass while this handler holds the shard.
                    let end = std::time::Instant::now() + 2 * idle;
                    while std::time::Instant::now() < end {}
                }
                "hello"
            },
        );
        let mut clients: Vec<_> = (0..CROWD)
            .map(|_| StdTcpStream::connect(site.addr).unwrap())
            .collect();
        while site.handle.counts().serving < CROWD {
            thread::yield_now();
        }
        held.set(false);
        for client in &mut clients {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(request).unwrap();
        }
        // The connections end when they are idle again.
        while site.handle.counts().serving > 0 {
            thread::sleep(SHORT);
        }
        let mut answers = 0;
        for client in &mut clients {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            answers += text.matches("200 OK").count();
        }
        assert_eq!(answers, CROWD);
        site.end();
    });
}

#[test]
fn wake_ups_without_a_request_do_not_prolong_the_idle_time() {
    on_a_shard(|| {
        let site = Site::with(
            |server| server.timeouts(timeouts(|t| t.idle = 5 * SHORT)),
            |_: &mut Request| "hello",
        );
        let mut client = StdTcpStream::connect(site.addr).unwrap();
        client.set_nonblocking(true).unwrap();
        // Urgent data wakes the reader, and is no input.
        let sent = (0..100).find(|_| {
            let _ = socket2::SockRef::from(&client).send_out_of_band(b"x");
            thread::sleep(SHORT);
            let read = client.read(&mut [0]);
            !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        assert!(sent.is_some(), "the connection stays open");
        site.end();
    });
}

/// The owner of a header's bytes, whose destructor suspends or panics.
struct Owner {
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        b"text/owned"
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "a destructor of the user's");
        (0..3).for_each(|_| thread::yield_now());
    }
}

fn owned(drops: &Arc<AtomicUsize>, panics: bool) -> Response {
    let owner = Owner {
        drops: drops.clone(),
        panics,
    };
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(owner)).unwrap();
    let mut response = "x".into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

#[test]
fn values_of_headers_end_with_their_response_and_in_their_own_ethread() {
    for panics in [false, true] {
        on_a_shard(move || {
            let drops = Arc::new(AtomicUsize::new(0));
            let counted = drops.clone();
            let site = Site::new(move |request: &mut Request| match request.path() {
                "/owned" => owned(&counted, panics),
                _ => "y".into_response(),
            });
            let mut other = site.connect();
            for asked in 1..=3 {
                let mut client = site.connect();
                client.send("GET /owned HTTP/1.1\r\nHost: a\r\n\r\n");
                client.finish();
                // The panic ends this connection, perhaps before the answer is out.
                assert!(client.rest().starts_with("HTTP/1.1 200") || panics);
                assert_eq!(drops.load(Ordering::Relaxed), asked);
                let answer = other.get("/");
                assert_eq!(
                    answer.header("content-type"),
                    Some("text/plain; charset=utf-8")
                );
            }
            other.finish();
            other.end();
            site.end();
        });
    }
}

/// Numbers from a seed (xorshift).
fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

/// Forty clients that act at random, with short timeouts and few stacks kept.
fn check_crowd(seed: u64) {
    const REQUESTS: [&str; 5] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /yield HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /yield HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHo",
    ];
    let mut choose = random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let millis = Duration::from_millis;
    let short = timeouts(|t| (t.idle, t.head, t.linger) = (millis(3), millis(6), millis(3)));
    let site = Site::with(
        move |server| {
            let server = server.timeouts(short);
            if seed.is_multiple_of(3) {
                server.around_connections(|serve| serve())
            } else {
                server
            }
        },
        |request: &mut Request| {
            match request.path() {
                "/yield" => thread::yield_now(),
                "/sleep" => thread::sleep(Duration::from_micros(500)),
                _ => {}
            }
            "hello"
        },
    );
    let client = |seed: u64, addr| {
        let mut choose = random(seed);
        for _ in 0..8 {
            let Ok(mut stream) = ethreads::net::TcpStream::connect(addr) else {
                continue;
            };
            for _ in 0..choose(6) {
                let request = REQUESTS[choose(5) as usize];
                let sent = stream.write_all(request.as_bytes());
                if sent.is_err() || !matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    break;
                }
                thread::sleep(Duration::from_micros(choose(4000)));
            }
            if choose(3) == 0 {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        }
    };
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let (seed, addr) = (choose(u64::MAX) | 1, site.addr);
            thread::spawn(move || client(seed, addr))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    site.handle.drain(if seed.is_multiple_of(2) {
        Duration::ZERO
    } else {
        LONG
    });
    site.served.join().unwrap().unwrap();
    settle();
    let stats = runtime::stats().unwrap();
    let in_use = (
        stats.ethreads,
        stats.stacks.live,
        stats.stacks.reserved,
        stats.sources,
    );
    assert_eq!(in_use, (1, 1, 0, 0), "seed {seed}: {stats:?}");
}

#[test]
fn nothing_is_left_of_a_crowd() {
    for seed in 1..=6 {
        let run = move || {
            Runtime::builder()
                .hot_stacks(2)
                .run(move || check_crowd(seed))
        };
        fresh(run).unwrap();
    }
}
