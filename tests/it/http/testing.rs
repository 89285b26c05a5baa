//! The test client, and requests to apps without a server.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ethreads::http::testing::Client;
use ethreads::http::{
    App, Body, Limits, Method, Request, RequestBody, Response, Result, Server, State, StatusCode,
    Version,
};
use ethreads::sync::channel;
use ethreads::{runtime, thread, time};

use crate::http::util::{LONG, SHORT, on_a_shard, settle};
use crate::support::{fresh, text};

/// A handler that waits for another ethread.
fn waits() -> App {
    App::new().get("/", || {
        let child = thread::spawn(|| {
            thread::sleep(SHORT);
            "waited"
        });
        child.join().unwrap()
    })
}

#[test]
fn outside_of_an_ethread_the_client_drives_the_shard() {
    fresh(|| {
        let client = Client::new(waits());
        assert_eq!(client.get("/").send().text(), "waited");
        assert_eq!(client.get("/").send().text(), "waited");
        // The ethreads of the connections have ended.
        settle();
        assert_eq!(runtime::stats().unwrap().ethreads, 0);
    });
}

#[test]
fn outside_of_an_ethread_a_call_drives_the_shard() {
    fresh(|| {
        let app = waits();
        for _ in 0..2 {
            let response = app.call(Request::get("/"));
            assert_eq!(response.body().as_bytes(), Some(&b"waited"[..]));
        }
    });
}

#[test]
fn a_panic_and_an_upload_outside_of_an_ethread() {
    fresh(|| {
        let app = App::new()
            .get("/", || -> () { panic!("of a handler") })
            .post("/", |request: &mut Request| {
                Body::reader(request.take_body())
            });
        let client = Client::new(app);
        assert_eq!(client.get("/").send().status(), 500);
        let sent = "0123456789".repeat(100_000);
        let upload = client.post("/").body_reader(io::Cursor::new(sent.clone()));
        assert!(upload.send().text() == sent);
    });
}

#[test]
fn a_response_is_as_on_the_wire() {
    on_a_shard(|| {
        let hello = |request: &mut Request| format!("{:?} {}", request.version(), request.path());
        let client = Client::new(App::new().get("/a", hello));
        let response = client.get("/a?b").send();
        assert_eq!(response.status(), 200);
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.header("Content-Length"), Some("11"));
        assert_eq!(response.header("connection"), None);
        assert!(response.header("date").is_some());
        assert_eq!(response.text(), "HTTP/1.1 /a");
        let response = client.head("/a").send();
        assert_eq!(response.header("content-length"), Some("11"));
        assert_eq!(response.text(), "");
        let response = client.get("/a").version(Version::HTTP_10).send();
        assert_eq!(response.text(), "HTTP/1.0 /a");
        assert_eq!(
            client.delete("/a").send().header("allow"),
            Some("GET, HEAD, OPTIONS")
        );
        let options = client.request(Method::OPTIONS, "/a").send();
        assert_eq!(options.status(), 204);
        assert_eq!(client.put("/").send().status(), 404);
        assert_eq!(client.patch("/").send().status(), 404);
    });
}

#[test]
fn the_hooks_of_the_server_have_run_when_the_body_has_arrived() {
    on_a_shard(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let server = Server::without_listener().on_response(move |exchange| {
            let line = (exchange.status().as_u16(), exchange.bytes_sent());
            log.lock().unwrap().push(line);
        });
        let app = App::new()
            .get("/known", || "known")
            .get("/stream", || Body::reader(io::Cursor::new("stream")));
        let client = Client::with_server(server, app);
        client.get("/known").send();
        assert_eq!(*lines.lock().unwrap(), [(200, 5)]);
        client.get("/nowhere").send();
        assert_eq!(client.get("/stream").send().text(), "stream");
        assert_eq!(*lines.lock().unwrap(), [(200, 5), (404, 10), (200, 6)]);
    });
}

#[test]
fn limits_apply_and_an_unread_upload_does_not_hold_the_response() {
    on_a_shard(|| {
        let app = App::new().post("/", |body: String| body.len().to_string());
        let client = Client::new(app);
        let long = "x".repeat(Limits::HEAD_BYTES);
        assert_eq!(client.get("/").header("x", long).send().status(), 431);
        let large = vec![0; 3 << 20];
        assert_eq!(client.post("/").body(large).send().status(), 413);
        let endless = client.post("/").body_reader(io::repeat(b'x'));
        assert_eq!(endless.send().status(), 413);
        let declared = client
            .post("/")
            .header("content-length", "3")
            .body_reader(&b"abc"[..]);
        assert_eq!(declared.send().text(), "3");
    });
}

#[test]
fn interim_responses_are_passed_over() {
    on_a_shard(|| {
        let client = Client::new(|body: String| body);
        let request = client.post("/").header("expect", "100-continue");
        let response = request.body("expected").send();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text(), "expected");
    });
}

#[test]
fn cookies_are_kept_for_each_client() {
    on_a_shard(|| {
        let set = |request: &mut Request| {
            let user = request.query().unwrap_or_default().to_owned();
            Response::default().with_header("set-cookie", format!("user={user}; Path=/"))
        };
        let clear = || Response::default().with_header("set-cookie", "user=; Max-Age=0; Path=/");
        let show = |request: &mut Request| request.header("cookie").unwrap_or("none").to_owned();
        let app = App::new()
            .get("/login", set)
            .get("/logout", clear)
            .get("/", show);
        let ada = Client::new(app);
        let bob = ada.another();
        ada.get("/login?ada").send();
        bob.get("/login?bob").send();
        assert_eq!(ada.get("/").send().text(), "user=ada");
        assert_eq!(bob.get("/").send().text(), "user=bob");
        assert_eq!(ada.cookie("user").as_deref(), Some("ada"));
        let own = ada.get("/").header("cookie", "a=b");
        assert_eq!(own.send().text(), "a=b");
        ada.get("/logout").send();
        assert_eq!(ada.get("/").send().text(), "none");
        bob.set_cookie("theme", "dark");
        assert_eq!(bob.get("/").send().text(), "user=bob; theme=dark");
        bob.clear_cookies();
        assert_eq!(bob.get("/").send().text(), "none");
    });
}

#[test]
fn bodies_stream_in_both_ways_at_once() {
    /// Yields what it gets, as it comes.
    struct Feed(channel::Receiver<String>);

    impl Read for Feed {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Ok(piece) = self.0.recv() else {
                return Ok(0);
            };
            buf[..piece.len()].copy_from_slice(piece.as_bytes());
            Ok(piece.len())
        }
    }

    on_a_shard(|| {
        let echo = |request: &mut Request| Body::reader(request.take_body());
        let (sender, feed) = channel::unbounded();
        let client = Client::new(echo);
        let mut response = client.post("/").body_reader(Feed(feed)).send();
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        let mut piece = [0; 16];
        for sent in ["one", "two"] {
            sender.send(sent.to_owned()).unwrap();
            let got = response.read(&mut piece).unwrap();
            assert_eq!(&piece[..got], sent.as_bytes());
        }
        drop(sender);
        assert_eq!(response.read(&mut piece).unwrap(), 0);
    });
}

#[test]
fn a_dropped_response_is_a_client_that_leaves() {
    on_a_shard(|| {
        let error = Rc::new(RefCell::new(None));
        let seen = error.clone();
        let endless = move || {
            let seen = seen.clone();
            Body::writer(move |out| {
                let failed = io::copy(&mut io::repeat(b'x'), out).unwrap_err();
                *seen.borrow_mut() = Some(failed.kind());
                Err(failed)
            })
        };
        let client = Client::new(endless);
        let response = client.get("/").send();
        settle();
        assert_eq!(*error.borrow(), None);
        drop(response);
        settle();
        assert_eq!(*error.borrow(), Some(io::ErrorKind::BrokenPipe));
    });
}

#[test]
fn a_cancelled_caller_closes_the_connection() {
    on_a_shard(|| {
        let gone = Rc::new(Cell::new(false));
        let seen = gone.clone();
        let wait = move |request: &mut Request| {
            while !request.peer_gone() {
                thread::yield_now();
            }
            seen.set(true);
        };
        let client = Client::new(wait);
        let caller = thread::spawn(move || client.get("/").send().status());
        settle();
        assert!(!gone.get());
        caller.cancel();
        assert!(caller.join().is_err());
        settle();
        assert!(gone.get());
    });
}

#[test]
fn a_deadline_ends_a_wait_for_a_response() {
    on_a_shard(|| {
        let client = Client::new(|| thread::sleep(LONG));
        let within = time::timeout_io(SHORT, || client.get("/").try_send());
        assert_eq!(within.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn without_a_response_the_error_says_why() {
    on_a_shard(|| {
        let replaced = |request: &mut Request| {
            *request = Request::get("/").build().unwrap();
        };
        let error = Client::new(replaced).get("/").try_send().unwrap_err();
        assert!(error.to_string().contains("response"), "{error}");

        let short = || Body::sized_reader(&b"abc"[..], 5);
        let error = Client::new(short).get("/").try_send().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a response body of 5 bytes, got 3"
        );

        let needs = App::new().get("/", |State(n): State<u32>| n.to_string());
        let error = Client::new(needs).get("/").try_send().unwrap_err();
        assert!(error.to_string().contains("State<u32>"), "{error}");

        let server = Server::without_listener().around_connections(|_| panic!("around"));
        let client = Client::with_server(server, || "hello");
        let panicked = thread::catch_panic(AssertUnwindSafe(|| client.get("/").send().status()));
        assert_eq!(text(&*panicked.unwrap_err()), "around");
    });
}

#[test]
fn a_reader_that_panics_breaks_its_request_off() {
    struct Panics;

    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("of a reader")
        }
    }

    fresh(|| {
        let result = ethreads::run_main(|| {
            let read = |body: RequestBody| -> Result<String> { Ok(io::read_to_string(body)?) };
            let client = Client::new(read);
            let response = client.post("/").body_reader(Panics).send();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        });
        assert!(matches!(result, Err(ethreads::RunError::Panicked { .. })));
    });
}

#[test]
fn many_requests_are_answered_at_once() {
    on_a_shard(|| {
        let (sender, receiver) = channel::unbounded::<()>();
        let app = App::new()
            .get("/wait", move || receiver.recv().unwrap())
            .get("/go", move || sender.send(()).unwrap());
        let client = Client::new(app);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| client.get("/wait").send().status());
            assert_eq!(client.get("/go").send().status(), 200);
            assert_eq!(waiting.join().unwrap(), 200);
        });
    });
}
