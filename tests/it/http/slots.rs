//! What holds a slot, how requests wait for one, and which connection goes at their limit.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ethreads::http::{Body, IntoResponse, Request, Response, Taskmaster};
use ethreads::net::TcpStream;
use ethreads::sync;

use crate::http::admission::{GET, Parked, asking, limits, numbers, site};
use crate::http::util::{Client, SHORT, Site, on_a_shard, settle, timeouts};

#[test]
fn what_handles_no_request_holds_no_slot() {
    on_a_shard(|| {
        let app = |request: &mut Request| match request.path() {
            "/switch" => Response::upgrade("echo", |stream| {
                let _ = std::io::copy(&mut &stream, &mut &stream);
            }),
            _ => "x".into_response(),
        };
        let site = site(limits(1, None), app);
        let mut idle = site.connect();
        assert_eq!(idle.get("/").status, 200);
        let mut begun = site.connect();
        begun.send("GET /begun HTTP/1.1\r\nhos");
        let mut switched = site.connect();
        switched.send(
            "GET /switch HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
        );
        assert_eq!(switched.head().status, 101);
        let fresh = site.connect();
        settle();
        let counts = site.handle.counts();
        assert_eq!((numbers(counts), counts.serving), ((0, 0, 0), 4));
        asking(&site, "/").last_answer(200);
        assert_eq!(idle.get("/again").status, 200);
        begun.send("t: a\r\n\r\n");
        assert_eq!(begun.answer().status, 200);
        drop((idle, begun, switched, fresh));
        site.end();
    });
}

#[test]
fn a_streamed_response_holds_its_slot_to_its_end() {
    on_a_shard(|| {
        let ends = Rc::new(sync::Semaphore::new(0));
        let end = ends.clone();
        let app = move |request: &mut Request| match request.path() {
            "/stream" => {
                let ends = ends.clone();
                Body::writer(move |out| {
                    out.write_all(b"begun")?;
                    out.flush()?;
                    let _end = ends.acquire();
                    Ok(())
                })
            }
            _ => "x".into(),
        };
        let site = site(limits(1, None), app);
        let mut stream = asking(&site, "/stream");
        assert_eq!(numbers(site.handle.counts()), (1, 0, 0));
        asking(&site, "/").last_answer(503);
        end.add_permits(1);
        stream.last_answer(200);
        asking(&site, "/").last_answer(200);
        site.end();
    });
}

#[test]
fn a_request_that_is_turned_away_keeps_its_connection() {
    on_a_shard(|| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = seen.clone();
        let parked = Parked::default();
        let app = parked.handler();
        let site = Site::with(
            |server| {
                server
                    .timeouts(timeouts(|_| ()))
                    .taskmaster(limits(1, 2).queue_timeout(SHORT))
                    .on_response(move |exchange| {
                        let target = exchange.target().unwrap_or_default().to_owned();
                        let status = exchange.status().as_u16();
                        sees.lock().unwrap().push((target, status));
                    })
            },
            move |request: &mut Request| match request.path() {
                "/quick" => "quick".to_owned(),
                _ => app(request),
            },
        );
        let mut busy = asking(&site, "/busy");
        let mut client = site.connect();
        // In time the slot does not come; the request behind this one waits for its own turn.
        client.send("GET /late HTTP/1.1\r\nhost: a\r\n\r\nGET /later HTTP/1.1\r\nhost: a\r\n\r\n");
        for _ in 0..2 {
            let answer = client.answer();
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), Some("5"));
            assert_eq!(answer.header("connection"), None);
        }
        parked.release();
        busy.last_answer(200);
        // The body of a refused upload is not taken for the next request.
        let mut busy = asking(&site, "/busy");
        let mut waits = asking(&site, "/waits");
        client.send("POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
        assert_eq!(client.answer().status, 503);
        waits.last_answer(503);
        parked.release();
        busy.last_answer(200);
        assert_eq!(client.get("/quick").text(), "quick");
        client.finish();
        site.end();
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        let expected = [
            ("/busy", 200),
            ("/busy", 200),
            ("/late", 503),
            ("/later", 503),
            ("/quick", 200),
            ("/up", 503),
            ("/waits", 503),
        ];
        let seen: Vec<_> = seen
            .iter()
            .map(|(target, status)| (&**target, *status))
            .collect();
        assert_eq!(seen, expected);
    });
}

/// The responses before it do not wait with it, and requests of other connections are not
/// overtaken.
#[test]
fn a_pipelined_request_goes_behind_the_queue() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = site(limits(1, 5), parked.handler());
        let mut first = site.connect();
        first.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n");
        settle();
        let mut second = asking(&site, "/2");
        assert_eq!(numbers(site.handle.counts()), (1, 1, 0));
        parked.release();
        assert_eq!(first.answer().text(), "/1");
        settle();
        assert_eq!(numbers(site.handle.counts()), (1, 1, 0));
        parked.release();
        assert_eq!(second.last_answer(200).text(), "/2");
        settle();
        parked.release();
        assert_eq!(first.answer().text(), "/3");
        first.finish();
        site.end();
    });
}

#[test]
fn a_request_waits_for_its_slot_on_a_stack_that_is_kept() {
    on_a_shard(|| {
        let parked = Parked::default();
        let site = Site::with(
            |server| {
                server
                    .timeouts(timeouts(|_| ()))
                    .taskmaster(limits(1, 3))
                    .around_connections(|serve| serve())
            },
            parked.handler(),
        );
        let mut clients: Vec<_> = (0..3).map(|n| asking(&site, &format!("/{n}"))).collect();
        assert_eq!(numbers(site.handle.counts()), (1, 2, 0));
        for (n, client) in clients.iter_mut().enumerate() {
            settle();
            parked.release();
            assert_eq!(client.last_answer(200).text(), format!("/{n}"));
        }
        let mut busy = asking(&site, "/busy");
        let waits = asking(&site, "/waits");
        site.served.cancel();
        assert!(site.served.join().is_err());
        busy.end();
        Client::from(waits.stream).last_answer(503);
    });
}

#[test]
fn at_the_limit_of_connections_the_longest_idle_one_is_closed() {
    on_a_shard(|| {
        let parked = Parked::default();
        let app = parked.handler();
        let site = site(
            limits(None, None).max_connections(3),
            move |request: &mut Request| match request.path() {
                "/quick" => "quick".to_owned(),
                _ => app(request),
            },
        );
        let mut clients: Vec<_> = (0..3).map(|_| site.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/quick").status, 200);
        }
        // All were used since their beginning, so the first one goes.
        let mut fourth = site.connect();
        assert_eq!(fourth.get("/quick").status, 200);
        clients.remove(0).end();
        // The second and third are passed over if they are used, and the fourth is new.
        assert_eq!(clients[0].get("/quick").status, 200);
        let mut fifth = site.connect();
        assert_eq!(fifth.get("/quick").status, 200);
        clients.remove(1).end();
        assert_eq!(site.handle.counts().serving, 3);
        // Busy connections, and one in the middle of a head, stay.
        clients[0].send("GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        fourth.send("GET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        fifth.send("GET /quick HTTP/1.1\r\n");
        settle();
        assert_eq!(parked.len(), 2);
        asking(&site, "/quick").last_answer(503);
        assert_eq!(site.handle.counts().refused, 1);
        fifth.send("host: a\r\nconnection: close\r\n\r\n");
        fifth.last_answer(200);
        for client in [&mut clients[0], &mut fourth] {
            parked.release();
            client.last_answer(200);
        }
        site.end();
    });
}

/// The vector of connections has room for many more than there are.
#[test]
fn while_connections_are_idle_no_new_one_is_refused() {
    const MOST: usize = 1030;
    on_a_shard(|| {
        let few = Taskmaster::default().max_connections(MOST);
        let site = site(few, |_: &mut Request| "x");
        let mut clients = VecDeque::new();
        for _ in 0..2 * MOST + MOST / 2 {
            let mut client = site.connect();
            assert_eq!(client.get("/").status, 200);
            clients.push_back(client);
            if clients.len() > MOST {
                clients.pop_front();
            }
        }
        assert_eq!(site.handle.counts().refused, 0);
        drop(clients);
        site.end();
    });
}

#[test]
fn a_body_that_is_not_read_holds_no_slot() {
    on_a_shard(|| {
        let site = site(limits(1, None), |_: &mut Request| "x");
        let mut slow = site.connect();
        slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\nbegun");
        assert_eq!(slow.answer().status, 200);
        settle();
        asking(&site, "/").last_answer(200);
        slow.send([b'x'; 4995]);
        assert_eq!(slow.get("/").status, 200);
        drop(slow);
        site.end();
    });
}

/// The peer's request is on its way when its connection is chosen.
#[test]
fn a_connection_whose_request_has_arrived_is_not_closed_before_its_answer() {
    on_a_shard(|| {
        let site = site(limits(None, None).max_connections(1), |_: &mut Request| "x");
        let mut old = site.connect();
        assert_eq!(old.get("/").status, 200);
        // This blocks the shard, so both have arrived before the server looks.
        let new = StdTcpStream::connect(site.addr).unwrap();
        old.send(GET);
        assert_eq!(old.answer().status, 200);
        let mut new = Client::from(TcpStream::from(new));
        assert!(matches!(new.get("/").status, 200 | 503));
        drop(new);
        site.end();
    });
}
