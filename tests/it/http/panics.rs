//! Handlers that panic or fail.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use ethreads::http::{Body, HandlerError, IntoResponse, Request, Response, Result, Taskmaster};
use ethreads::thread;
use http::StatusCode;

use crate::http::util::{Site, on_a_shard, settle};
use crate::support::{OnDrop, collect_log, logged};

#[test]
fn a_panic_is_answered_with_500_and_logged_with_the_name() {
    collect_log();
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| match request.path() {
            "/panic" => panic!("the handler at fault"),
            path => path.to_owned(),
        });
        let mut other = site.connect();
        assert_eq!(other.get("/before").text(), "/before");
        let mut client = site.connect();
        let name = format!("http-client {}", client.stream.local_addr().unwrap());
        client.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.last_answer(500);
        assert!(!answer.text().contains("fault"));
        // Other connections are not affected.
        assert_eq!(other.get("/after").text(), "/after");
        site.end();
        let lines = logged(&name);
        assert!(
            lines
                .iter()
                .any(|line| line.contains("the handler at fault")),
            "{lines:?}"
        );
    });
}

#[test]
fn a_panic_comes_after_the_answers_before_it() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| {
            assert_ne!(request.path(), "/panic");
            request.path().to_owned()
        });
        let mut client = site.connect();
        let get = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.send(get("/1") + &get("/panic") + &get("/2"));
        assert_eq!(client.answer().text(), "/1");
        client.last_answer(500);
        site.end();
    });
}

#[test]
fn a_panic_with_a_body_unread_or_half_read() {
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> String {
            if request.path() == "/half" {
                let _ = io::Read::read(&mut request.body(), &mut [0; 3]);
            }
            panic!("on purpose")
        });
        for path in ["/none", "/half"] {
            let mut client = site.connect();
            client.send(format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234"
            ));
            settle();
            client.send("56789");
            client.last_answer(500);
        }
        site.end();
    });
}

/// Panics when it is converted into a response.
struct Explosive;

impl IntoResponse for Explosive {
    fn into_response(self) -> Response {
        panic!("in the conversion")
    }
}

#[test]
fn the_conversion_into_a_response_may_panic() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| Explosive);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.last_answer(500);
        site.end();
    });
}

#[test]
fn destructors_of_the_handler_run() {
    on_a_shard(|| {
        let dropped = Rc::new(Cell::new(0));
        let count = dropped.clone();
        let site = Site::new(move |_: &mut Request| -> &'static str {
            let count = count.clone();
            let _guard = OnDrop(move || count.set(count.get() + 1));
            panic!("on purpose")
        });
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.last_answer(500);
        assert_eq!(dropped.get(), 1);
        site.end();
    });
}

#[derive(Debug)]
struct Secret;

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the password of the vault")
    }
}

impl Error for Secret {}

#[test]
fn errors_are_answered_with_500_and_not_shown() {
    collect_log();
    on_a_shard(|| {
        let site = Site::new(|request: &mut Request| -> Result<String> {
            match request.path() {
                "/io" => Err(io::Error::other(Secret))?,
                "/own" => Err(Secret)?,
                "/status" => Err(HandlerError::status(StatusCode::CONFLICT, "taken")),
                _ => Ok("fine".to_owned()),
            }
        });
        let mut client = site.connect();
        for path in ["/io", "/own"] {
            let answer = client.get(path);
            assert_eq!(
                (answer.status, answer.text()),
                (500, "Internal Server Error")
            );
        }
        let answer = client.get("/status");
        assert_eq!((answer.status, answer.text()), (409, "taken"));
        // The connection has stayed open all the while.
        assert_eq!(client.get("/").text(), "fine");
        site.end();
        let lines = logged("the password of the vault");
        assert!(
            lines.iter().all(|line| line.starts_with("ERROR")),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 2);
    });
}

#[test]
fn a_thousand_panics_leave_nothing_behind() {
    on_a_shard(|| {
        let site = Site::new(|_: &mut Request| -> &'static str {
            std::panic::resume_unwind(Box::new("without a message"))
        });
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let addr = site.addr;
                thread::spawn(move || {
                    for _ in 0..100 {
                        let mut client = crate::http::util::Client::new(addr);
                        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                        client.last_answer(500);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        site.end();
    });
}

/// A body whose destructor panics.
struct Bomb;

impl Read for Bomb {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor at fault");
    }
}

#[test]
fn a_destructor_that_panics_costs_its_connection_alone() {
    collect_log();
    for (n, taskmaster) in [Taskmaster::single_threaded(), Taskmaster::per_connection()]
        .into_iter()
        .enumerate()
    {
        on_a_shard(move || {
            let site = Site::with(
                |server| server.taskmaster(taskmaster),
                |request: &mut Request| match request.path() {
                    "/bomb" => Body::reader(Bomb).into_response(),
                    path => path.to_owned().into_response(),
                },
            );
            // The answer to HEAD does not use the body.
            site.exchange("HEAD /bomb HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(logged("a destructor at fault").len(), n + 1);
            assert_eq!(site.connect().get("/alive").text(), "/alive");
            site.end();
        });
    }
}

#[test]
fn a_name_that_cannot_be_made_does_no_harm() {
    collect_log();
    on_a_shard(|| {
        let site = Site::with(
            |server| server.client_name(|_| panic!("nameless on purpose")),
            |_: &mut Request| thread::current().name().unwrap_or_default().to_owned(),
        );
        let mut client = site.connect();
        let name = format!("http-client {}", client.stream.local_addr().unwrap());
        assert_eq!(client.get("/").text(), name);
        assert_eq!(logged("nameless on purpose").len(), 1);
        drop(client);
        site.end();
    });
}
