//! What a server reports about its work, and what stays with a connection.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ethreads::http::{
    Body, CombinedLog, CommonLog, Exchange, IntoResponse, Request, Response, Result, Server,
    StatusCode,
};
use ethreads::thread;

use crate::http::util::{LONG, SHORT, Site, on_a_shard, settle, timeouts};
use crate::net::support::until;
use crate::support::{OnDrop, collect_log, logged};

/// The reports of a server's hooks.
type Told = Arc<Mutex<Vec<String>>>;

fn telling(told: &Told, line: fn(&Exchange<'_>) -> String) -> impl FnOnce(Server) -> Server {
    let (responses, errors) = (told.clone(), told.clone());
    move |server| {
        server
            .timeouts(timeouts(|_| ()))
            .on_response(move |exchange| responses.lock().unwrap().push(line(exchange)))
            .on_refusal(move |error, peer| {
                assert!(peer.is_some());
                errors.lock().unwrap().push(format!("error: {error}"));
            })
    }
}

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().unwrap())
}

fn brief(exchange: &Exchange<'_>) -> String {
    let complete = if exchange.is_complete() { "" } else { " cut" };
    format!(
        "{:?} {:?} {} {}{complete}",
        exchange.method().map(|method| method.as_str()),
        exchange.target(),
        exchange.status().as_u16(),
        exchange.bytes_sent(),
    )
}

fn answer(request: &mut Request) -> Result<Response> {
    Ok(match request.path() {
        "/none" => StatusCode::NO_CONTENT.into_response(),
        "/interim" => StatusCode::from_u16(103)?.into_response(),
        "/big" => "x".repeat(100_000).into_response(),
        "/stream" => Body::writer(|out| out.write_all(&[b'x'; 50_000])).into_response(),
        "/broken" => Body::sized_writer(9, |out| out.write_all(b"abc")).into_response(),
        "/panic" => panic!("hooked on purpose"),
        "/file" => {
            let file = std::fs::File::open(std::env::current_exe()?)?;
            Body::file_range(file, 0, 70_000).into_response()
        }
        "/upgrade" => Response::upgrade("a", |_| ()),
        _ => request.text()?.into_response(),
    })
}

#[test]
fn every_answer_is_reported_once() {
    on_a_shard(|| {
        let told = Told::default();
        let site = Site::with(telling(&told, brief), answer);
        for (request, expected) in [
            (
                "GET /a?b HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/a?b") 200 0"#,
            ),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
                r#"Some("POST") Some("/") 200 3"#,
            ),
            (
                "GET /none HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/none") 204 0"#,
            ),
            (
                "GET /interim HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/interim") 500 21"#,
            ),
            (
                "GET /big HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/big") 200 100000"#,
            ),
            (
                "HEAD /big HTTP/1.1\r\nhost: a\r\n",
                r#"Some("HEAD") Some("/big") 200 0"#,
            ),
            (
                "GET /stream HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/stream") 200 50000"#,
            ),
            (
                "GET /file HTTP/1.0\r\n",
                r#"Some("GET") Some("/file") 200 70000"#,
            ),
            (
                "GET /panic HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/panic") 500 21"#,
            ),
            (
                "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: a\r\n",
                r#"Some("GET") Some("/upgrade") 101 0"#,
            ),
            (
                "GET /upgrade HTTP/1.1\r\nhost: a\r\n",
                r#"Some("GET") Some("/upgrade") 426 17"#,
            ),
        ] {
            let end = if request.contains("\r\n\r\n") {
                ""
            } else {
                "\r\n"
            };
            site.exchange(format!("{request}{end}"));
            assert_eq!(take(&told), [expected]);
        }
        site.end();
    });
}

#[test]
fn refusals_and_broken_connections_are_reported() {
    on_a_shard(|| {
        let told = Told::default();
        let site = Site::with(telling(&told, brief), answer);
        site.exchange("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(
            take(&told),
            ["error: expected a host field, got none", "None None 400 45"]
        );
        site.exchange("GET /broken HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(
            take(&told),
            [
                r#"Some("GET") Some("/broken") 200 3 cut"#,
                "error: expected a response body of 9 bytes, got 3",
            ]
        );
        // A connection without input is neither a request nor an error.
        site.exchange("");
        assert_eq!(take(&told), [""; 0]);
        site.end();
    });
}

#[test]
fn pipelined_requests_are_told_apart() {
    on_a_shard(|| {
        let told = Told::default();
        let site = Site::with(telling(&told, brief), answer);
        site.exchange(
            "GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /none HTTP/1.1\r\nhost: a\r\n\r\n\
             GET /c HTTP/1.1\r\n\r\n",
        );
        assert_eq!(
            take(&told),
            [
                r#"Some("GET") Some("/a") 200 0"#,
                r#"Some("GET") Some("/none") 204 0"#,
                "error: expected a host field, got none",
                "None None 400 45",
            ]
        );
        site.end();
    });
}

#[test]
fn access_logs() {
    on_a_shard(|| {
        let told = Told::default();
        let line = |exchange: &Exchange<'_>| {
            let common = CommonLog(exchange).to_string();
            let combined = CombinedLog(exchange).to_string();
            let fields = combined.strip_prefix(&common).unwrap();
            // The time differs from second to second.
            let (before, after) = common.split_once('[').unwrap();
            let (time, after) = after.split_once(']').unwrap();
            assert_eq!(time.len(), "06/Nov/1994:08:49:37 +0000".len());
            format!("{before}{}{fields}", after.trim_start())
        };
        let site = Site::with(telling(&told, line), answer);
        site.exchange(
            "GET /big?x=%22 HTTP/1.1\r\nhost: a\r\nUser-Agent: me \"too\"\r\n\
             referer: http://b/\r\n\r\n\
             GET / HTTP/1.0\r\n\r\n",
        );
        site.exchange("GET\r\n\r\n");
        assert_eq!(
            take(&told),
            [
                r#"127.0.0.1 - - "GET /big?x=%22 HTTP/1.1" 200 100000 "http://b/" "me \"too\"""#,
                r#"127.0.0.1 - - "GET / HTTP/1.0" 200 - "-" "-""#,
                "error: expected `method target HTTP/1.1`",
                r#"127.0.0.1 - - "-" 400 47 "-" "-""#,
            ]
        );
        site.end();
    });
}

#[test]
fn an_exchange_has_a_time_and_a_duration() {
    on_a_shard(|| {
        let begin = SystemTime::now() - Duration::from_secs(1);
        let told = Told::default();
        let line = |exchange: &Exchange<'_>| {
            assert!(exchange.duration() >= SHORT);
            assert!(exchange.time() <= SystemTime::now());
            let since = exchange.time().duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap().as_secs().to_string()
        };
        let site = Site::with(telling(&told, line), |_: &mut Request| thread::sleep(SHORT));
        site.connect().get("/");
        site.end();
        let seconds: u64 = take(&told)[0].parse().unwrap();
        assert!(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) >= begin);
    });
}

#[test]
fn a_hook_may_panic_and_may_wait() {
    collect_log();
    on_a_shard(|| {
        let site = Site::with(
            |server| {
                server.timeouts(timeouts(|_| ())).on_response(|exchange| {
                    settle();
                    assert_ne!(exchange.target(), Some("/panic"), "hook on purpose");
                })
            },
            |_: &mut Request| "told",
        );
        let mut client = site.connect();
        assert_eq!(client.get("/panic").text(), "told");
        assert_eq!(client.get("/").text(), "told");
        assert_eq!(logged("hook on purpose").len(), 1);
        site.end();
    });
}

#[test]
fn values_stay_with_their_connection() {
    on_a_shard(|| {
        let dropped = Rc::new(Cell::new(0));
        let count = dropped.clone();
        let site = Site::new(move |request: &mut Request| {
            let connection = request.connection_mut();
            let count = count.clone();
            connection.get_or_insert_with(|| OnDrop(move || count.set(count.get() + 1)));
            *connection.get_or_insert_with(|| 0_u32) += 1;
            format!("{:?}", request.connection().get::<u32>())
        });
        let (mut one, mut two) = (site.connect(), site.connect());
        assert_eq!(one.get("/").text(), "Some(1)");
        assert_eq!(one.get("/").text(), "Some(2)");
        assert_eq!(two.get("/").text(), "Some(1)");
        assert_eq!(dropped.get(), 0);
        drop(one);
        // The sources left are the listener and both ends of the other connection.
        until(|stats| stats.sources == 3);
        assert_eq!(dropped.get(), 1);
        assert_eq!(two.get("/").text(), "Some(2)");
        site.handle.drain(LONG);
        site.served.join().unwrap().unwrap();
        assert_eq!(dropped.get(), 2);
    });
}

#[test]
fn connections_have_numbers_and_names() {
    on_a_shard(|| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let ids = seen.clone();
        let site = Site::new(move |request: &mut Request| {
            ids.borrow_mut().push(request.connection().id());
            request.connection().name().to_owned()
        });
        for _ in 0..3 {
            let mut client = site.connect();
            let name = format!("http-client {}", client.stream.local_addr().unwrap());
            for _ in 0..2 {
                assert_eq!(client.get("/").text(), name);
            }
        }
        let seen = seen.take();
        assert!(seen.chunks(2).all(|ids| ids[0] == ids[1]));
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 3);
        site.end();
    });
}

#[test]
fn there_is_one_value_of_a_type() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            let connection = request.connection_mut();
            assert_eq!(connection.get::<u8>(), None);
            assert_eq!(connection.insert(1_u8), None);
            assert_eq!(connection.insert("text"), None);
            assert_eq!(connection.insert(2_u8), Some(1));
            *connection.get_mut::<u8>().unwrap() += 1;
            assert_eq!(connection.get(), Some(&3_u8));
            assert_eq!(connection.remove::<u8>(), Some(3));
            assert_eq!(connection.remove::<u8>(), None);
            assert_eq!(connection.get(), Some(&"text"));
        });
        assert_eq!(site.connect().get("/").status, 200);
        site.end();
    });
}

#[test]
fn a_body_that_fails_is_not_the_connections_fault() {
    collect_log();
    on_a_shard(|| {
        let faults = Arc::<Mutex<Vec<_>>>::default();
        let theirs = faults.clone();
        let site = Site::with(
            |server| {
                server.on_refusal(move |error, _| {
                    let cause = error.source().map(ToString::to_string);
                    theirs.lock().unwrap().push((error.is_user(), cause));
                })
            },
            |request: &mut Request| match request.path() {
                "/writer" => Body::writer(|_| Err(io::Error::other("the well is dry"))),
                _ => {
                    let directory = File::open(std::env::temp_dir()).unwrap();
                    Body::file_range(directory, 0, 9)
                }
            },
        );
        site.exchange("GET /writer HTTP/1.1\r\nhost: a\r\n\r\n");
        let told = std::mem::take(&mut *faults.lock().unwrap());
        assert_eq!(told, [(true, Some("the well is dry".to_owned()))]);
        assert_eq!(logged("the well is dry").len(), 2, "broken off, and ended");
        site.exchange("GET /file HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(matches!(faults.lock().unwrap()[..], [(true, Some(_))]));
        site.end();
    });
}

#[test]
fn answers_go_out_while_the_hook_for_an_error_waits() {
    on_a_shard(|| {
        let received = Arc::<AtomicBool>::default();
        let seen = Arc::<AtomicBool>::default();
        let (theirs, tell) = (received.clone(), seen.clone());
        let site = Site::with(
            |server| {
                server.on_refusal(move |_, _| {
                    settle();
                    tell.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
                })
            },
            answer,
        );
        let mut client = site.connect();
        client.send("GET /none HTTP/1.1\r\nhost: a\r\n\r\nGET /\r\n\r\n");
        assert_eq!(client.head().status, 204);
        received.store(true, Ordering::Relaxed);
        client.last_answer(400);
        assert!(seen.load(Ordering::Relaxed));
        site.end();
    });
}
