//! Apps that are served: what their routes, middleware and errors look like to a client.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ethreads::http::{
    App, Body, HandlerError, IntoResponse, Json, Method, Path, Request, Response, Server, State,
    Taskmaster, error_pages,
};
use ethreads::{Runtime, thread};
use http::StatusCode;

use crate::http::util::{Client, LONG, Site, on_a_shard, settle, timeouts};
use crate::support::{OnDrop, collect_log, logged};

/// A whole exchange on a connection that stays open; the response must have no body.
#[track_caller]
fn without_body(client: &mut Client, request: &str) -> (u16, String) {
    client.send(format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n"));
    let answer = client.head();
    (
        answer.status,
        answer.header("allow").unwrap_or_default().to_owned(),
    )
}

#[test]
fn methods_are_answered_by_their_rules() {
    on_a_shard(|| {
        let app = App::new()
            .get("/a", || "four")
            .post("/a", |body: String| body)
            .get("/stream", || Body::writer(|out| out.write_all(b"abc")))
            .get("/status", || StatusCode::NO_CONTENT);
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/a").text(), "four");
        client.send("HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head();
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("4"))
        );
        client.send("HEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().status, 200);
        client.send("HEAD /none HTTP/1.1\r\nhost: a\r\n\r\n");
        let head = client.head();
        assert_eq!(
            (head.status, head.header("content-length")),
            (404, Some("10"))
        );
        let allow = "GET, POST, HEAD, OPTIONS".to_owned();
        assert_eq!(
            without_body(&mut client, "OPTIONS /a"),
            (204, allow.clone())
        );
        assert_eq!(without_body(&mut client, "OPTIONS *"), (204, allow.clone()));
        client.send("DELETE /a HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.header("allow"), answer.text()),
            (405, Some(&*allow), "method not allowed\n")
        );
        client.send("BREW /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.answer().status, 501);
        assert_eq!(client.get("/none").status, 404);
        // The connection has stayed open all the while.
        assert_eq!(client.get("/a").text(), "four");
        drop(client);
        site.end();
    });
}

#[test]
fn targets_of_all_forms_reach_their_routes() {
    on_a_shard(|| {
        let app = App::new()
            .get("/{x}", |Path(x): Path<String>| x)
            .host("b.example", App::new().get("/", || "b"));
        let site = Site::new(app);
        for (head, expected) in [
            ("GET /a%2Fb HTTP/1.1\r\nhost: a\r\n", "a/b"),
            ("GET http://a/x?y HTTP/1.1\r\nhost: ignored\r\n", "x"),
            ("GET http://B.EXAMPLE:8080 HTTP/1.1\r\nhost: a\r\n", "b"),
            ("GET / HTTP/1.1\r\nhost: b.example\r\n", "b"),
            ("GET /old HTTP/1.0\r\n", "old"),
        ] {
            let answer = site.exchange(format!("{head}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{head}: {answer}");
            assert!(
                answer.ends_with(&format!("\r\n\r\n{expected}")),
                "{head}: {answer}"
            );
        }
        let answer = site.exchange("GET / HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        site.end();
    });
}

#[test]
fn refusals_of_the_protocol_are_rendered_by_the_app() {
    on_a_shard(|| {
        let seen = Rc::<RefCell<Vec<bool>>>::default();
        let has_request = seen.clone();
        let app = App::new()
            .get("/", || "fine")
            .on_error(move |error, request| {
                has_request.borrow_mut().push(request.is_some());
                error_pages::problem_json(error, request)
            });
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/").text(), "fine");
        assert_eq!(client.get("/none").status, 404);
        client.send("GET nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.last_answer(400);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert!(
            answer
                .text()
                .starts_with(r#"{"title":"Bad Request","status":400,"#)
        );
        assert_eq!(*seen.borrow(), [true, false]);
        site.end();
    });
}

#[test]
fn a_panic_is_rendered_within_the_middleware_and_closes() {
    on_a_shard(|| {
        let statuses = Rc::<RefCell<Vec<u16>>>::default();
        let seen = statuses.clone();
        let app = App::new()
            .get("/panic", || -> String { panic!("on purpose") })
            .get("/", || "fine")
            .on_error(error_pages::problem_json)
            .around(move |request, next| {
                let response = next.run(request);
                seen.borrow_mut().push(response.status().as_u16());
                response
            })
            .around(|request, next| match request.path() {
                "/around" => panic!("middleware on purpose"),
                _ => next.run(request),
            });
        let site = Site::new(app);
        let mut client = site.connect();
        client.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.last_answer(500);
        assert_eq!(
            answer.text(),
            r#"{"title":"Internal Server Error","status":500}"#
        );
        let mut client = site.connect();
        client.send("GET /around HTTP/1.1\r\nhost: a\r\n\r\n");
        client.last_answer(500);
        assert_eq!(site.connect().get("/").text(), "fine");
        assert_eq!(*statuses.borrow(), [500, 200]);
        site.end();
    });
}

#[test]
fn a_held_guard_lasts_until_the_end_of_a_streamed_body() {
    on_a_shard(|| {
        let log = Rc::<RefCell<Vec<&str>>>::default();
        let (in_body, in_guard, in_around) = (log.clone(), log.clone(), log.clone());
        let app = App::new()
            .get("/", move || {
                let log = in_body.clone();
                Body::writer(move |out| {
                    for _ in 0..3 {
                        out.write_all(&[b'x'; 100_000])?;
                        log.borrow_mut().push("piece");
                        thread::yield_now();
                    }
                    Ok(())
                })
            })
            .around(move |request, next| {
                let log = in_guard.clone();
                let guard = OnDrop(move || log.borrow_mut().push("guard"));
                let response = next.run(request).hold(guard);
                in_around.borrow_mut().push("around");
                response
            });
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/").body.len(), 300_000);
        settle();
        let all = ["around", "piece", "piece", "piece", "guard"];
        assert_eq!(*log.borrow(), all);
        // A client that leaves ends the guard, too.
        log.borrow_mut().clear();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        drop(client);
        site.end();
        assert_eq!(log.borrow().last(), Some(&"guard"));
    });
}

#[test]
fn a_rewrite_lasts_for_one_request() {
    on_a_shard(|| {
        let app = App::new()
            .get("/new", |request: &mut Request| request.target().to_owned())
            .post("/new", |body: String| body)
            .get("/plain", || "plain")
            .around(|request, next| {
                if request.path() == "/old" {
                    request.set_target("/new?a").unwrap();
                    if request.header("x-method").is_some() {
                        request.set_method(Method::POST).unwrap();
                    }
                }
                next.run(request)
            });
        let site = Site::new(app);
        let mut client = site.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/old").text(), "/new?a");
            assert_eq!(client.get("/plain").text(), "plain");
            client.send(
                "GET /old HTTP/1.1\r\nhost: a\r\nx-method: 1\r\ncontent-length: 3\r\n\r\nabc",
            );
            assert_eq!(client.answer().text(), "abc");
            client.send("HEAD /old HTTP/1.1\r\nhost: a\r\nx-method: 1\r\n\r\n");
            assert_eq!(client.head().status, 200);
        }
        drop(client);
        site.end();
    });
}

#[test]
fn a_refused_body_leaves_the_connection_in_step() {
    on_a_shard(|| {
        let app = App::new()
            .body_limit(4)
            .post("/", |body: String| body)
            .post("/json", |Json(n): Json<u8>| n.to_string());
        let site = Site::new(app);
        let mut client = site.connect();
        let post = |path: &str, body: &str| {
            let length = body.len();
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
        };
        for _ in 0..2 {
            client.send(post("/", "12345"));
            assert_eq!(client.answer().status, 413);
            client.send(post("/json", "1234"));
            assert_eq!(client.answer().status, 415);
            client.send(post("/none", "GET /x HTTP/1.1\r\n\r\n"));
            assert_eq!(client.answer().status, 404);
            client.send(post("/", "1234"));
            assert_eq!(client.answer().text(), "1234");
            client.send(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\n12345\r\n0\r\n\r\n",
            );
            assert_eq!(client.answer().status, 413);
        }
        // Too much to be read for nothing.
        client.send(post("/", "").replace("length: 0", "length: 1000000"));
        client.last_answer(413);
        site.end();
    });
}

#[test]
fn deep_json_does_not_overflow_the_stack_of_a_connection() {
    on_a_shard(|| {
        let app = App::new().post("/", |Json(_): Json<serde_json::Value>| "parsed");
        let site = Site::new(app);
        let mut client = site.connect();
        for (depth, status) in [(120, 200), (10_000, 400)] {
            let body = "[{\"a\":".repeat(depth / 2) + "1" + &"}]".repeat(depth / 2);
            client.send(format!(
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert_eq!(client.answer().status, status, "{depth}");
        }
        drop(client);
        site.end();
    });
}

/// An error whose text is code of the program that panics.
#[derive(Debug)]
struct Explosive;

impl fmt::Display for Explosive {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("text of an error on purpose")
    }
}

impl Error for Explosive {}

#[test]
fn an_error_whose_text_panics_is_answered_with_500() {
    collect_log();
    on_a_shard(|| {
        let fail = || Err::<(), HandlerError>(Explosive.into());
        let statuses = Rc::<RefCell<Vec<u16>>>::default();
        let seen = statuses.clone();
        let app = App::new().get("/", fail).around(move |request, next| {
            let response = next.run(request);
            seen.borrow_mut().push(response.status().as_u16());
            response
        });
        let site = Site::new(app);
        assert_eq!(site.connect().get("/").status, 500);
        assert_eq!(*statuses.borrow(), [500]);
        site.end();
        let site = Site::new(fail);
        assert_eq!(site.connect().get("/").status, 500);
        site.end();
        assert!(logged("text of an error on purpose").len() >= 2);
    });
}

#[test]
fn values_whose_destructor_panics_do_not_cost_the_answer() {
    for taskmaster in [Taskmaster::single_threaded(), Taskmaster::per_connection()] {
        on_a_shard(move || {
            let app = App::new()
                .get("/insert", |request: &mut Request| {
                    request.insert(OnDrop(|| panic!("value on purpose")));
                    "inserted"
                })
                .get("/hold", || {
                    "held"
                        .into_response()
                        .hold(OnDrop(|| panic!("guard on purpose")))
                })
                .get("/", || "fine");
            let site = Site::with(|server| server.taskmaster(taskmaster), app);
            for (path, expected) in [("/insert", "inserted"), ("/hold", "held")] {
                let mut client = site.connect();
                assert_eq!(client.get(path).text(), expected);
            }
            assert_eq!(site.connect().get("/").text(), "fine");
            site.end();
        });
    }
}

#[test]
fn values_of_a_request_end_with_its_answer() {
    on_a_shard(|| {
        let alive = Rc::new(());
        let given = alive.clone();
        let app = App::new().any("/{*path}", move |request: &mut Request| -> String {
            assert!(request.insert(given.clone()).is_none());
            match request.path() {
                "/panic" => panic!("on purpose"),
                path => path.to_owned(),
            }
        });
        let site = Site::new(app);
        let mut client = site.connect();
        for _ in 0..2 {
            assert_eq!(client.get("/a").text(), "/a");
        }
        client.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n");
        client.last_answer(500);
        settle();
        assert_eq!(Rc::strong_count(&alive), 2, "the app has one");
        site.end();
        assert_eq!(Rc::strong_count(&alive), 1);
    });
}

#[test]
fn a_replaced_request_ends_its_connection_alone() {
    on_a_shard(|| {
        let kept = Rc::<RefCell<Option<Request>>>::default();
        let keep = kept.clone();
        let app = App::new()
            .get("/steal", move |request: &mut Request| {
                let other = Request::get("/").build().unwrap();
                *keep.borrow_mut() = Some(std::mem::replace(request, other));
                "stolen"
            })
            .get("/", || "fine");
        let site = Site::new(app);
        let mut client = site.connect();
        client.send("GET /steal HTTP/1.1\r\nhost: a\r\n\r\n");
        client.end();
        assert_eq!(site.connect().get("/").text(), "fine");
        site.end();
        let request = kept.borrow_mut().take().unwrap();
        assert_eq!(
            (request.path(), request.route()),
            ("/steal", Some("/steal"))
        );
    });
}

#[test]
fn each_shard_has_an_app_of_its_own() {
    on_a_shard(|| {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let server = Server::bind("127.0.0.1:0")
            .unwrap()
            .timeouts(timeouts(|_| ()));
        let server = server.on_shards(Runtime::builder().shards(2)).unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let served = thread::spawn(move || {
            server.serve_each(move |shard| {
                count.fetch_add(1, Ordering::Relaxed);
                App::new()
                    .with(Cell::new(0_u32))
                    .get("/", move |State(hits): State<Cell<u32>>| {
                        hits.set(hits.get() + 1);
                        format!("{shard}:{}", hits.get())
                    })
            })
        });
        // Connections are handed to the shards in turn.
        let mut seen: Vec<String> = (0..4)
            .map(|_| Client::new(addr).get("/").text().to_owned())
            .collect();
        seen.sort();
        assert_eq!(seen, ["0:1", "0:2", "1:1", "1:2"]);
        assert_eq!(made.load(Ordering::Relaxed), 2);
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

#[test]
fn serving_fails_if_an_app_of_a_shard_cannot_be_made() {
    on_a_shard(|| {
        for way in 0..3 {
            let server = Server::bind("127.0.0.1:0").unwrap();
            let server = server.on_shards(Runtime::builder().shards(2)).unwrap();
            let served = server.serve_each(move |shard| -> io::Result<App> {
                match (shard, way) {
                    (1, 0) => Err(io::Error::new(io::ErrorKind::NotFound, "no database")),
                    (1, 1) => panic!("factory on purpose"),
                    (1, _) => Ok(App::new().get("/", |State(_): State<u64>| "")),
                    _ => Ok(App::new().get("/", || "")),
                }
            });
            let text = served.unwrap_err().to_string();
            let part = [
                "no database",
                "factory on purpose",
                "GET / needs `State<u64>`",
            ][way];
            assert!(text.contains(part), "{text}");
        }
    });
}

#[test]
fn missing_state_fails_before_the_server_accepts() {
    on_a_shard(|| {
        let server = Server::bind("127.0.0.1:0")
            .unwrap()
            .timeouts(timeouts(|_| ()));
        let addr = server.local_addr().unwrap();
        // Waits in the backlog while the first attempt fails.
        let mut client = Client::with_input(addr, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let app = || App::new().get("/", |State(n): State<u64>| n.to_string());
        let error = server.serve(app()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(
            error.to_string().starts_with("GET / needs `State<u64>`"),
            "{error}"
        );
        let error = server.serve(App::new().any("/{*all}", app())).unwrap_err();
        assert!(
            error.to_string().starts_with("GET / needs `State<u64>`"),
            "{error}"
        );
        let handle = server.handle();
        let served = thread::spawn(move || server.serve(app().with(7_u64)));
        assert_eq!(client.answer().text(), "7");
        drop(client);
        handle.drain(LONG);
        served.join().unwrap().unwrap();
    });
}

/// A response that cannot be made.
struct Unmade;

impl IntoResponse for Unmade {
    fn into_response(self) -> Response {
        panic!("in the conversion")
    }
}

#[test]
fn a_renderer_that_panics_leaves_the_plain_text() {
    on_a_shard(|| {
        let app = App::new().on_error(|_, _| Unmade);
        let site = Site::new(app);
        let mut client = site.connect();
        assert_eq!(client.get("/none").text(), "not found\n");
        client.send("nonsense\r\n\r\n");
        client.last_answer(400);
        site.end();
    });
}
