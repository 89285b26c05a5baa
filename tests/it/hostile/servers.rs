//! A server: handlers, bodies, hooks and answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use ethreads::http::{
    App, Body, HandlerError, Headers, IntoResponse, Request, Response, Server, StatusCode,
    Taskmaster, WebServer,
};
use ethreads::net::TcpStream;
use http::{HeaderName, HeaderValue};

use crate::http::util::{Site, timeouts};

use super::kit::{Hostile, Hostility, Kit};
use super::{But, Play, Row, row};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = served();
    rows.extend(answered());
    rows.extend(told());
    rows.into_iter()
        .map(Row::shielded)
        .chain(settings())
        .collect()
}

/// A server with a hostile request.
fn site(
    kit: &Kit,
    configure: impl FnOnce(Server, Kit) -> Server + 'static,
    handle: fn(&mut Request, &Kit) -> Response,
) -> Play {
    played(kit, move |kit| {
        let theirs = kit.clone();
        Site::with(
            |server| configure(server.timeouts(timeouts(|_| ())), kit),
            move |request: &mut Request| match request.path() {
                "/good" => "good".into_response(),
                _ => handle(request, &theirs),
            },
        )
    })
}

/// A site that answers `/good` with "good", and `/bad` in a hostile way. Other connections must be
/// served before and after that.
pub(super) fn played(kit: &Kit, make: impl FnOnce(Kit) -> Site + 'static) -> Play {
    played_with(kit, "", make)
}

/// As [`played`], with more fields in the request.
pub(super) fn played_with(
    kit: &Kit,
    fields: &'static str,
    make: impl FnOnce(Kit) -> Site + 'static,
) -> Play {
    let kit = kit.clone();
    Play::call(move || {
        let hostility = kit.hostility();
        let site = make(kit);
        let other = what_comes(
            &site,
            "GET /good HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        );
        assert!(other.ends_with("good") || hostility.unwinds(), "{other}");
        let answer = what_comes(
            &site,
            &format!(
                "POST /bad HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{fields}\
                 content-length: 2\r\n\r\n[]"
            ),
        );
        assert!(
            answer.starts_with("HTTP/1.1 200") || hostility.unwinds(),
            "{answer}"
        );
        let other = site.exchange("GET /good HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(other.ends_with("good"), "{other}");
        site.end();
    })
}

/// What a server sends until it ends or resets the connection: a hook that panics before the
/// request is read leaves the request unread.
fn what_comes(site: &Site, request: &str) -> String {
    let mut stream = TcpStream::connect(site.addr).unwrap();
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes());
    let _ = sent.and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// A server with this handler for hostile requests.
fn answers(kit: &Kit, handle: fn(&mut Request, &Kit) -> Response) -> Play {
    site(kit, |server, _| server, handle)
}

fn served() -> Vec<Row> {
    vec![
        row("http::Server::serve", "Handler", |kit| {
            answers(kit, |_, kit| {
                kit.strike("Handler");
                "done".into_response()
            })
        }),
        row("http::Server::serve", "IntoResponse", |kit| {
            answers(kit, |_, kit| Answer(kit.value()).into_response())
        }),
        row("http::Server::serve", "Drop", |kit| {
            // The handler itself is dropped, at the end.
            let kit = kit.clone();
            Play::call(move || {
                let value = kit.value();
                let site = Site::new(move |_: &mut Request| {
                    let _ = &value;
                    "good"
                });
                site.handle.drain(Duration::from_secs(60));
                std::mem::forget(site.served.join());
            })
        }),
        row("http::Server::serve", "Drop", |kit| {
            // The value is dropped in a handler.
            answers(kit, |_, kit| {
                drop(kit.value());
                "done".into_response()
            })
        })
        .called("in a handler"),
    ]
}

/// Strikes when it is converted into a response.
struct Answer(Hostile);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0.strike("IntoResponse");
        "done".into_response()
    }
}

/// Strikes when it is written to.
struct Sink(Hostile);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.strike("IoWrite");
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn answered() -> Vec<Row> {
    vec![
        row("http::Body::reader", "Read", |kit| {
            answers(kit, |_, kit| Body::reader(kit.value()).into_response())
        }),
        row("http::Body::reader", "Drop", |kit| {
            answers(kit, |_, kit| Body::reader(kit.value()).into_response())
        }),
        row("http::Body::sized_reader", "Read", |kit| {
            answers(kit, |_, kit| {
                Body::sized_reader(b"xx".chain(kit.value()), 2).into_response()
            })
        })
        .unreached(),
        row("http::Body::write_to", "Read", |kit| {
            answers(kit, |_, kit| {
                let old = Body::reader(kit.value());
                Body::writer(move |out| old.write_to(out)).into_response()
            })
        }),
        row("http::Body::write_to", "IoWrite", |kit| {
            answers(kit, |_, kit| {
                let mut sink = Sink(kit.value());
                let written = Body::from("some").write_to(&mut sink);
                written
                    .map(|()| "done")
                    .map_err(HandlerError::from)
                    .into_response()
            })
        }),
        row("http::Request::early_hints", "Iterator", |kit| {
            answers(kit, |_, kit| {
                let mut request = Request::get("/").build().unwrap();
                let sent = request.early_hints(kit.each([field()]));
                sent.map(|()| "done")
                    .map_err(HandlerError::from)
                    .into_response()
            })
        }),
        row("http::Response::map_body", "Fn", |kit| {
            answers(kit, |_, kit| {
                let kit = kit.clone();
                "done".into_response().map_body(|body| {
                    kit.call();
                    body
                })
            })
        }),
        row("http::Body::writer", "Fn", |kit| {
            answers(kit, |_, kit| {
                let kit = kit.clone();
                Body::writer(move |out| {
                    out.write_all(b"some")?;
                    kit.call();
                    out.flush()?;
                    out.write_all(b" more")
                })
                .into_response()
            })
        }),
        row("http::Body::writer", "Drop", |kit| {
            answers(kit, |_, kit| {
                let value = kit.value();
                Body::writer(move |out| {
                    out.write_all(b"some")?;
                    drop(value);
                    Ok(())
                })
                .into_response()
            })
        }),
        row("http::Body::sized_writer", "Fn", |kit| {
            answers(kit, |_, kit| {
                let kit = kit.clone();
                Body::sized_writer(4, move |out| {
                    kit.call();
                    out.write_all(b"some")
                })
                .into_response()
            })
        }),
        row("http::Body::sized_writer", "Drop", |kit| {
            // The writer of a body that is not sent is dropped.
            answers(kit, |_, kit| {
                let value = kit.value();
                drop(Body::sized_writer(4, move |_| {
                    drop(value);
                    Ok(())
                }));
                "done".into_response()
            })
        }),
        row("http::ClientConnection::get_or_insert_with", "Fn", |kit| {
            answers(kit, |request, kit| {
                let kit2 = kit.clone();
                let _: &Kept = request.connection_mut().get_or_insert_with(|| {
                    kit2.call();
                    Kept(kit2.value())
                });
                "done".into_response()
            })
        }),
        row(
            "http::ClientConnection::get_or_insert_with",
            "Drop",
            |kit| {
                // The value is dropped at the end of the connection.
                answers(kit, |request, kit| {
                    request
                        .connection_mut()
                        .get_or_insert_with(|| Kept(kit.value()));
                    "done".into_response()
                })
            },
        ),
        row("http::HandlerError::with_source", "Display", |kit| {
            answers(kit, |_, kit| {
                let failed: Result<Response, HandlerError> =
                    Err(HandlerError::status(StatusCode::OK, "as told").with_source(kit.value()));
                failed.into_response()
            })
        })
        .unreached(),
        row("http::HandlerError::from", "Display", |kit| {
            answers(kit, |_, kit| {
                let failed = || -> Result<Response, HandlerError> { Err(kit.value())? };
                failed().into_response().with_status(StatusCode::OK)
            })
        })
        // The error is logged: see `logs.rs`.
        .unreached(),
        row("http::HandlerError::from", "Drop", |kit| {
            answers(kit, |_, kit| {
                drop(HandlerError::from(kit.value()));
                "done".into_response()
            })
        }),
        row("http::Response::tunnel", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let theirs = kit.clone();
                let site = Site::new(App::new().connect(move || {
                    let kit = theirs.clone();
                    Response::tunnel(move |mut stream| {
                        kit.call();
                        let _ = stream.write_all(b"through");
                    })
                }));
                let rest = site.exchange("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n");
                assert!(
                    rest.ends_with("through") || kit.hostility().unwinds(),
                    "{rest}"
                );
                site.end();
            })
        }),
        row("http::Response::upgrade", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let theirs = kit.clone();
                let site = Site::new(move |_: &mut Request| {
                    let kit = theirs.clone();
                    Response::upgrade("test", move |mut upgraded| {
                        kit.call();
                        let _ = upgraded.write_all(b"through");
                    })
                });
                let mut client = site.connect();
                client.send(
                    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n",
                );
                let rest = client.rest();
                assert!(
                    rest.ends_with("through") || kit.hostility().unwinds(),
                    "{rest}"
                );
                site.end();
            })
        }),
    ]
}

/// A value that stays with a connection.
struct Kept(#[allow(dead_code)] Hostile);

fn told() -> Vec<Row> {
    vec![
        row("http::Server::on_response", "Fn", |kit| {
            site(
                kit,
                |server, kit| server.on_response(move |_| kit.call()),
                |_, _| "done".into_response(),
            )
        }),
        row("http::Server::on_refusal", "Fn", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let theirs = kit.clone();
                let site = Site::with(
                    |server| server.on_refusal(move |_, _| theirs.call()),
                    |_: &mut Request| "good",
                );
                let answer = site.exchange("BAD\r\n\r\n");
                assert!(
                    answer.starts_with("HTTP/1.1 400") || kit.hostility().unwinds(),
                    "{answer}"
                );
                let other = site.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
                assert!(other.ends_with("good"), "{other}");
                site.end();
            })
        }),
        row("http::Server::client_name", "Fn", |kit| {
            site(
                kit,
                |server, kit| {
                    server.client_name(move |_| {
                        kit.call();
                        "named".to_owned()
                    })
                },
                |_, _| "done".into_response(),
            )
        })
        // The cancel hits the acceptor.
        .but(&[(Hostility::CancelSelf, But::Ends)]),
        row("http::Server::around_connections", "Fn", |kit| {
            site(
                kit,
                |server, kit| {
                    server.around_connections(move |inner| {
                        kit.call();
                        inner();
                    })
                },
                |_, _| "done".into_response(),
            )
        }),
        row("http::Server::around_connections", "Fn", |kit| {
            site(
                kit,
                |server, kit| {
                    server.around_connections(move |inner| {
                        inner();
                        kit.call();
                    })
                },
                |_, _| "done".into_response(),
            )
        })
        .called("afterwards"),
    ]
}

fn settings() -> Vec<Row> {
    vec![
        row("http::Response::upgrade", "Drop", |kit| {
            let value = kit.value();
            Play::call(move || drop(Response::upgrade("test", move |_| drop(value))))
        }),
        row("http::Server::on_response", "Drop", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let value = kit.value();
                let server = Server::bind(ANY).unwrap().on_response(move |_| {
                    let _ = &value;
                });
                drop(server);
            })
        }),
        row("http::Server::bind", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(Server::bind(addr).unwrap()))
        }),
        row("http::WebServer::bind", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || WebServer::bind(addr).unwrap().close().map(drop).unwrap())
        }),
        row("http::Server::bind_shared", "ToSocketAddrs", |kit| {
            let addr = kit.addr(ANY);
            Play::call(move || drop(Server::bind_shared(addr).unwrap()))
        }),
        row("http::Server::listener_name", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Server::bind(ANY).unwrap().listener_name(value)))
        }),
        row("http::Taskmaster::busy_message", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Taskmaster::default().busy_message(value)))
        }),
        row("http::Taskmaster::with_limits", "Into", |kit| {
            let (threads, accept) = (kit.value(), kit.value());
            Play::call(move || drop(Taskmaster::with_limits(threads, accept)))
        }),
        row("http::HandlerError::status", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(HandlerError::status(StatusCode::OK, value)))
        }),
        row("http::Headers::extend", "Iterator", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let mut headers = Headers::default();
                headers.extend(kit.each([field(), field()]));
                assert_eq!(headers.iter().count(), 2);
            })
        }),
        row("http::Headers::from_iter", "Iterator", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let headers = Headers::from_iter(kit.each([field(), field()]));
                assert_eq!(headers.iter().count(), 2);
            })
        }),
    ]
}

fn field() -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static("x-a"),
        HeaderValue::from_static("b"),
    )
}

#[test]
fn servers_stay_sound() {
    super::run_all(rows());
}
