//! The three servers, each of which reports what its handler was given.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ethreads::http::IntoResponse;
use ethreads::http::{Request, Response, Server, ServerHandle, StatusCode};
use ethreads::net::{UnixListener, UnixStream};
use ethreads::thread::{self, JoinHandle};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;

/// Nothing here is about time: a longer wait for what must come is a bug.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as a handler saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    /// The minor version, of `HTTP/1.`.
    pub(super) minor: u8,
    /// Names in lower case, sorted; values of one name in the order in which they came.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// `None` if the body was not whole, or not well-formed.
    pub(super) body: Option<Vec<u8>>,
}

impl Seen {
    fn sorted(mut self) -> Self {
        self.fields
            .iter_mut()
            .for_each(|(name, _)| name.make_ascii_lowercase());
        self.fields.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }
}

/// This library, on a Unix socket.
pub(super) struct Ours {
    path: PathBuf,
    seen: Rc<RefCell<Vec<Seen>>>,
    handle: ServerHandle,
    served: JoinHandle<io::Result<()>>,
}

impl Ours {
    pub(super) fn new(name: &str) -> Self {
        let name = format!("ethreads-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let server = Server::from(UnixListener::bind(&path).unwrap());
        let seen = Rc::<RefCell<Vec<Seen>>>::default();
        let (handle, log) = (server.handle(), seen.clone());
        let handler = move |request: &mut Request| -> Response {
            let fields = request.headers();
            let fields = fields
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let seen = Seen {
                method: request.method().to_string(),
                target: request.target().to_owned(),
                minor: u8::from(request.version() == ethreads::http::Version::HTTP_11),
                fields: fields.collect(),
                body: None,
            };
            let body = request.bytes();
            let answer = match &body {
                Ok(_) => "ok".into_response(),
                Err(error) => error
                    .status()
                    .unwrap_or(StatusCode::BAD_REQUEST)
                    .into_response(),
            };
            let body = body.ok();
            log.borrow_mut().push(Seen { body, ..seen }.sorted());
            answer
        };
        let served = thread::spawn(move || server.serve(handler));
        Self {
            path,
            seen,
            handle,
            served,
        }
    }

    pub(super) fn serve(&self, input: &[u8]) -> Vec<Seen> {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may have refused and closed before all of it was sent.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        self.seen.take()
    }

    pub(super) fn end(self) {
        self.handle.drain(PATIENCE);
        self.served.join().unwrap().unwrap();
        std::fs::remove_file(&self.path).unwrap();
    }
}

/// A connection in memory: all of the input is there, then its end; output is discarded.
struct Memory {
    input: Vec<u8>,
    at: usize,
}

impl Memory {
    fn new(input: &[u8]) -> Self {
        Self {
            input: input.to_vec(),
            at: 0,
        }
    }

    fn take(&mut self, room: usize) -> &[u8] {
        let start = self.at;
        self.at += room.min(self.input.len() - start);
        &self.input[start..self.at]
    }
}

/// Polls a future that waits for nothing outside itself.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("it waits for something else");
}

impl hyper::rt::Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// hyper, with its defaults, except that a peer may end its side first.
pub(super) fn hyper(input: &[u8]) -> Vec<Seen> {
    let log = RefCell::new(Vec::new());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let log = &log;
        async move {
            let (head, body) = request.into_parts();
            let fields = head.headers.iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().into()));
            let seen = Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                minor: u8::from(head.version == hyper::Version::HTTP_11),
                fields: fields.collect(),
                body: collect(body).await,
            };
            log.borrow_mut().push(seen.sorted());
            Ok::<_, Infallible>(hyper::Response::new(String::from("ok")))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(Memory::new(input), service);
    // The requests that were passed on show the outcome, so the result is ignored.
    let _ = run(served);
    log.into_inner()
}

async fn collect(body: Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut collected = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            collected.extend_from_slice(&data);
        }
    }
    Some(collected)
}

impl futures_io::AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let taken = self.take(buffer.len());
        buffer[..taken.len()].copy_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }
}

impl futures_io::AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// trillium, which has parsers of its own, with its defaults.
pub(super) fn trillium(input: &[u8]) -> Vec<Seen> {
    let log = Arc::<Mutex<Vec<Seen>>>::default();
    let handler = |mut conn: trillium_http::Conn<Memory>| {
        let log = log.clone();
        async move {
            let fields = conn
                .request_headers()
                .into_iter()
                .flat_map(|(name, values)| {
                    let name = name.to_string();
                    values
                        .into_iter()
                        .map(move |value| (name.clone(), value.as_ref().to_vec()))
                });
            let seen = Seen {
                method: conn.method().to_string(),
                target: conn.path_and_query().to_owned(),
                minor: u8::from(conn.http_version() == trillium_http::Version::Http1_1),
                fields: fields.collect(),
                body: None,
            };
            let body = conn.request_body().read_bytes().await.ok();
            if seen.minor == 0 {
                // hyper and this library do that by themselves.
                conn.response_headers_mut()
                    .insert("connection", "keep-alive");
            }
            log.lock().unwrap().push(Seen { body, ..seen }.sorted());
            conn.with_status(200)
        }
    };
    let context = Arc::new(trillium_http::HttpContext::new());
    let _ = run(context.run(Memory::new(input), handler));
    Arc::into_inner(log).unwrap().into_inner().unwrap()
}
