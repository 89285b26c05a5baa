use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use http::Method;
use http::header::VARY;

use super::gain::WHOLE;
use super::*;
use crate::http::app::App;
use crate::http::exchange::builder::RequestBuilder;
use crate::http::message::IntoResponse;

/// Text that becomes shorter.
fn text(len: usize) -> String {
    let words = (0_u64..).map(|n| format!("{} ", n.wrapping_mul(0x9e37_79b9) >> 20 & 0xfff));
    let mut text: String = words.take(len / 3 + 1).collect();
    text.truncate(len);
    text
}

fn decoded(coding: Coding, compressed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        #[cfg(feature = "gzip")]
        Coding::Gzip => flate2::read::GzDecoder::new(compressed).read_to_end(&mut plain),
        #[cfg(feature = "brotli")]
        Coding::Brotli => ::brotli::Decompressor::new(compressed, 4096).read_to_end(&mut plain),
        #[cfg(feature = "zstd")]
        Coding::Zstd => ::zstd::stream::read::Decoder::new(compressed)
            .unwrap()
            .read_to_end(&mut plain),
        #[allow(unreachable_patterns)]
        _ => panic!("{coding:?} is not built in"),
    }
    .unwrap();
    plain
}

fn accepting(coding: Coding) -> RequestBuilder {
    Request::builder().header("accept-encoding", coding.name())
}

/// The answer to a request that accepts `coding`, by an app with the default settings.
fn answered(coding: Coding, answer: impl Fn() -> Response + 'static) -> Response {
    let app = App::new().get("/", answer).apply(compression());
    app.call(accepting(coding).build().unwrap())
}

fn header(response: &Response, name: HeaderName) -> Option<&str> {
    let mut values = response.headers().get_all(&name);
    let value = values.next().map(|value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} is repeated");
    value
}

fn written(response: Response) -> Vec<u8> {
    let (_, _, body) = response.into_parts();
    let mut written = Vec::new();
    body.write_to(&mut written).unwrap();
    written
}

#[test]
fn bodies_of_every_kind_and_length_arrive_as_they_were() {
    for coding in codecs::built() {
        for len in [1024, 1025, 4096, 65_535, WHOLE, WHOLE + 1, 300_000] {
            let makers: [fn(String) -> Body; 4] = [
                |text| text.into(),
                |text| Body::reader(io::Cursor::new(text)),
                |text| Body::sized_reader(io::Cursor::new(text.clone()), text.len() as u64),
                |text| {
                    Body::writer(move |out| {
                        for part in text.as_bytes().chunks(777) {
                            out.write_all(part)?;
                        }
                        out.flush()
                    })
                },
            ];
            for (kind, make) in makers.into_iter().enumerate() {
                let plain = text(len);
                let body = plain.clone();
                let response = answered(coding, move || {
                    let response = body.clone().into_response();
                    response.with_body(make(body.clone()))
                });
                assert_eq!(
                    header(&response, CONTENT_ENCODING),
                    Some(coding.name()),
                    "{len} {kind}"
                );
                assert_eq!(response.body().len().is_some(), kind == 0 && len <= WHOLE);
                let compressed = written(response);
                assert!(compressed.len() < len, "{coding:?} {len} {kind}");
                assert!(
                    decoded(coding, &compressed) == plain.as_bytes(),
                    "{coding:?} {len} {kind}"
                );
            }
        }
    }
}

#[test]
fn what_does_not_gain_is_sent_as_it_was() {
    let coding = codecs::built().next().unwrap();
    let html = |len| {
        text(len)
            .into_response()
            .with_header("content-type", "text/html")
    };
    type Change = fn(Response) -> Response;
    let cases: [(&str, Change); 14] = [
        ("short", |r| r.with_body(text(1023))),
        ("empty", |r| r.with_body("")),
        ("of a picture", |r| {
            r.with_header("content-type", "image/png")
        }),
        ("without a type", |mut r| {
            r.headers_mut().remove(&http::header::CONTENT_TYPE);
            r
        }),
        ("encoded", |r| r.with_header("content-encoding", "x")),
        ("identity", |r| {
            r.with_header("content-encoding", "identity")
        }),
        ("a part", |r| r.with_header("content-range", "bytes 0-1/2")),
        ("206", |r| r.with_status(StatusCode::PARTIAL_CONTENT)),
        ("204", |r| r.with_status(StatusCode::NO_CONTENT)),
        ("205", |r| r.with_status(StatusCode::RESET_CONTENT)),
        ("101", |r| r.with_status(StatusCode::SWITCHING_PROTOCOLS)),
        ("no-transform", |r| {
            r.with_header("cache-control", "private, No-Transform")
        }),
        ("with a digest", |r| {
            r.with_header("repr-digest", "sha-256=:x:")
        }),
        ("a short stream", |r| {
            let body = Body::reader(&b"ab"[..]);
            r.with_header("content-length", "2").with_body(body)
        }),
    ];
    for (name, change) in cases {
        let before = change(html(5000).with_header("etag", "\"a\""));
        let response = answered(coding, move || {
            change(html(5000).with_header("etag", "\"a\""))
        });
        assert_eq!(response.headers().len(), before.headers().len(), "{name}");
        assert_eq!(header(&response, ETAG), Some("\"a\""), "{name}");
        assert_eq!(header(&response, VARY), None, "{name}");
        assert_eq!(response.body().len(), before.body().len(), "{name}");
    }
    // What would gain, but not for this client, is told to caches.
    let app = App::new().get("/", move || html(5000)).apply(compression());
    for accepted in ["", "identity", "gzip;q=0, br;q=0, zstd;q=0", "deflate"] {
        let request = Request::get("/").header("accept-encoding", accepted);
        let response = app.call(request);
        assert_eq!(header(&response, CONTENT_ENCODING), None, "{accepted}");
        assert_eq!(
            header(&response, VARY),
            Some("accept-encoding"),
            "{accepted}"
        );
        assert_eq!(response.body().len(), Some(5000));
    }
}

#[test]
fn a_body_that_does_not_become_shorter_is_sent_as_it_was() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(4000)
    .collect();
    for coding in codecs::built() {
        let noise = noise.clone();
        let response = answered(coding, move || {
            let response = noise.clone().into_response();
            response.with_header("content-type", "text/plain")
        });
        assert_eq!(header(&response, CONTENT_ENCODING), None);
        assert_eq!(header(&response, VARY), Some("accept-encoding"));
        assert_eq!(response.body().len(), Some(4000));
    }
}

#[test]
fn fields_fit_the_compressed_body() {
    let coding = codecs::built().next().unwrap();
    let response = answered(coding, || {
        let response = text(5000).into_response();
        response
            .with_header("content-length", "5000")
            .with_header("accept-ranges", "bytes")
            .with_header("etag", "\"a\"")
            .with_header("vary", "origin")
    });
    assert_eq!(header(&response, CONTENT_LENGTH), None);
    assert_eq!(header(&response, ACCEPT_RANGES), None);
    assert_eq!(header(&response, ETAG), Some("W/\"a\""));
    let vary: Vec<_> = response.headers().get_all(&VARY).collect();
    assert_eq!(vary, ["origin", "accept-encoding"]);
    for present in ["*", "origin, Accept-Encoding"] {
        let response = answered(coding, move || {
            let response = text(5000).into_response();
            response
                .with_header("vary", present)
                .with_header("etag", "W/\"a\"")
        });
        assert_eq!(header(&response, VARY), Some(present));
        assert_eq!(header(&response, ETAG), Some("W/\"a\""));
    }
}

#[test]
fn a_304_names_the_response_that_the_client_has() {
    let coding = codecs::built().next().unwrap();
    let not_modified = || Response::new(StatusCode::NOT_MODIFIED).with_header("etag", "\"a\"");
    let app = App::new().get("/", not_modified).apply(compression());
    for (named, expected) in [
        ("W/\"a\"", "W/\"a\""),
        ("\"b\", W/\"a\"", "W/\"a\""),
        ("\"a\"", "\"a\""),
        ("*", "\"a\""),
    ] {
        let request = accepting(coding).header("if-none-match", named);
        let response = app.call(request.build().unwrap());
        assert_eq!(header(&response, ETAG), Some(expected), "{named}");
        let vary = (expected != "\"a\"").then_some("accept-encoding");
        assert_eq!(header(&response, VARY), vary, "{named}");
        assert_eq!(header(&response, CONTENT_ENCODING), None, "{named}");
    }
}

#[test]
fn a_stream_is_held_to_its_declared_length() {
    for coding in codecs::built() {
        for (declared, is_right) in [("5000", true), ("5001", false), ("4999", false)] {
            let response = answered(coding, move || {
                let body = Body::reader(io::Cursor::new(text(5000)));
                let response = "".into_response().with_body(body);
                response.with_header("content-length", declared)
            });
            assert_eq!(header(&response, CONTENT_LENGTH), None);
            let (_, _, body) = response.into_parts();
            let mut written = Vec::new();
            let result = body.write_to(&mut written);
            assert_eq!(result.is_ok(), is_right, "{coding:?} {declared}");
        }
    }
}

#[test]
fn a_head_is_answered_as_a_get() {
    for coding in codecs::built() {
        let app = App::new()
            .get("/whole", || text(5000))
            .get("/stream", || {
                "".into_response()
                    .with_body(Body::writer(|_| panic!("the body is made")))
            })
            // As a handler that leaves its body out.
            .get("/out", || {
                "".into_response().with_header("content-length", "5000")
            })
            .get("/short", || {
                "".into_response().with_header("content-length", "500")
            })
            .get("/empty", || "")
            .apply(compression());
        for (path, is_compressed) in [
            ("/whole", true),
            ("/stream", true),
            ("/out", true),
            ("/short", false),
            ("/empty", false),
        ] {
            let request = accepting(coding).method(Method::HEAD).target(path);
            let response = app.call(request.build().unwrap());
            let encoding = is_compressed.then_some(coding.name());
            assert_eq!(header(&response, CONTENT_ENCODING), encoding, "{path}");
            let declared = (path == "/short").then_some("500");
            assert_eq!(header(&response, CONTENT_LENGTH), declared, "{path}");
            if path == "/whole" {
                let get = app.call(accepting(coding).target(path).build().unwrap());
                assert_eq!(get.body().len(), response.body().len());
            }
        }
    }
}

#[test]
fn settings_are_kept_to() {
    let seen = Rc::<RefCell<Vec<String>>>::default();
    let log = seen.clone();
    let settings = compression().min_size(10).types(move |essence| {
        log.borrow_mut().push(essence.to_owned());
        essence == "image/png"
    });
    let app = App::new()
        .get("/png", || {
            let response = text(100).into_response();
            response.with_header("content-type", "image/png ; a=b")
        })
        .get("/text", || text(100))
        .get("/nine", || text(9))
        .apply(settings);
    let coding = codecs::built().next().unwrap();
    let call = |path| {
        let response = app.call(accepting(coding).target(path).build().unwrap());
        header(&response, CONTENT_ENCODING).is_some()
    };
    assert!(call("/png"));
    assert!(!call("/text"));
    assert!(!call("/nine"));
    assert_eq!(*seen.borrow(), ["image/png", "text/plain"]);
    let none = compression().codings([]);
    let app = App::new().get("/", || text(5000)).apply(none);
    let response = app.call(accepting(coding).build().unwrap());
    assert_eq!(header(&response, CONTENT_ENCODING), None);
}

#[test]
fn types_are_known_by_their_names() {
    for name in [
        "text/x",
        "TEXT/HTML",
        "application/JSON",
        "a/b+json",
        "image/svg+xml",
    ] {
        assert!(is_text(name), "{name}");
    }
    for name in [
        "",
        "text",
        "+jso",
        "image/png",
        "application/octet-stream",
        "é+x",
        "ééé",
    ] {
        assert!(!is_text(name), "{name}");
    }
}

#[test]
fn an_encoder_serves_one_response_after_another() {
    for coding in codecs::built() {
        let codecs = Rc::new(Codecs::new(Levels::default()));
        let idle = || codecs.idle_of(coding);
        for len in [1000, 5000, 2000] {
            let plain = text(len);
            let compressed = codecs.whole(coding, plain.as_bytes()).unwrap().unwrap();
            assert_eq!(decoded(coding, &compressed), plain.as_bytes());
            assert_eq!(idle(), 1);
        }
        // One that has not come to its end leaves nothing behind.
        let mut sink = Vec::new();
        let mut broken = Encoder::new(&codecs, coding, &mut sink).unwrap();
        assert_eq!(idle(), 0);
        broken.write_all(b"secret secret secret").unwrap();
        drop(broken);
        assert_eq!(idle(), 1);
        let compressed = codecs
            .whole(coding, text(1000).as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!(decoded(coding, &compressed), text(1000).as_bytes());
        // Only some are kept.
        let many: Vec<_> = (0..20).map(|_| codecs.take(coding).unwrap()).collect();
        drop(many);
        assert_eq!(idle(), 4);
    }
}

#[test]
fn a_flush_puts_out_everything() {
    for coding in codecs::built() {
        let codecs = Rc::new(Codecs::new(Levels::default()));
        let mut sink = Vec::new();
        let mut encoder = Encoder::new(&codecs, coding, &mut sink).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b"one").unwrap();
        encoder.flush().unwrap();
        encoder.flush().unwrap();
        drop(encoder);
        let mut plain = [0; 3];
        let part = &sink[..];
        match coding {
            #[cfg(feature = "gzip")]
            Coding::Gzip => flate2::read::GzDecoder::new(part).read_exact(&mut plain),
            #[cfg(feature = "brotli")]
            Coding::Brotli => ::brotli::Decompressor::new(part, 4096).read_exact(&mut plain),
            #[cfg(feature = "zstd")]
            Coding::Zstd => ::zstd::stream::read::Decoder::new(part)
                .unwrap()
                .read_exact(&mut plain),
            #[allow(unreachable_patterns)]
            _ => panic!("{coding:?} is not built in"),
        }
        .unwrap();
        assert_eq!(&plain, b"one");
    }
}
