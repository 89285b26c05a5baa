//! Services of tower in an app: a router of axum without its feature `tokio`, with and without a
//! runtime of tokio around its polls.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as AxumBody;
use axum::extract::{Extension, Form, Json, Path, Query, Request as AxumRequest};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, middleware};
use bytes::Bytes;
use ethreads::http::testing::Client;
use ethreads::http::{App, Request, Server, ServiceBody, ServiceExt};
use ethreads::net::TcpStream;
use ethreads::sync::channel;
use ethreads::thread;
use http_body::{Body, Frame};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Item {
    name: String,
    count: u32,
}

fn nail() -> Item {
    Item {
        name: "nail".into(),
        count: 7,
    }
}

/// A body that fails after its first piece.
struct Failing(bool);

impl Body for Failing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(match std::mem::replace(&mut self.0, true) {
            false => Ok(Frame::data(Bytes::from_static(b"begun"))),
            true => Err(io::Error::other("broken")),
        }))
    }
}

async fn tagged(request: AxumRequest, next: middleware::Next) -> axum::response::Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert("x-tag", http::HeaderValue::from_static("axum"));
    response
}

fn router() -> Router {
    Router::new()
        .route("/", get("root"))
        .route("/uri", get(async |uri: Uri| uri.to_string()))
        .route(
            "/items/{id}",
            get(async |Path(id): Path<u32>| format!("item {id}")),
        )
        .route("/query", get(async |Query(item): Query<Item>| Json(item)))
        .route("/json", post(async |Json(item): Json<Item>| Json(item)))
        .route("/form", post(async |Form(item): Form<Item>| Json(item)))
        .route("/fixed", get(async || Json(nail())))
        .route("/text", post(async |text: String| text.len().to_string()))
        .route(
            "/echo",
            post(async |request: AxumRequest| axum::response::Response::new(request.into_body())),
        )
        .route(
            "/status",
            get(async || (StatusCode::IM_A_TEAPOT, "short and stout")),
        )
        .route("/fails", get(async || AxumBody::new(Failing(false))))
        .route("/panics", get(async || -> () { panic!("in a service") }))
        .route(
            "/peer",
            get(
                async |Extension(peer): Extension<SocketAddr>, headers: HeaderMap| {
                    format!(
                        "{} {}",
                        peer.ip(),
                        headers["host"].to_str().expect("a host is text")
                    )
                },
            ),
        )
        .fallback(async |uri: Uri| (StatusCode::NOT_FOUND, format!("axum has no {uri}")))
        .layer(middleware::from_fn(tagged))
}

fn client() -> Client {
    Client::new(App::new().get("/", || "app").nest_service("/api", router()))
}

#[test]
fn the_routes_of_the_service_answer_below_the_prefix() {
    let client = client();
    let get = |path: &str| client.get(path).send().text();
    assert_eq!(get("/"), "app");
    assert_eq!(get("/api"), "root");
    assert_eq!(get("/api/"), "root");
    assert_eq!(get("/api/uri?a=b%20c"), "/uri?a=b%20c");
    assert_eq!(get("/api/items/7"), "item 7");
    let response = client.get("/api/items/x").send();
    assert_eq!(response.status(), 400);
    let nail = nail();
    let response = client.get("/api/query?name=nail&count=7").send();
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("x-tag"), Some("axum"));
    assert_eq!(response.header("content-length"), Some("25"));
    assert_eq!(response.json::<Item>(), nail);
    assert_eq!(
        client.post("/api/json").json(&nail).send().json::<Item>(),
        nail
    );
    assert_eq!(
        client.post("/api/form").form(&nail).send().json::<Item>(),
        nail
    );
    assert_eq!(client.get("/api/fixed").send().json::<Item>(), nail);
}

#[test]
fn statuses_and_misses_are_those_of_the_service() {
    let client = client();
    let response = client.get("/api/status").send();
    assert_eq!(response.status(), 418);
    assert_eq!(response.text(), "short and stout");
    let response = client.get("/api/nowhere/at/all").send();
    assert_eq!(response.status(), 404);
    assert_eq!(response.text(), "axum has no /nowhere/at/all");
    let response = client.get("/apis").send();
    assert_eq!(response.status(), 404);
    assert_eq!(response.text(), "not found\n");
    let response = client.delete("/api/json").send();
    assert_eq!(response.status(), 405);
    assert_eq!(response.header("allow"), Some("POST"));
    let response = client.head("/api/status").send();
    assert_eq!(response.status(), 418);
    assert_eq!(response.header("content-length"), Some("15"));
    assert_eq!(client.get("/api/panics").send().status(), 500);
    assert_eq!(client.get("/api/uri").send().status(), 200);
}

#[test]
fn a_prefix_may_have_parameters_or_be_the_root() {
    let app = App::new().nest_service("/tenants/{tenant}/api", router());
    let client = Client::new(app);
    assert_eq!(client.get("/tenants/a%2Fb/api/uri").send().text(), "/uri");
    assert_eq!(client.get("/tenants/a/uri").send().status(), 404);
    let app = App::new()
        .nest_service("/", router())
        .get("/own/{id}", || "own");
    let client = Client::new(app);
    assert_eq!(client.get("/").send().text(), "root");
    assert_eq!(client.get("/items/3").send().text(), "item 3");
    assert_eq!(client.get("/own/1").send().text(), "own");
}

#[test]
fn bodies_of_any_length_pass() {
    let client = client();
    for len in [1, 5_000, 100_000, 1_500_000] {
        let text = "x".repeat(len);
        let known = client.post("/api/text").body(text.clone()).send();
        assert_eq!(known.text(), len.to_string());
        let reader = io::Cursor::new(text.clone());
        let echo = client.post("/api/echo").body_reader(reader).send();
        assert!(echo.text() == text);
        let echo = client.post("/api/echo").body(text.clone()).send();
        assert_eq!(echo.header("content-length"), Some(&*len.to_string()));
        assert!(echo.text() == text);
    }
    assert_eq!(client.post("/api/echo").send().text(), "");
    // axum's own limit.
    let long = "x".repeat(3 << 20);
    assert_eq!(client.post("/api/text").body(long).send().status(), 413);
}

/// Yields what it gets, as it comes.
struct Feed(channel::Receiver<&'static str>);

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.recv().unwrap_or_default();
        buf[..piece.len()].copy_from_slice(piece.as_bytes());
        Ok(piece.len())
    }
}

#[test]
fn bodies_stream_in_both_ways_at_once() {
    ethreads::run_main(|| {
        let (sender, feed) = channel::unbounded();
        let client = client();
        let mut response = client.post("/api/echo").body_reader(Feed(feed)).send();
        let mut piece = [0; 16];
        for sent in ["one", "two", "three"] {
            sender.send(sent).unwrap();
            let got = response.read(&mut piece).unwrap();
            assert_eq!(&piece[..got], sent.as_bytes());
        }
        drop(sender);
        assert_eq!(response.read(&mut piece).unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_body_that_fails_breaks_the_response_off() {
    let mut response = client().get("/api/fails").send();
    let mut text = String::new();
    response.read_to_string(&mut text).unwrap_err();
    assert_eq!(text, "begun");
}

#[test]
fn over_a_socket_the_service_sees_the_peer() {
    ethreads::run_main(|| {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let served = thread::spawn(move || server.serve(App::new().nest_service("/api", router())));
        let mut stream = TcpStream::connect(addr).unwrap();
        let request = "GET /api/peer HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\n127.0.0.1 here"), "{answer}");
        handle.drain(Duration::from_secs(60));
        served.join().unwrap().unwrap();
    })
    .unwrap();
}

/// A service that is not a router: it waits until it is ready, and fails where it is told to.
#[derive(Clone)]
struct Plain {
    is_ready: Rc<Cell<bool>>,
}

impl tower_service::Service<http::Request<ServiceBody>> for Plain {
    type Response = http::Response<Failing>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<http::Response<Failing>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ready.replace(true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<ServiceBody>) -> Self::Future {
        assert!(self.is_ready.get());
        std::future::ready(Err(io::Error::other("out of order")))
    }
}

#[test]
fn an_error_of_the_service_is_rendered_as_that_of_a_handler() {
    let is_ready = Rc::new(Cell::new(false));
    let app = App::new()
        .nest_service(
            "/",
            Plain {
                is_ready: is_ready.clone(),
            },
        )
        .on_error(|error, _: Option<&Request>| {
            (
                error.status_code(),
                format!("rendered {}", error.status_code().as_u16()),
            )
        });
    let response = Client::new(app).get("/").send();
    assert!(is_ready.get());
    assert_eq!(response.status(), 500);
    assert_eq!(response.text(), "rendered 500");
}

/// A router that needs a runtime: timers, tasks, and a body that another OS thread reads.
fn needs_tokio() -> Router {
    Router::new()
        .route(
            "/sleep",
            get(async || {
                tokio::time::sleep(Duration::from_millis(1)).await;
                "slept"
            }),
        )
        .route(
            "/spawn",
            post(async |body: AxumBody| {
                let read = tokio::spawn(axum::body::to_bytes(body, usize::MAX));
                let text = read.await.expect("no panic").expect("a whole body");
                text.len().to_string()
            }),
        )
        .route("/stream", get(async || AxumBody::new(Ticks::default())))
}

/// A body that waits for a timer before each of its three pieces.
#[derive(Default)]
struct Ticks {
    sent: u32,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Ticks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == 3 {
            return Poll::Ready(None);
        }
        let pause = Duration::from_millis(1);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(timer.as_mut().poll(context));
        self.timer = None;
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick ")))))
    }
}

#[test]
fn a_service_that_needs_tokio_gets_it_around_its_polls() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let app = App::new()
        .nest_service("/tokio", needs_tokio().tokio(handle))
        .get("/outside", || {
            tokio::runtime::Handle::try_current().is_err().to_string()
        });
    ethreads::run_main(move || {
        let client = Client::new(app);
        // Requests that wait at the same time on this OS thread, in and out of the runtime.
        thread::scope(|scope| {
            let waits: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| client.get("/tokio/sleep").send().text()))
                .collect();
            assert_eq!(client.get("/outside").send().text(), "true");
            for waits in waits {
                assert_eq!(waits.join().unwrap(), "slept");
            }
        });
        let upload = "x".repeat(200_000);
        assert_eq!(
            client.post("/tokio/spawn").body(upload).send().text(),
            "200000"
        );
        assert_eq!(client.get("/tokio/stream").send().text(), "tick tick tick ");
        assert!(tokio::runtime::Handle::try_current().is_err());
    })
    .unwrap();
}

#[test]
fn without_a_runtime_such_a_service_panics() {
    let client = Client::new(App::new().nest_service("/", needs_tokio()));
    assert_eq!(client.get("/sleep").send().status(), 500);
}

#[test]
fn a_body_that_the_service_drops_ends_its_ethread() {
    ethreads::run_main(|| {
        let router = Router::new().route("/", post(async || "not read".into_response()));
        let app = App::new().nest_service("/", router);
        let client = Client::new(app);
        for _ in 0..3 {
            let response = client.post("/").body_reader(&b"unread"[..]).send();
            assert_eq!(response.text(), "not read");
        }
        for _ in 0..100 {
            thread::yield_now();
        }
        // This ethread alone is left.
        assert_eq!(ethreads::runtime::stats().unwrap().ethreads, 1);
    })
    .unwrap();
}
