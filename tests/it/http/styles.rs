//! Push and pull style send the same bytes for the same response.

use std::io::Write;
use std::rc::Rc;

use ethreads::http::{Body, Request, Response, StatusCode, WebServer, pull::Client as Pulled};
use ethreads::thread;

use crate::http::pull::{addr, pull_server};
use crate::http::util::{Client, Site, on_a_shard, without_dates};

const STATUSES: [u16; 14] = [
    100, 101, 103, 200, 201, 204, 205, 206, 299, 304, 404, 426, 500, 999,
];

const BODIES: [&str; 15] = [
    "none",
    "empty",
    "text",
    "reader",
    "reader-too-short",
    "reader-too-long",
    "writer",
    "writer-with-length",
    "writer-with-nonsense",
    "text-with-length",
    "text-with-other-length",
    "text-with-nonsense",
    "none-with-length",
    "chunked-by-hand",
    "closing",
];

const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "CONNECT"];

/// A response that the path names, as `/STATUS/BODY`.
fn make(path: &str) -> Response {
    let Some((status, body)) = path[1..].split_once('/') else {
        return upgrade();
    };
    let response = Response::new(StatusCode::from_bytes(status.as_bytes()).unwrap());
    let writer = || Body::writer(|out| out.write_all(b"written"));
    let reader = || Body::reader(&b"readable"[..]);
    let length = |response: Response, length| response.with_header("content-length", length);
    match body {
        "none" => response,
        "empty" => response.with_body(""),
        "text" => response.with_header("x-kept", "yes").with_body("text"),
        "reader" => response.with_body(reader()),
        "reader-too-short" => length(response.with_body(reader()), "9"),
        "reader-too-long" => length(response.with_body(reader()), "3"),
        "writer" => response.with_body(writer()),
        "writer-with-length" => length(response.with_body(writer()), "7"),
        "writer-with-nonsense" => length(response.with_body(writer()), "+7"),
        "text-with-length" => length(response.with_body("text"), "4"),
        "text-with-other-length" => length(response.with_body("text"), "5"),
        "text-with-nonsense" => length(response.with_body("text"), "four"),
        "none-with-length" => length(response, "7"),
        "chunked-by-hand" => response
            .with_header("transfer-encoding", "chunked")
            .with_body("0\r\n\r\n"),
        "closing" => response.with_header("connection", "close").with_body("x"),
        other => panic!("{other}"),
    }
}

/// An answer that switches to another protocol.
fn upgrade() -> Response {
    Response::upgrade("greeting", |mut stream| {
        stream.write_all(b"hello").unwrap();
    })
}

/// A server that answers through [`WebServer`].
struct Pull {
    server: Rc<WebServer>,
    reader: thread::JoinHandle<()>,
}

impl Pull {
    fn new(answer: fn(Pulled, String)) -> Self {
        let server = pull_server();
        let reads = server.clone();
        let reader = thread::spawn(move || {
            while let Some((client, request)) = reads.read().unwrap() {
                answer(client, request.path().to_owned());
            }
        });
        Self { server, reader }
    }

    fn exchange(&self, input: &str) -> String {
        let mut client = Client::new(addr(&self.server));
        client.send(input);
        client.finish();
        client.rest()
    }

    fn end(self) {
        self.server.close().unwrap();
        self.reader.join().unwrap();
    }
}

fn requests() -> Vec<String> {
    let mut requests = Vec::new();
    for status in STATUSES {
        for body in BODIES {
            for method in METHODS {
                for version in ["HTTP/1.0", "HTTP/1.1"] {
                    let target = match method {
                        "CONNECT" => "a:80".to_owned(),
                        _ => format!("/{status}/{body}"),
                    };
                    requests.push(format!("{method} {target} {version}\r\nhost: a:80\r\n\r\n"));
                }
            }
        }
    }
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for offer in ["greeting", "other"] {
            requests.push(format!(
                "GET /upgrade {version}\r\nhost: a\r\nconnection: upgrade\r\n\
                 upgrade: {offer}\r\n\r\n"
            ));
        }
    }
    requests
}

#[test]
fn the_same_response_is_the_same_bytes_in_both_styles() {
    on_a_shard(|| {
        let push = Site::new(|request: &mut Request| make(request.path()));
        let pull = Pull::new(|client, path| drop(client.write(make(&path))));
        let remote = Pull::new(|client, path| {
            let client = client.into_remote();
            std::thread::spawn(move || client.write_with(move || make(&path)));
        });
        for request in requests() {
            let pushed = without_dates(&push.exchange(&request));
            assert!(pushed.starts_with("HTTP/1.1 "), "{request}: {pushed}");
            for (style, other) in [("pull", &pull), ("remote", &remote)] {
                let pulled = without_dates(&other.exchange(&request));
                assert_eq!(pulled, pushed, "{style}: {request}");
            }
        }
        push.end();
        pull.end();
        remote.end();
    });
}
