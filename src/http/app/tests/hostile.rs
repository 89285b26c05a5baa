//! Requests, routes and values that an app does not expect.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::rc::Rc;

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use super::*;

fn all_headers(response: &Response, name: &'static str) -> Vec<String> {
    let fields = response.headers().iter();
    let same = fields.filter(|(have, _)| have.as_str() == name);
    same.map(|(_, value)| value.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_escaped_slash_of_a_pattern_matches_no_slash() {
    let app = App::new().get("/a%2Fb", || "one segment");
    check(&app, Request::get("/a%2Fb"), 200, "one segment");
    check(&app, Request::get("/a%2fb"), 200, "one segment");
    check(&app, Request::get("/a/b"), 404, "not found\n");
    let app = app.get("/a/b", || "two segments");
    check(&app, Request::get("/a/b"), 200, "two segments");
    check(&app, Request::get("/a%2Fb"), 200, "one segment");
}

#[test]
fn repeated_fields_of_an_error_are_all_sent() {
    let fail = || {
        Err::<(), _>(
            HandlerError::status(StatusCode::UNAUTHORIZED, "no token")
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
                .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        )
    };
    let plain = App::new().get("/", fail);
    let typed = HandlerError::status(StatusCode::GONE, "<p>")
        .with_header(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let response = typed.into_response();
    assert_eq!(all_headers(&response, "content-type"), ["text/html"]);
    let rendered = App::new().get("/", fail).on_error(error_pages::html);
    for app in [plain, rendered] {
        let response = app.call(Request::get("/"));
        assert_eq!(
            all_headers(&response, "www-authenticate"),
            ["Basic", "Bearer"]
        );
    }
}

#[test]
fn what_a_handler_adds_to_an_error_is_kept() {
    let fail = || Err::<(), _>(HandlerError::status(StatusCode::CONFLICT, "taken"));
    let routes = move || {
        App::new()
            .get("/field", move || ([("retry-after", "5")], fail()))
            .get("/status", move || (StatusCode::GONE, fail()))
            .get("/body", move || fail().into_response().with_body("own"))
    };
    let app = routes();
    let response = app.call(Request::get("/field"));
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers().get(&RETRY_AFTER).unwrap(), "5");
    check(&app, Request::get("/status"), 410, "taken");
    check(&app, Request::get("/body"), 409, "own");
    let app = routes().on_error(|error, _| (error.status_code(), "rendered"));
    let response = app.call(Request::get("/field"));
    assert_eq!(
        (response.status().as_u16(), text(&response)),
        (409, "rendered")
    );
    assert_eq!(response.headers().get(&RETRY_AFTER).unwrap(), "5");
    check(&app, Request::get("/status"), 410, "rendered");
}

#[test]
fn a_backslash_makes_no_redirection_to_a_host() {
    let app = App::new().get("/{name}/", || "").redirect_slashes();
    for path in ["/\\evil.example", "/\\/evil.example"] {
        if let Ok(request) = Request::get(path).build() {
            let location = header(&app.call(request), "location");
            assert!(!location.starts_with("/\\"), "{location}");
        }
    }
}

#[test]
fn the_most_specific_prefix_and_host_take_what_no_route_matches() {
    let lost = |name: &'static str| App::new().fallback(move || name);
    let forwards = App::new()
        .nest("/api", lost("api"))
        .nest("/{tenant}", lost("tenant"))
        .host("www.a.example", lost("www"))
        .host("*.a.example", lost("sub"));
    let backwards = App::new()
        .host("*.a.example", lost("sub"))
        .host("www.a.example", lost("www"))
        .nest("/{tenant}", lost("tenant"))
        .nest("/api", lost("api"));
    let within = |host: &'static str| Request::get("/none").header("host", host);
    for app in [forwards, backwards] {
        check(&app, Request::get("/api/none"), 200, "api");
        check(&app, Request::get("/x/none"), 200, "tenant");
        check(&app, within("www.a.example"), 200, "www");
        check(&app, within("b.a.example"), 200, "sub");
    }
}

#[test]
fn an_app_nested_at_the_root_takes_what_no_route_matches() {
    let inner = || App::new().nest("/", App::new().fallback(|| "inner"));
    let outer = || inner().fallback(|| "outer");
    check(&outer(), Request::get("/x"), 200, "inner");
    let below = App::new().nest("/api", outer());
    check(&below, Request::get("/api/x"), 200, "inner");
    let host = App::new().host("a", outer());
    check(&host, Request::get("/x").header("host", "a"), 200, "inner");
}

#[test]
fn a_second_run_sees_what_the_first_has_rewritten() {
    let inner = App::new()
        .get("/a/{id}", |Path(id): Path<String>| format!("a {id}"))
        .get("/b/x/{id}", |Path(id): Path<String>| format!("b {id}"))
        .around(|request, next| {
            if request.path() == "/a/1" {
                request.set_target("/b/x/2").unwrap();
            }
            next.run(request)
        });
    let app = App::new().merge(inner).around(|request, next| {
        let first = text(&next.run(request)).to_owned();
        format!("{first}, {}", text(&next.run(request)))
    });
    check(&app, Request::get("/a/1"), 200, "b 2, b 2");
    check(&app, Request::get("/a/3"), 200, "a 3, a 3");
}

#[test]
fn a_request_may_be_replaced_by_another_one() {
    let other = App::new().get("/b/{id}", |Path(id): Path<u8>| format!("other {id}"));
    let app = App::new()
        .get("/a/{id}", |Path(id): Path<u8>| format!("a {id}"))
        .get("/b/{id}", |Path(id): Path<u8>| format!("b {id}"))
        .around(move |request, next| {
            let mut new = Request::get("/b/7").build().unwrap();
            if request.query().is_some() {
                assert_eq!(text(&other.handle(&mut new)), "other 7");
            }
            *request = new;
            next.run(request)
        });
    check(&app, Request::get("/a/1"), 200, "b 7");
    check(&app, Request::get("/a/1?"), 200, "b 7");
}

#[test]
fn an_app_may_be_called_within_its_own_handler() {
    let cell = Rc::<RefCell<Option<Rc<App>>>>::default();
    let inner = cell.clone();
    let app = App::new()
        .with(5_u8)
        .get("/{n}", move |Path(n): Path<u8>, State(five): State<u8>| {
            let app = inner.borrow().clone().unwrap();
            match n {
                0 => five.to_string(),
                n => format!(
                    "{n} {}",
                    text(&app.call(Request::get(format!("/{}", n - 1))))
                ),
            }
        })
        .around(|request, next| format!("[{}]", text(&next.run(request))));
    let app = Rc::new(app);
    *cell.borrow_mut() = Some(app.clone());
    check(&app, Request::get("/2"), 200, "[2 [1 [5]]]");
    cell.borrow_mut().take();
}

#[test]
fn an_app_as_a_handler_is_checked_before_serving() {
    struct Unready;
    impl Handler for Unready {
        fn handle(&self, _: &mut Request) -> Response {
            Response::default()
        }

        fn prepare(&self) -> io::Result<()> {
            Err(io::Error::other("unready"))
        }
    }
    let missing = || App::new().get("/a", |State(_): State<u64>| "");
    let error = App::new().any("/{*all}", missing()).prepare().unwrap_err();
    assert!(error.to_string().starts_with("GET /a needs `State<u64>`"));
    let error = App::new().fallback(Unready).prepare().unwrap_err();
    assert_eq!(error.to_string(), "unready");
    App::new()
        .with(1_u64)
        .fallback(|State(_): State<u64>| "")
        .prepare()
        .unwrap();
}

#[test]
fn a_missing_value_of_a_fallback_is_reported_with_its_place() {
    let line = line!() + 1;
    let app = App::new().fallback(|State(_): State<u64>| "");
    let error = app.prepare().unwrap_err().to_string();
    assert!(error.contains(&format!("{}:{line}:", file!())), "{error}");
}

/// An error whose text and causes are code of the program that panics.
#[derive(Debug)]
struct Explosive;

impl fmt::Display for Explosive {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("text on purpose")
    }
}

impl StdError for Explosive {}

#[test]
fn a_panic_while_an_error_is_rendered_is_a_500_within_the_middleware() {
    let statuses = Rc::<RefCell<Vec<u16>>>::default();
    let seen = statuses.clone();
    let app = App::new()
        .get("/rule", || Err::<(), HandlerError>(fmt::Error.into()))
        .get("/text", || Err::<(), HandlerError>(Explosive.into()))
        .status_of(|_: &fmt::Error| -> Option<StatusCode> { panic!("rule on purpose") })
        .around(move |request, next| {
            let response = next.run(request);
            seen.borrow_mut().push(response.status().as_u16());
            response
        });
    check(&app, Request::get("/rule"), 500, "Internal Server Error");
    check(&app, Request::get("/text"), 500, "Internal Server Error");
    assert_eq!(*statuses.borrow(), [500, 500]);
}

#[test]
fn extractors_that_panic_are_answered_with_500() {
    #[derive(Debug)]
    struct Bad;
    impl crate::http::FromRequest for Bad {
        fn from_request(_: &mut Request) -> Result<Self> {
            panic!("extractor on purpose")
        }
    }
    let app = App::new().get("/", |_: Bad| "");
    check(&app, Request::get("/"), 500, "Internal Server Error");
}

#[test]
fn long_paths_through_many_parameters_end_soon() {
    let mut app = App::new();
    // Each segment may be text or a parameter: 2^10 patterns that all fail at the last segment.
    for bits in 0..1 << 10 {
        let segment = |at: usize| match bits >> at & 1 {
            0 => "/a".to_owned(),
            _ => format!("/{{p{at}}}"),
        };
        let path: String = (0..10).map(segment).collect();
        app = app.get(&format!("{path}/end"), || "");
    }
    let path = "/a".repeat(10);
    check(
        &app,
        Request::get(path.clone() + "/none"),
        404,
        "not found\n",
    );
    check(&app, Request::get(path.clone() + "/end"), 200, "");
    assert_eq!(app.call(Request::get("/".repeat(5000))).status(), 404);
    assert_eq!(app.call(Request::get("/%61".repeat(1000))).status(), 404);
    let names: String = (0..1000).map(|n| format!("/{{n{n}}}")).collect();
    let app = App::new().get(&names, |Path(all): Path<Vec<String>>| all.len().to_string());
    check(&app, Request::get("/x".repeat(1000)), 200, "1000");
    check(&app, Request::get("/x".repeat(999)), 404, "not found\n");
}

#[test]
fn paths_of_all_forms_reach_their_routes() {
    let app = App::new()
        .get("/", |request: &mut Request| {
            format!("root {:?}", request.host())
        })
        .get("/a/{x}", |Path(x): Path<String>| x)
        .get("//", || "two slashes")
        .get("/files/{*rest}", |Path(rest): Path<String>| {
            format!("[{rest}]")
        })
        .host("b.example", App::new().get("/", || "host b"))
        .host("[::1]", App::new().get("/", || "six"))
        .host("p.example:81", App::new().get("/", || "port 81"));
    let of = |target: &'static str, host: &'static str| Request::get(target).header("host", host);
    check(&app, of("http://b.example", "a"), 200, "host b");
    check(&app, of("HTTP://B.Example:80/", "a"), 200, "host b");
    check(&app, of("http://a/a/1?x", "b.example"), 200, "1");
    check(&app, of("/", "B.EXAMPLE:1"), 200, "host b");
    check(&app, of("/", "[::1]:8080"), 200, "six");
    check(&app, of("/", "[::1]"), 200, "six");
    check(&app, of("/", "[::2]"), 200, "root Some(\"[::2]\")");
    check(&app, of("/", "p.example:81"), 200, "port 81");
    check(
        &app,
        of("/", "p.example:82"),
        200,
        "root Some(\"p.example:82\")",
    );
    let old = Request::get("/").version(http::Version::HTTP_10);
    check(&app, old, 200, "root None");
    check(&app, Request::get("//"), 200, "two slashes");
    check(&app, Request::get("///"), 404, "not found\n");
    check(&app, Request::get("/a/%2e%2e"), 200, "..");
    check(&app, Request::get("/a/"), 404, "not found\n");
    check(&app, Request::get("/a/%00"), 200, "\0");
    check(&app, Request::get("/a/a+b"), 200, "a+b");
    check(
        &app,
        Request::get("/a/%"),
        400,
        "path: x: path is not percent-encoded UTF-8\n",
    );
    check(&app, Request::get("/files"), 404, "not found\n");
    check(&app, Request::get("/files/"), 200, "[]");
    check(&app, Request::get("/files//x/"), 200, "[/x/]");
    check(&app, Request::get("/files/a%2Fb/c"), 200, "[a/b/c]");
    let star = Request::builder().method(Method::OPTIONS).target("*");
    assert_eq!(app.call(star).status(), 204);
    let connect = Request::builder().method(Method::CONNECT).target("a:80");
    if let Ok(connect) = connect.build() {
        assert!(app.call(connect).status().is_client_error());
    }
}

#[test]
fn paths_are_read_into_every_kind_of_value() {
    #[derive(Debug, Deserialize)]
    struct Unit;
    #[derive(Debug, Deserialize)]
    enum Kind {
        Plain,
        Wrapped(u8),
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it is only printed")]
    struct Pair(u8, Option<bool>);
    #[derive(Debug, Deserialize)]
    #[serde(transparent)]
    struct Id(u128);
    let app = App::new()
        .get("/i128/{a}", |Path(a): Path<i128>| a.to_string())
        .get("/id/{a}", |Path(Id(a)): Path<Id>| a.to_string())
        .get("/unit/{a}", |Path(()): Path<()>| "unit")
        .get("/units/{a}", |Path(unit): Path<Unit>| format!("{unit:?}"))
        .get("/kind/{a}", |Path(kind): Path<Kind>| match kind {
            Kind::Plain => "plain".to_owned(),
            Kind::Wrapped(n) => n.to_string(),
        })
        .get("/nested/{a}/{b}", |Path(_): Path<((u8, u8), u8)>| "nested")
        .get("/pair/{a}/{b}", |Path(pair): Path<Pair>| {
            format!("{pair:?}")
        })
        .get("/map/{a}/{b}", |Path(map): Path<HashMap<String, u8>>| {
            (map["a"] + map["b"]).to_string()
        })
        .get("/bytes/{a}", |Path(list): Path<Vec<u8>>| {
            format!("{list:?}")
        })
        .get("/option/{a}", |Path(a): Path<Option<char>>| {
            format!("{a:?}")
        })
        .get("/rest/{*a}", |Path(a): Path<Option<u8>>| format!("{a:?}"))
        .get("/arr/{a}/{b}", |Path(a): Path<[i8; 2]>| format!("{a:?}"));
    let large = i128::MIN.to_string();
    check(&app, Request::get(format!("/i128/{large}")), 200, &large);
    let large = u128::MAX.to_string();
    check(&app, Request::get(format!("/id/{large}")), 200, &large);
    check(&app, Request::get("/unit/x"), 200, "unit");
    check(&app, Request::get("/units/x"), 200, "Unit");
    check(&app, Request::get("/kind/Plain"), 200, "plain");
    assert_eq!(app.call(Request::get("/kind/Wrapped")).status(), 400);
    assert_eq!(app.call(Request::get("/nested/1/2")).status(), 400);
    check(
        &app,
        Request::get("/pair/1/true"),
        200,
        "Pair(1, Some(true))",
    );
    check(&app, Request::get("/map/1/2"), 200, "3");
    assert_eq!(app.call(Request::get("/map/1/x")).status(), 400);
    check(&app, Request::get("/bytes/7"), 200, "[7]");
    check(&app, Request::get("/option/%C3%A9"), 200, "Some('é')");
    assert_eq!(app.call(Request::get("/option/ab")).status(), 400);
    assert_eq!(app.call(Request::get("/rest/")).status(), 400);
    check(&app, Request::get("/arr/1/-2"), 200, "[1, -2]");
}

#[test]
fn deep_json_and_odd_types_are_refused() {
    #[derive(Deserialize)]
    struct Deep {
        #[allow(dead_code, reason = "it is only parsed")]
        next: Option<Box<Self>>,
    }
    let app = App::new()
        .post("/any", |Json(_): Json<serde_json::Value>| "parsed")
        .post("/deep", |Json(_): Json<Deep>| "parsed")
        .post("/text", |body: String| body)
        .post("/maybe", |note: Option<Json<u8>>| {
            format!("{}", note.is_some())
        });
    let json = |path: &str, body: String| {
        Request::post(path)
            .header("content-type", "application/json")
            .body(body)
    };
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    check(&app, json("/any", nested(100)), 200, "parsed");
    assert_eq!(app.call(json("/any", nested(100_000))).status(), 400);
    let nested = |depth: usize| "{\"next\":".repeat(depth) + "null" + &"}".repeat(depth);
    check(&app, json("/deep", nested(100)), 200, "parsed");
    assert_eq!(app.call(json("/deep", nested(100_000))).status(), 400);
    for (kind, status) in [
        ("application/json;", 200),
        (" application/json ;x=y", 200),
        ("APPLICATION/JSON", 200),
        ("application/jsonp", 415),
        ("text/plain; application/json", 415),
        ("application/json, text/plain", 415),
        ("", 415),
        ("\u{e9}/json", 415),
    ] {
        let request = Request::post("/any").header("content-type", kind).body("1");
        assert_eq!(app.call(request).status(), status, "{kind}");
    }
    let not_text = Request::post("/text").body(&b"\xff"[..]);
    assert_eq!(app.call(not_text).status(), 400);
    let stream = Request::post("/maybe").body_reader(&b"1"[..]);
    assert_eq!(app.call(stream).status(), 415);
    check(&app, json("/maybe", "1".into()), 200, "true");
    assert_eq!(app.call(json("/maybe", "300".into())).status(), 422);
}

#[test]
fn a_middleware_that_always_passes_on_ends() {
    let runs = Rc::<Cell<u32>>::default();
    let count = runs.clone();
    let app = App::new()
        .get("/{a}", || "a")
        .get("/{*b}", || "b")
        .fallback(|| "f")
        .around(move |_, _| {
            count.set(count.get() + 1);
            Err::<(), _>(HandlerError::pass_on())
        });
    check(&app, Request::get("/x"), 404, "not found\n");
    assert_eq!(runs.get(), 3, "once for each match");
}

#[test]
fn passing_on_goes_through_hosts_and_nested_apps() {
    let pass = || Err::<(), _>(HandlerError::pass_on());
    let mark = |name: &'static str| {
        move |request: &mut Request, next: Next<'_>| {
            let inner = next.run(request);
            match inner.status().is_success() {
                true => format!("{name}({})", text(&inner)).into_response(),
                false => inner,
            }
        }
    };
    let app = App::new()
        .around(mark("outer"))
        .host(
            "h",
            App::new()
                .get("/a/b", pass)
                .get("/{*r}", pass)
                .around(mark("host")),
        )
        .nest(
            "/a",
            App::new()
                .get("/b", pass)
                .get("/{x}", pass)
                .around(mark("nest")),
        )
        .merge(App::new().get("/{p}/b", pass).around(mark("merge")))
        .get("/{p}/{q}", |Path(both): Path<(String, String)>| {
            both.0 + &both.1
        });
    let request = || Request::get("/a/b").header("host", "h");
    check(&app, request(), 200, "outer(ab)");
    let app = app.around(|request, next| {
        let _ = next.run(request);
        next.run(request)
    });
    check(&app, request(), 200, "outer(ab)");
}
