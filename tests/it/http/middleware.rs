//! Ready-made plugins of a served app.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ethreads::http::middleware::{health, rate_limit, request_id, timeout};
use ethreads::http::{App, Body, JsonLog, Path, Request, Server, StatusCode};
use ethreads::sync::channel;
use ethreads::thread;
use serde_json::Value;

use crate::http::util::{LONG, SHORT, Site, on_a_shard, settle, timeouts};

#[test]
fn readiness_ends_with_the_drain() {
    on_a_shard(|| {
        let site = Site::new(App::new().apply(health()));
        let mut client = site.connect();
        assert_eq!(client.get("/readyz").text(), "ready\n");
        // A request that is on its way keeps the connection.
        client.send("GET /readyz HTTP/1.1\r\n");
        settle();
        site.handle.drain(LONG);
        settle();
        client.send("host: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.text()),
            (503, "not ready: draining\n")
        );
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_check_sees_the_drain_that_begins_meanwhile() {
    on_a_shard(|| {
        let (called, calls) = channel::unbounded();
        let (go_on, goes_on) = channel::unbounded::<()>();
        let probes = health().check("slow", move || {
            called.send(())?;
            goes_on.recv()?;
            Ok(())
        });
        let site = Site::new(App::new().apply(probes));
        let mut client = site.connect();
        client.send("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n");
        calls.recv().unwrap();
        site.handle.drain(LONG);
        settle();
        go_on.send(()).unwrap();
        assert_eq!(client.answer().text(), "not ready: draining\n");
        site.served.join().unwrap().unwrap();
    });
}

#[test]
fn a_handler_sees_the_drain() {
    on_a_shard(|| {
        let seen = Rc::<RefCell<Vec<bool>>>::default();
        let told = seen.clone();
        let (go_on, goes_on) = channel::unbounded::<()>();
        let site = Site::new(App::new().get("/", move |request: &mut Request| {
            told.borrow_mut().push(request.draining().has_begun());
            goes_on.recv().unwrap();
            told.borrow_mut().push(request.draining().has_begun());
        }));
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        settle();
        assert_eq!(*seen.borrow(), [false]);
        site.handle.drain(LONG);
        settle();
        go_on.send(()).unwrap();
        assert_eq!(client.answer().status, 200);
        site.served.join().unwrap().unwrap();
        assert_eq!(*seen.borrow(), [false, true]);
    });
}

#[test]
fn a_late_answer_is_a_503_that_closes() {
    on_a_shard(|| {
        let app = App::new()
            .get("/slow", || thread::sleep(LONG))
            .post("/read", |body: String| body)
            .get("/stream", || {
                Body::writer(|out| {
                    thread::sleep(3 * SHORT);
                    out.write_all(b"late")
                })
            })
            .apply(request_id())
            .apply(timeout(SHORT));
        let site = Site::new(app);
        let mut client = site.connect();
        // What a body takes does not count.
        assert_eq!(client.get("/stream").text(), "late");
        let answer = client.get("/slow");
        assert_eq!(
            (answer.status, answer.text()),
            (503, "the request took longer than 20ms\n")
        );
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(client.rest(), "");
        let mut client = site.connect();
        client.send("POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab");
        assert_eq!(client.answer().status, 503);
        drop(client);
        site.end();
    });
}

#[test]
fn clients_are_limited_by_their_addresses() {
    on_a_shard(|| {
        let app = App::new().get("/", || "hello").apply(rate_limit(2, LONG));
        let site = Site::new(app);
        let statuses = |host| {
            let mut client = crate::http::util::Client::from_host(site.addr, host);
            [(); 3].map(|()| client.get("/").status)
        };
        assert_eq!(statuses(2), [200, 200, 429]);
        assert_eq!(statuses(3), [200, 200, 429]);
        // A new connection does not help.
        assert_eq!(statuses(2), [429, 429, 429]);
        site.end();
    });
}

#[test]
fn each_exchange_is_a_line_of_json() {
    on_a_shard(|| {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let log = lines.clone();
        let configure = move |server: Server| {
            server
                .timeouts(timeouts(|_| ()))
                .on_response(move |exchange| {
                    log.lock().unwrap().push(JsonLog(exchange).to_string())
                })
        };
        let app = App::new()
            .get("/users/{id}", |Path(id): Path<u32>| {
                Body::writer(move |out| {
                    out.write_all(b"abc")?;
                    out.flush()?;
                    match id {
                        7 => Ok(()),
                        _ => Err(std::io::Error::other("cut")),
                    }
                })
            })
            .apply(request_id());
        let site = Site::with(configure, app);
        let mut client = site.connect();
        client.send(
            "GET /users/7?a=b HTTP/1.1\r\nhost: a\r\nuser-agent: \"x\\\u{e4}\r\n\
             referer: http://b/\r\nx-request-id: r-1\r\n\r\n",
        );
        assert_eq!(client.answer().text(), "abc");
        drop(client);
        site.exchange("GET /users/8 HTTP/1.0\r\n\r\n");
        site.exchange("GET /none HTTP/1.1\r\nhost: a\r\nx-request-id: r 2\r\n\r\n");
        site.exchange("nonsense\r\n\r\n");
        site.end();
        let lines = lines.lock().unwrap();
        assert!(lines.iter().all(|line| !line.contains('\n')));
        let start = r#"{"time":""#;
        assert!(lines[0].starts_with(start), "{}", lines[0]);
        let logged: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let text = |n: usize, name: &str| logged[n][name].as_str().map(str::to_owned);
        let first = [
            "peer",
            "method",
            "target",
            "route",
            "version",
            "request_id",
            "user_agent",
        ];
        assert_eq!(
            first.map(|name| text(0, name).unwrap_or_default()),
            [
                "127.0.0.1",
                "GET",
                "/users/7?a=b",
                "/users/{id}",
                "HTTP/1.1",
                "r-1",
                "\"x\\ä"
            ]
        );
        assert_eq!(text(0, "referer").as_deref(), Some("http://b/"));
        assert_eq!(logged[0]["status"], 200);
        assert_eq!(logged[0]["bytes"], 3);
        assert_eq!(logged[0]["complete"], true);
        assert!(logged[0]["duration_us"].is_u64());
        assert_eq!(text(0, "time").unwrap().len(), "2000-10-10T13:55:36Z".len());

        assert_eq!(text(1, "version").as_deref(), Some("HTTP/1.0"));
        assert_eq!(logged[1]["complete"], false);
        assert_eq!(logged[1]["user_agent"], Value::Null);
        assert_eq!(logged[2]["status"], 404);
        assert_eq!(logged[2]["route"], Value::Null);
        assert_ne!(text(2, "request_id").as_deref(), Some("r 2"));
        assert_eq!(logged[3]["status"], 400);
        assert_eq!(logged[3]["method"], Value::Null);
        assert_eq!(logged.len(), 4);
    });
}

#[test]
fn limits_of_time_leave_the_shard_in_order() {
    on_a_shard(|| {
        let app = App::new()
            .get("/slow", || thread::sleep(LONG))
            .get("/", || StatusCode::NO_CONTENT)
            .apply(timeout(Duration::from_millis(1)));
        let site = Site::new(app);
        for _ in 0..20 {
            assert!(
                site.exchange("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
                    .contains(" 503 ")
            );
            assert!(
                site.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                    .contains(" 204 ")
            );
        }
        assert_eq!(ethreads::runtime::stats().unwrap().scopes, 0);
        site.end();
    });
}
