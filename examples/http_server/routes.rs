//! What the routes answer, and their choice in pull style.

use std::io::Write;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use ethreads::http::{
    Body, HandlerError, IntoResponse, Method, Response, Result, ServerHandle, StatusCode,
};
use ethreads::{runtime, thread};

use crate::asked::Asked;

pub(crate) const INDEX: &str = include_str!("index.html");

/// The body of `/big`.
pub(crate) static BIG: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; 8 << 20].into());

/// The body of `/json`.
pub(crate) const JSON: &str = r#"{"message":"Hello, World!"}"#;

/// Lines of `/stream`, and the pause between two of them.
const STREAM_LINES: u32 = 10;
const STREAM_PAUSE: Duration = Duration::from_millis(100);

type Route<R> = fn(&Routes, &mut R) -> Result<Response>;

/// The routes for a loop that pulls requests.
#[derive(Debug)]
pub(crate) struct Routes {
    server: ServerHandle,
}

impl Routes {
    pub(crate) fn new(server: ServerHandle) -> Self {
        Self { server }
    }

    /// Answers a request by its path and method; 404, 405 and 501 elsewhere.
    pub(crate) fn answer<R: Asked>(&self, request: &mut R) -> Result<Response> {
        const GET: &[Method] = &[Method::GET];
        const POST: &[Method] = &[Method::POST];
        const BOTH: &[Method] = &[Method::GET, Method::POST];
        let (methods, route): (&[Method], Route<R>) = match request.path() {
            "/plaintext" => (GET, |_, _| Ok("Hello, World!".into_response())),
            "/" if *request.method() == Method::POST => (BOTH, |_, request| echo(request)),
            "/" => (BOTH, |_, _| Ok(html(INDEX))),
            "/json" => (GET, |_, _| Ok(json(JSON))),
            "/echo" => (POST, |_, request| echo(request)),
            "/big" => (GET, |_, _| Ok(BIG.clone().into_response())),
            "/headers" => (GET, |_, request| Ok(headers(request))),
            "/slow" => (GET, |_, request| slow(request)),
            "/stream" => (GET, |_, _| Ok(stream())),
            "/baseline11" => (BOTH, |_, request| sum(request)),
            "/pipeline" => (GET, |_, _| Ok("ok".into_response())),
            "/stats" => (GET, |routes, _| Ok(stats(&routes.server))),
            path if path.starts_with("/status/") => (GET, |_, request| {
                status(request.path().trim_start_matches("/status/"))
            }),
            // RFC 9110 section 9.3.7: what the server as a whole can do.
            "*" => (BOTH, |_, _| Ok(().into_response())),
            _ => return Ok((StatusCode::NOT_FOUND, "not found\n").into_response()),
        };
        let method = request.method();
        let allowed = |method: &Method| methods.contains(method);
        if allowed(method) || (*method == Method::HEAD && allowed(&Method::GET)) {
            route(self, request)
        } else {
            Ok(not_allowed(method, methods))
        }
    }
}

/// The answer to a method that the resource does not support, such as OPTIONS.
fn not_allowed(method: &Method, methods: &[Method]) -> Response {
    let allow = [("allow", allow(methods))];
    if *method == Method::OPTIONS {
        (StatusCode::NO_CONTENT, allow, ()).into_response()
    } else if KNOWN.contains(method) {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            allow,
            "method not allowed\n",
        )
            .into_response()
    } else {
        // RFC 9110 section 9.1: a method that no resource of a server supports.
        (StatusCode::NOT_IMPLEMENTED, "method not implemented\n").into_response()
    }
}

/// The methods of RFC 9110 section 9.3 and RFC 5789.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// RFC 9110 section 10.2.1: the methods that a resource supports.
fn allow(methods: &[Method]) -> String {
    let mut allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        allow.push("HEAD");
    }
    allow.push("OPTIONS");
    allow.join(", ")
}

pub(crate) fn html(text: &'static str) -> Response {
    ([("content-type", "text/html; charset=utf-8")], text).into_response()
}

pub(crate) fn json(text: &'static str) -> Response {
    ([("content-type", "application/json")], text).into_response()
}

/// Returns the body, with its type.
pub(crate) fn echo(request: &mut impl Asked) -> Result<Response> {
    let kind = request
        .header("content-type")
        .unwrap_or("application/octet-stream")
        .to_owned();
    let body = request.bytes()?;
    Ok(([("content-type", kind)], body).into_response())
}

/// Answers after `ms` milliseconds; only this connection's ethread waits.
pub(crate) fn slow(request: &mut impl Asked) -> Result<Response> {
    let ms = number(request, "ms")?.unwrap_or(1000);
    thread::sleep(Duration::from_millis(ms));
    Ok(format!("slept for {ms} ms\n").into_response())
}

/// Lines as they are made: each is flushed, and sent as a chunk.
pub(crate) fn stream() -> Response {
    let body = Body::writer(|out| {
        for line in 1..=STREAM_LINES {
            if line > 1 {
                thread::sleep(STREAM_PAUSE);
            }
            writeln!(out, "line {line} of {STREAM_LINES}")?;
            out.flush()?;
        }
        Ok(())
    });
    (
        [("content-type", "text/plain; charset=utf-8")],
        Response::default().with_body(body),
    )
        .into_response()
}

/// Returns the head of the request, as it was received.
pub(crate) fn headers(request: &impl Asked) -> Response {
    let (method, target) = (request.method(), request.target());
    let mut text = format!("{method} {target} {:?}\n", request.version());
    for (name, value) in request.headers().iter() {
        text.push_str(&format!("{name}: {}\n", value.escape_ascii()));
    }
    text.into_response()
}

/// Numbers of the server and of its shard, one a line.
pub(crate) fn stats(server: &ServerHandle) -> Response {
    let counts = server.counts();
    let mut text = format!(
        "serving {}\nhandling {}\nqueued {}\nserved {}\nrefused {}\n",
        counts.serving, counts.handling, counts.queued, counts.served, counts.refused
    );
    if let Some(shard) = runtime::stats() {
        text.push_str(&format!(
            "ethreads {}\ntimers {}\nsources {}\nstacks {}\n",
            shard.ethreads, shard.timers, shard.sources, shard.stacks.live
        ));
    }
    text.into_response()
}

/// Answers with this status.
pub(crate) fn status(code: &str) -> Result<Response> {
    let status = code
        .parse()
        .ok()
        .filter(|code| *code >= 200)
        .map(StatusCode::from_u16);
    match status {
        Some(Ok(status)) => {
            let reason = status.canonical_reason().unwrap_or("no reason phrase");
            Ok((status, format!("{} {reason}\n", status.as_u16())).into_response())
        }
        _ => Err(HandlerError::status(
            StatusCode::BAD_REQUEST,
            "expected a status, 200 to 999\n",
        )),
    }
}

/// The sum of the query's numbers and, on POST, of the body's number.
pub(crate) fn sum(request: &mut impl Asked) -> Result<Response> {
    let mut sum: i64 = 0;
    for (name, value) in request.query_pairs() {
        sum = sum.saturating_add(parse(&name, &value)?);
    }
    if *request.method() == Method::POST {
        sum = sum.saturating_add(parse("body", request.text()?.trim())?);
    }
    Ok(sum.to_string().into_response())
}

fn number(request: &impl Asked, name: &str) -> Result<Option<u64>> {
    match request.query_pairs().find(|(key, _)| key == name) {
        Some((_, value)) => parse(name, &value).map(Some),
        None => Ok(None),
    }
}

fn parse<N: std::str::FromStr>(name: &str, value: &str) -> Result<N> {
    value.parse().map_err(|_| {
        let text = format!("{name}: expected a number, got {value:?}\n");
        HandlerError::status(StatusCode::BAD_REQUEST, text)
    })
}
