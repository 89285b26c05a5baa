//! The pull style of a server, and the formatted texts of a server and its messages.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use ethreads::http::{
    Body, CombinedLog, CommonLog, HandlerError, Headers, IntoResponse, Request, Response, Server,
    StatusCode, Stream, Taskmaster, WebServer,
};
use ethreads::thread;
use http::{HeaderName, HeaderValue};

use crate::http::util::{Client, LONG, Site, timeouts};

use super::kit::{Hostile, Kit};
use super::texts::text;
use super::{Play, Row, row};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = pulled();
    rows.extend(printed());
    rows.extend(converted());
    rows
}

/// A value whose conversion into a response is hostile.
struct Answer(Hostile);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0.strike("IntoResponse");
        "done".into_response()
    }
}

/// A pull server that gets two requests. `answer` handles the first one.
fn pull(kit: &Kit, answer: fn(&WebServer, &Kit)) -> Play {
    let kit = kit.clone();
    Play::call(move || {
        let server = WebServer::bind(ANY).unwrap();
        let addr = server.local_addr().unwrap();
        let asks = thread::spawn(move || {
            let ask = || {
                let mut client = Client::new(addr);
                client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                client.rest()
            };
            (ask(), ask())
        });
        let end = Ends(server);
        answer(&end.0, &kit);
        let (client, _request) = end.0.read().unwrap().unwrap();
        end.0.write(client, "good").unwrap();
        let (first, second) = asks.join().unwrap();
        assert!(
            first.ends_with("done") || kit.hostility().unwinds(),
            "{first}"
        );
        assert!(second.ends_with("good"), "{second}");
    })
}

/// Closes the server, however the call ends.
struct Ends(WebServer);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.handle().drain(std::time::Duration::ZERO);
    }
}

fn pulled() -> Vec<Row> {
    vec![
        row("http::WebServer::write", "IntoResponse", |kit| {
            pull(kit, |server, kit| {
                let (client, _request) = server.read().unwrap().unwrap();
                server.write(client, Answer(kit.value())).unwrap();
            })
        }),
        row("http::Client::write", "IntoResponse", |kit| {
            pull(kit, |server, kit| {
                let (client, _request) = server.read().unwrap().unwrap();
                client.write(Answer(kit.value())).unwrap();
            })
        }),
        row("http::RemoteClient::write", "IntoResponse", |kit| {
            pull(kit, |server, kit| {
                let (client, _request) = server.read().unwrap().unwrap();
                client.into_remote().write(Answer(kit.value()));
            })
        }),
        row("http::RemoteClient::write_with", "Fn", |kit| {
            pull(kit, |server, kit| {
                let (client, _request) = server.read().unwrap().unwrap();
                let kit = kit.clone();
                client.into_remote().write_with(move || {
                    kit.call();
                    "done"
                });
            })
        }),
        row("http::RemoteClient::write_with", "IntoResponse", |kit| {
            pull(kit, |server, kit| {
                let (client, _request) = server.read().unwrap().unwrap();
                let value = kit.value();
                client.into_remote().write_with(move || Answer(value));
            })
        }),
        row("http::WebServer::serve_one", "Fn", |kit| {
            pull(kit, |server, kit| {
                let handler = |_: &mut ethreads::http::pull::Request, state: &u32| {
                    kit.call();
                    Ok(("done", state + 1))
                };
                assert!(server.serve_one(handler, &mut 0).unwrap());
            })
        })
        .shielded(),
        row("http::WebServer::serve_one", "IntoResponse", |kit| {
            pull(kit, |server, kit| {
                let handler = |_: &mut ethreads::http::pull::Request, state: &u32| {
                    Ok((Answer(kit.value()), state + 1))
                };
                assert!(server.serve_one(handler, &mut 0).unwrap());
            })
        })
        .shielded(),
        row("http::WebServer::serve_one", "Drop", |kit| {
            // The dropped value is the previous state.
            pull(kit, |server, kit| {
                let handler =
                    |_: &mut ethreads::http::pull::Request, _: &Hostile| Ok(("done", kit.value()));
                assert!(server.serve_one(handler, &mut kit.value()).unwrap());
            })
        }),
    ]
}

/// Formats a part of a request in its handler.
fn handled(kit: &Kit, print: fn(&mut Request, &mut dyn fmt::Write) -> fmt::Result) -> Play {
    let kit = kit.clone();
    Play::call(move || {
        let hostility = kit.hostility();
        let site = Site::new(move |request: &mut Request| {
            // The second request shows that the server goes on.
            if request.method() == "POST" {
                print(request, &mut kit.pen()).unwrap();
            }
            "done"
        });
        let answer = site.exchange("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab");
        assert!(answer.ends_with("done") || hostility.unwinds(), "{answer}");
        let other = site.exchange("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(other.ends_with("done"), "{other}");
        site.end();
    })
}

/// Formats an exchange in the `on_response` hook.
fn observed(
    kit: &Kit,
    print: fn(&ethreads::http::Exchange<'_>, &mut dyn fmt::Write) -> fmt::Result,
) -> Play {
    let kit = kit.clone();
    Play::call(move || {
        let site = Site::with(
            |server| {
                server
                    .timeouts(timeouts(|_| ()))
                    .on_response(move |exchange| {
                        print(exchange, &mut kit.pen()).unwrap();
                    })
            },
            |_: &mut Request| "done",
        );
        for _ in 0..2 {
            let answer = site.exchange("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(answer.ends_with("done"), "{answer}");
        }
        site.end();
    })
}

fn printed() -> Vec<Row> {
    let shielded = vec![
        row("http::Request::fmt", "Write", |kit| {
            handled(kit, |request, to| write!(to, "{request:?}"))
        }),
        row("http::BodyReader::fmt", "Write", |kit| {
            handled(kit, |request, to| write!(to, "{:?}", request.body()))
        }),
        row("http::RequestBody::fmt", "Write", |kit| {
            handled(kit, |request, to| write!(to, "{:?}", request.take_body()))
        }),
        row("http::ClientConnection::fmt", "Write", |kit| {
            handled(kit, |request, to| write!(to, "{:?}", request.connection()))
        }),
        row("http::HeaderView::fmt", "Write", |kit| {
            handled(kit, |request, to| write!(to, "{:?}", request.headers()))
        }),
        row("http::CommonLog::fmt", "Write", |kit| {
            observed(kit, |exchange, to| write!(to, "{}", CommonLog(exchange)))
        }),
        row("http::CombinedLog::fmt", "Write", |kit| {
            observed(kit, |exchange, to| write!(to, "{}", CombinedLog(exchange)))
        }),
        row("http::BodyWriter::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let theirs = kit.clone();
                let site = Site::new(move |_: &mut Request| {
                    let mut pen = theirs.pen();
                    Body::writer(move |out| {
                        write!(pen, "{out:?}").unwrap();
                        std::io::Write::write_all(out, b"done")
                    })
                });
                let answer = site.exchange("GET /x HTTP/1.0\r\nhost: a\r\n\r\n");
                assert!(
                    answer.ends_with("done") || kit.hostility().unwinds(),
                    "{answer}"
                );
                site.end();
            })
        }),
    ];
    let plain = vec![
        row("http::Server::fmt", "Write", |kit| {
            // The server is served, and ended, while it is formatted.
            let server = Server::bind(ANY).unwrap().timeouts(timeouts(|_| ()));
            text(
                kit,
                server,
                |server, to| write!(to, "{server:?}"),
                |server| {
                    server.handle().drain(LONG);
                    let _ = server.serve(|_: &mut Request| "done");
                },
            )
        }),
        row("http::ServerHandle::fmt", "Write", |kit| {
            let handle = Server::bind(ANY).unwrap().handle();
            text(
                kit,
                handle,
                |handle, to| write!(to, "{handle:?}"),
                |handle| handle.drain(LONG),
            )
        }),
        row("http::ShardedServer::fmt", "Write", |kit| {
            let shards = ethreads::Runtime::builder().shards(1);
            let server = Server::bind_shared(ANY).unwrap().on_shards(shards).unwrap();
            text(
                kit,
                server,
                |server, to| write!(to, "{server:?}"),
                |server| {
                    server.handle().drain(LONG);
                },
            )
        }),
        row("http::WebServer::fmt", "Write", |kit| {
            let server = WebServer::bind(ANY).unwrap();
            text(
                kit,
                server,
                |server, to| write!(to, "{server:?}"),
                |server| {
                    server.handle().drain(LONG);
                    let _ = server.close();
                },
            )
        }),
        row("http::Headers::fmt", "Write", |kit| {
            let name = HeaderName::from_static("x-a");
            let headers = Headers::from_iter([(name, HeaderValue::from_static("b"))]);
            text(
                kit,
                headers,
                |headers, to| write!(to, "{headers:?}"),
                |_| (),
            )
        }),
        row("http::Body::fmt", "Write", |kit| {
            text(
                kit,
                Body::from("some"),
                |body, to| write!(to, "{body:?}"),
                |_| (),
            )
        }),
        row("http::RequestBuilder::fmt", "Write", |kit| {
            text(
                kit,
                Request::builder().header("x-a", "b").body("some"),
                |builder, to| write!(to, "{builder:?}"),
                |_| (),
            )
        }),
        row("http::Stream::fmt", "Write", |kit| {
            text(
                kit,
                Stream::from(ethreads::io::duplex(8).0),
                |stream, to| write!(to, "{stream:?}"),
                |_| (),
            )
        }),
        row("http::HandlerError::fmt", "Write", |kit| {
            let error = HandlerError::from(std::io::Error::other("no"));
            text(
                kit,
                error,
                |error, to| write!(to, "{error:?} {error}"),
                |_| (),
            )
        }),
        row("http::HandlerError::fmt", "Debug", |kit| {
            let error = HandlerError::from(kit.value());
            Play::call(move || drop(format!("{error:?}")))
        }),
        row("http::HandlerError::fmt", "Display", |kit| {
            let error = HandlerError::from(kit.value());
            Play::call(move || drop(format!("{error}")))
        }),
        row("http::HandlerError::from", "Error", |kit| {
            let error = HandlerError::from(kit.value());
            Play::call(move || drop(format!("{error} {error:?}")))
        }),
        row("http::TaskmasterError::fmt", "Write", |kit| {
            let error = Taskmaster::with_limits(2, 1).unwrap_err();
            text(
                kit,
                error,
                |error, to| write!(to, "{error:?} {error}"),
                |_| (),
            )
        }),
    ];
    shielded
        .into_iter()
        .map(|row| row.shielded().times(1))
        .chain(plain)
        .collect()
}

fn converted() -> Vec<Row> {
    vec![
        row("http::Response::with_header", "Into", |kit| {
            let (name, value) = (kit.value(), kit.value());
            Play::call(move || drop("done".into_response().with_header(name, value)))
        })
        .times(2),
        row("http::RequestBuilder::header", "Into", |kit| {
            let (name, value) = (kit.value(), kit.value());
            Play::call(move || drop(Request::builder().header(name, value)))
        })
        .times(2),
        row("http::RequestBuilder::body", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Request::builder().body(value)))
        }),
        row("http::Response::try_with_header", "Into", |kit| {
            let (name, value) = (kit.value(), kit.value());
            Play::call(move || drop("done".into_response().try_with_header(name, value)))
        })
        .times(2),
        row("http::Response::with_body", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop("done".into_response().with_body(value)))
        }),
        row("http::Response::from", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Response::from(http::Response::new(value))))
        }),
        row("http::Response::upgrade", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Response::upgrade(value, |_| ())))
        }),
        row("http::Server::server_header", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Server::bind(ANY).unwrap().server_header(value)))
        }),
        row("http::Body::file_range", "Into", |kit| {
            let value = kit.value();
            Play::call(move || drop(Body::file_range(value, 0, 0).into_response()))
        }),
        row("http::HandlerError::with_source", "Into", |kit| {
            let value = Source(kit.value());
            Play::call(move || {
                drop(HandlerError::status(StatusCode::OK, "no").with_source(value));
            })
        }),
    ]
}

/// A value whose conversion into an error is hostile.
struct Source(Hostile);

impl From<Source> for Box<dyn std::error::Error> {
    fn from(source: Source) -> Self {
        source.0.strike("Into");
        "the source".into()
    }
}

#[test]
fn messages_of_a_server_stay_sound() {
    super::run_all(rows());
}
