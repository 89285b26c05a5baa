//! Requests without a connection, and connections on streams of the program's own.

use std::io::{self, Read, Write};

use ethreads::http::{IntoResponse, Request, Response, Server, Stream};
use ethreads::io::{Duplex, duplex};

use crate::http::util::timeouts;

use super::kit::{Hostile, Hostility, Kit};
use super::{But, Play, Row, row};

/// A stream that strikes before each read and each write.
struct Striking(Duplex, Kit);

impl Read for &Striking {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.strike("Read");
        (&self.0).read(buf)
    }
}

impl Write for &Striking {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.1.strike("IoWrite");
        (&self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As [`Striking`], without shared access.
struct Plain(Striking);

impl Read for Plain {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }
}

impl Write for Plain {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Strikes when it is converted.
struct Converted(Duplex, Hostile);

impl From<Converted> for Stream {
    fn from(stream: Converted) -> Self {
        stream.1.strike("Into");
        stream.0.into()
    }
}

/// Serves one request on a stream; another connection must be served afterwards.
fn one<S: Into<Stream> + 'static>(
    kit: &Kit,
    stream: fn(Duplex, &Kit) -> S,
    handle: fn(&mut Request, &Kit) -> Response,
) -> Play {
    let kit = kit.clone();
    Play::call(move || {
        let server = Server::without_listener().timeouts(timeouts(|_| ()));
        let (client, far) = duplex(1024);
        (&client)
            .write_all(
                b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab",
            )
            .unwrap();
        let (theirs, hostility) = (kit.clone(), kit.hostility());
        let handler = move |request: &mut Request| handle(request, &theirs);
        server.serve_connection(stream(far, &kit), handler).unwrap();
        let mut answer = String::new();
        let read = (&client).read_to_string(&mut answer);
        assert!(
            read.is_ok() && answer.ends_with("done") || hostility.unwinds(),
            "{answer}"
        );
        let (client, far) = duplex(1024);
        (&client).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        server
            .serve_connection(far, |_: &mut Request| "good")
            .unwrap();
        let mut answer = String::new();
        (&client).read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("good"), "{answer}");
    })
}

fn done(_: &mut Request, _: &Kit) -> Response {
    "done".into_response()
}

pub(super) fn rows() -> Vec<Row> {
    let served = vec![
        row("http::Server::serve_connection", "Handler", |kit| {
            one(
                kit,
                |far, _| far,
                |_, kit| {
                    kit.strike("Handler");
                    "done".into_response()
                },
            )
        })
        // The payload is dropped outside of the handler.
        .but(&[(Hostility::PanicAgain, But::Ends)]),
    ];
    let direct = vec![
        row("http::Stream::boxed", "Read", |kit| {
            one(
                kit,
                |far, kit| Stream::boxed(Striking(far, kit.clone())),
                done,
            )
        }),
        row("http::Stream::boxed", "IoWrite", |kit| {
            one(
                kit,
                |far, kit| Stream::boxed(Striking(far, kit.clone())),
                done,
            )
        }),
        row("http::Stream::half_duplex", "Read", |kit| {
            let stream = |far, kit: &Kit| Stream::half_duplex(Plain(Striking(far, kit.clone())));
            one(kit, stream, done)
        }),
        row("http::Stream::half_duplex", "IoWrite", |kit| {
            let stream = |far, kit: &Kit| Stream::half_duplex(Plain(Striking(far, kit.clone())));
            one(kit, stream, done)
        }),
        row("http::Server::serve_connection", "Into", |kit| {
            one(kit, |far, kit| Converted(far, kit.value()), done)
        }),
        row("http::RequestBuilder::target", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Request::builder().target(value)))
        }),
        row("http::RequestBuilder::body_reader", "Read", |kit| {
            let value = kit.value();
            Play::call(move || {
                let request = Request::builder().body_reader(value).build();
                let _ = request.unwrap().body().read(&mut [0; 8]);
            })
        }),
    ];
    served
        .into_iter()
        .map(Row::shielded)
        .chain(direct)
        .collect()
}

#[test]
fn streams_stay_sound() {
    super::run_all(rows());
}
