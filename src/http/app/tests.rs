//! Apps without a server.

mod hostile;

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::fmt;
use std::rc::Rc;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::*;
use crate::http::{
    Body, Extension, Form, Handler, HandlerError, IntoRequest, IntoResponse, Json, Path, Query,
    Request, Response, Result, State,
};

fn text(response: &Response) -> &str {
    str::from_utf8(response.body().as_bytes().unwrap()).unwrap()
}

#[track_caller]
fn check(app: &App, request: impl IntoRequest, status: u16, body: &str) {
    let response = app.call(request);
    assert_eq!(
        (response.status().as_u16(), text(&response)),
        (status, body)
    );
}

fn header(response: &Response, name: &'static str) -> String {
    let value = response.headers().get(&http::HeaderName::from_static(name));
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

#[test]
fn handlers_take_extractors_and_then_the_request() {
    fn all(
        Path((a, b)): Path<(u8, String)>,
        Query(query): Query<Vec<(String, String)>>,
        method: Method,
        headers: http::HeaderMap,
        body: String,
        request: &mut Request,
    ) -> String {
        let field = headers["x"].to_str().unwrap();
        format!(
            "{a} {b} {query:?} {method} {field} {body} {}",
            request.path()
        )
    }
    let app = App::new()
        .post("/{a}/{b}", all)
        .get("/none", || "none")
        .get("/closure", |request: &mut Request| {
            request.path().to_owned()
        })
        .get("/status", || StatusCode::ACCEPTED);
    let request = Request::post("/7/b%2Fc?d=e").header("x", "y").body("body");
    check(
        &app,
        request,
        200,
        r#"7 b/c [("d", "e")] POST y body /7/b%2Fc"#,
    );
    check(&app, Request::get("/none"), 200, "none");
    check(&app, Request::get("/closure"), 200, "/closure");
    check(&app, Request::get("/status"), 202, "");
}

#[test]
fn a_path_fits_values_tuples_structs_and_enums() {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Old,
        New,
    }
    #[derive(Debug, Deserialize)]
    struct Id(u32);
    #[derive(Deserialize)]
    struct Named {
        b: Option<i8>,
        a: Kind,
    }
    let app = App::new()
        .get("/one/{a}", |Path(a): Path<f32>| a.to_string())
        .get("/id/{a}", |Path(id): Path<Id>| format!("{id:?} {}", id.0))
        .get("/list/{a}/{b}", |Path(list): Path<Vec<String>>| {
            format!("{list:?}")
        })
        .get("/named/{a}/{b}", |Path(named): Path<Named>| {
            format!("{:?} {:?}", named.a, named.b)
        })
        .get("/few/{a}", |Path(_): Path<(u8, u8)>| "no")
        .get("/many/{a}/{b}", |Path(_): Path<u8>| "no")
        .get("/zero", |Path(_): Path<u8>| "no")
        .get("/kind/{a}", |Path(kind): Path<(Kind,)>| format!("{kind:?}"));
    check(&app, Request::get("/one/1.5"), 200, "1.5");
    check(&app, Request::get("/id/7"), 200, "Id(7) 7");
    check(&app, Request::get("/list/%C3%A9/b"), 200, r#"["é", "b"]"#);
    check(&app, Request::get("/named/new/-3"), 200, "New Some(-3)");
    check(&app, Request::get("/kind/old"), 200, "(Old,)");
    let refused = [
        ("/one/x", "path: a: expected a number, got \"x\"\n"),
        (
            "/id/4294967296",
            "path: a: expected a number of type u32, got \"4294967296\"\n",
        ),
        ("/id/%ff", "path: a: path is not percent-encoded UTF-8\n"),
        (
            "/named/worn/1",
            "path: a: unknown variant `worn`, expected `old` or `new`\n",
        ),
        (
            "/few/1",
            "path: 2 values were expected, and the route has 1 parameters\n",
        ),
        (
            "/many/1/2",
            "path: a single value was expected, and the route has 2 parameters\n",
        ),
        (
            "/zero",
            "path: a single value was expected, and the route has 0 parameters\n",
        ),
    ];
    for (path, text) in refused {
        check(&app, Request::get(path), 400, text);
    }
}

#[test]
fn bodies_are_refused_by_what_is_wrong_with_them() {
    #[derive(Deserialize)]
    struct Note {
        n: u8,
    }
    let app = App::new()
        .post("/json", |Json(note): Json<Note>| note.n.to_string())
        .post("/maybe", |note: Option<Json<Note>>| {
            note.is_some().to_string()
        })
        .post("/form", |Form(note): Form<Note>| note.n.to_string())
        .post("/own", |note: Result<Json<Note>>| match note {
            Ok(_) => "fits".to_owned(),
            Err(error) => error.status_code().to_string(),
        })
        .merge(App::new().body_limit(4).post("/small", |body: String| body));
    let json = |path: &str, text: &'static str| {
        Request::post(path)
            .header("content-type", "Application/JSON; charset=utf-8")
            .body(text)
    };
    check(&app, json("/json", r#"{"n":7}"#), 200, "7");
    let problem = Request::post("/json")
        .header("content-type", "a/b+json")
        .body(r#"{"n":7}"#);
    check(&app, problem, 200, "7");
    let syntax = "JSON: expected value at line 1 column 6\n";
    check(&app, json("/json", r#"{"n":}"#), 400, syntax);
    let shape = "JSON: invalid value: integer `256`, expected u8 at line 1 column 8\n";
    check(&app, json("/json", r#"{"n":256}"#), 422, shape);
    let kind = "expected a body of type application/json, got none\n";
    check(&app, Request::post("/json").body("{}"), 415, kind);
    check(&app, Request::post("/maybe"), 200, "false");
    check(&app, json("/maybe", r#"{"n":7}"#), 200, "true");
    assert_eq!(app.call(json("/maybe", "{")).status(), 400);
    assert_eq!(app.call(json("/own", "{")).status(), 200);
    check(&app, Request::post("/form").form(&[("n", 7)]), 200, "7");
    assert_eq!(
        app.call(Request::post("/form").form(&[("n", "x")]))
            .status(),
        422
    );
    assert_eq!(app.call(json("/form", "n=7")).status(), 415);
    check(&app, Request::post("/small").body("1234"), 200, "1234");
    let large = "Payload Too Large: request body is larger than 4 bytes\n";
    check(&app, Request::post("/small").body("12345"), 413, large);
    let stream = Request::post("/small").body_reader(&b"12345"[..]);
    check(&app, stream, 413, large);
}

#[test]
fn methods_without_a_route_are_told_by_allow() {
    let app = App::new()
        .get("/a", || "get")
        .post("/a", || "post")
        .route(Method::from_bytes(b"PURGE").unwrap(), "/purge", || "purged")
        .any("/any", |method: Method| method.to_string());
    let answer = |method: &str, path: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let response = app.call(Request::builder().method(method).target(path));
        (response.status().as_u16(), header(&response, "allow"))
    };
    assert_eq!(
        answer("PUT", "/a"),
        (405, "GET, POST, HEAD, OPTIONS".into())
    );
    assert_eq!(
        answer("OPTIONS", "/a"),
        (204, "GET, POST, HEAD, OPTIONS".into())
    );
    assert_eq!(answer("HEAD", "/a"), (200, String::new()));
    assert_eq!(answer("OPTIONS", "/any"), (200, String::new()));
    assert_eq!(answer("PURGE", "/purge"), (200, String::new()));
    assert_eq!(answer("PURGE", "/a").0, 405, "the server knows it");
    assert_eq!(answer("BREW", "/a"), (501, String::new()));
    assert_eq!(answer("BREW", "/any"), (200, String::new()));
    assert_eq!(answer("OPTIONS", "/none"), (404, String::new()));
    let (status, allow) = answer("OPTIONS", "*");
    assert_eq!(status, 204);
    assert!(allow.contains("GET, POST, PURGE"), "{allow}");
}

#[test]
fn the_first_middleware_is_the_outermost() {
    fn mark(name: &'static str) -> impl Fn(&mut Request, Next<'_>) -> Response {
        move |request, next| {
            let route = request.route().unwrap_or("-").to_owned();
            let inner = next.run(request);
            let body = format!("{name}({route} {})", text(&inner).trim());
            inner.with_body(body)
        }
    }
    let inner = App::new()
        .get("/", || "i")
        .get("/x", || "x")
        .around(mark("c"));
    let app = App::new()
        .get("/", || "h")
        .around(mark("a"))
        .nest("/in", inner)
        .around(mark("b"))
        .fallback(|| "f");
    check(&app, Request::get("/"), 200, "a(/ b(/ h))");
    check(&app, Request::get("/in"), 200, "a(/in b(/in c(/in i)))");
    check(
        &app,
        Request::get("/in/x"),
        200,
        "a(/in/x b(/in/x c(/in/x x)))",
    );
    check(&app, Request::get("/in/y"), 200, "a(- b(- c(- f)))");
    check(
        &app,
        Request::post("/"),
        405,
        "a(- b(- method not allowed))",
    );
    check(&app, Request::get("/y"), 200, "a(- b(- f))");
}

#[test]
fn middleware_may_answer_rewrite_and_run_twice() {
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let app = App::new()
        .get("/new", |request: &mut Request| {
            format!("new {:?}", request.query())
        })
        .post("/new", || "posted")
        .get("/twice", move || {
            count.set(count.get() + 1);
            count.get().to_string()
        })
        .nest(
            "/deep",
            App::new()
                .get("/new", || "deep")
                .around(|request, next| format!("<{}>", text(&next.run(request)))),
        )
        .around(|request, next| {
            match request.path() {
                "/early" => return "early".into_response(),
                "/old" => request.set_target("/new?a=b").unwrap(),
                "/post" => {
                    request.set_target("/new").unwrap();
                    request.set_method(Method::POST).unwrap();
                }
                "/down" => request.set_target("/deep/new").unwrap(),
                "/twice" => drop(next.run(request)),
                _ => {}
            }
            next.run(request)
        });
    check(&app, Request::get("/early"), 200, "early");
    check(&app, Request::get("/old"), 200, "new Some(\"a=b\")");
    check(&app, Request::get("/post"), 200, "posted");
    check(&app, Request::get("/down"), 200, "<deep>");
    check(&app, Request::get("/twice"), 200, "2");
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_rewrite_within_a_nested_app_may_leave_it() {
    let up = App::new().get("/a", || "a").around(|request, next| {
        request.set_target("/b").unwrap();
        format!("up {}", text(&next.run(request)))
    });
    let app = App::new()
        .nest("/up", up)
        .get("/b", || "b")
        .around(|request, next| format!("out {}", text(&next.run(request))));
    check(&app, Request::get("/up/a"), 200, "out up b");
}

#[test]
fn a_request_is_passed_on_to_the_next_match() {
    let pass = || Err::<(), _>(HandlerError::pass_on());
    let log = Rc::<RefCell<Vec<String>>>::default();
    let seen = log.clone();
    let watch = move |name: &'static str| {
        let seen = seen.clone();
        move |request: &mut Request, next: Next<'_>| {
            let response = next.run(request);
            seen.borrow_mut()
                .push(format!("{name} {}", response.status().as_u16()));
            response
        }
    };
    let app = App::new()
        .around(watch("outer"))
        .nest(
            "/a",
            App::new()
                .get("/b", pass)
                .get("/{x}", pass)
                .around(watch("inner")),
        )
        .get("/{x}/{y}", pass)
        .get("/{*all}", |Path(all): Path<String>| all);
    check(&app, Request::get("/a/b"), 200, "a/b");
    assert_eq!(*log.borrow(), ["inner 404", "outer 200"]);
    let app = App::new().get("/{x}", pass).get("/x", pass);
    check(&app, Request::get("/x"), 404, "not found\n");
    let app = App::new().get("/x", pass).fallback(pass);
    check(&app, Request::get("/x"), 404, "not found\n");
    check(&app, Request::get("/y"), 404, "not found\n");
}

#[derive(Debug)]
enum ApiError {
    Missing,
    Broken,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secret")
    }
}

impl StdError for ApiError {}

#[test]
fn errors_are_rendered_once_by_the_innermost_app_that_can() {
    let log = Rc::<RefCell<Vec<u16>>>::default();
    let seen = log.clone();
    let app = App::new()
        .get("/missing", || {
            Err::<(), HandlerError>(ApiError::Missing.into())
        })
        .get("/wrapped", || {
            let error = std::io::Error::other(ApiError::Missing);
            Err::<(), HandlerError>(error.into())
        })
        .get("/broken", || {
            Err::<(), HandlerError>(ApiError::Broken.into())
        })
        .get("/panic", || -> String { panic!("on purpose") })
        .get("/number/{n}", |Path(_): Path<u8>| "")
        .status_of(|error: &ApiError| match error {
            ApiError::Missing => Some(StatusCode::NOT_FOUND),
            ApiError::Broken => None,
        })
        .on_error(|error, request| {
            let path = request.map(|request| request.path().to_owned());
            (
                error.status_code(),
                format!("outer {path:?} {}", error.text().trim()),
            )
        })
        .around(move |request, next| {
            let response = next.run(request);
            seen.borrow_mut().push(response.status().as_u16());
            response
        })
        .nest(
            "/in",
            App::new()
                .get("/missing", || {
                    Err::<(), HandlerError>(ApiError::Missing.into())
                })
                .on_error(|error, _| (error.status_code(), "inner")),
        );
    check(
        &app,
        Request::get("/missing"),
        404,
        "outer Some(\"/missing\") Not Found",
    );
    check(
        &app,
        Request::get("/wrapped"),
        404,
        "outer Some(\"/wrapped\") Not Found",
    );
    let text = "outer Some(\"/broken\") Internal Server Error";
    check(&app, Request::get("/broken"), 500, text);
    let text = "outer Some(\"/panic\") Internal Server Error";
    check(&app, Request::get("/panic"), 500, text);
    assert_eq!(
        header(&app.call(Request::get("/panic")), "connection"),
        "close"
    );
    assert_eq!(app.call(Request::get("/number/x")).status(), 400);
    check(&app, Request::get("/in/missing"), 404, "inner");
    check(&app, Request::get("/in/none"), 404, "inner");
    check(
        &app,
        Request::get("/none"),
        404,
        "outer Some(\"/none\") not found",
    );
    let response = app.call(Request::post("/missing"));
    assert_eq!(header(&response, "allow"), "GET, HEAD, OPTIONS");
    assert_eq!(
        *log.borrow(),
        [404, 404, 500, 500, 500, 400, 404, 404, 404, 405]
    );
}

#[test]
fn a_renderer_that_fails_leaves_the_plain_text() {
    let app = App::new().on_error(|_, _| -> String { panic!("on purpose") });
    check(&app, Request::get("/"), 404, "not found\n");
    let app = App::new()
        .on_error(|_, _| Err::<(), _>(HandlerError::status(StatusCode::BAD_GATEWAY, "worse")));
    check(&app, Request::get("/"), 502, "worse");
}

#[test]
fn errors_of_middleware_are_rendered_outside_of_it() {
    let app = App::new()
        .get("/", || "never")
        .around(|request, next| format!("[{}]", text(&next.run(request))))
        .around(|_, _| Err::<(), HandlerError>(ApiError::Broken.into()))
        .on_error(|error, _| error.status_code().to_string());
    check(&app, Request::get("/"), 200, "[500 Internal Server Error]");
}

#[test]
fn built_in_error_pages() {
    let app = App::new().get("/<b>/{n}", |Path(_): Path<u8>| "");
    let app = app.on_error(error_pages::html);
    let page = app.call(Request::get("/%3Cb%3E/%3Cx%3E"));
    assert_eq!(page.status(), 400);
    assert!(
        text(&page).contains("got \"&lt;x&gt;\"</p>"),
        "{}",
        text(&page)
    );
    let app = App::new().get("/", || Err::<(), HandlerError>(ApiError::Broken.into()));
    let app = app.on_error(error_pages::problem_json);
    let problem = app.call(Request::get("/"));
    assert_eq!(header(&problem, "content-type"), "application/problem+json");
    assert_eq!(
        text(&problem),
        r#"{"title":"Internal Server Error","status":500}"#
    );
}

#[test]
fn state_is_that_of_the_nearest_app() {
    struct Name(&'static str);
    let name = |State(name): State<Name>| name.0;
    let app = App::new()
        .with(Name("outer"))
        .get("/", name)
        .nest("/in", App::new().with(Name("inner")).get("/", name))
        .nest("/none", App::new().get("/", name))
        .merge(App::new().with(Name("merged")).get("/merged", name))
        .get("/maybe", |number: Option<State<u64>>| {
            number.is_some().to_string()
        });
    check(&app, Request::get("/"), 200, "outer");
    check(&app, Request::get("/in"), 200, "inner");
    check(&app, Request::get("/none"), 200, "outer");
    check(&app, Request::get("/merged"), 200, "merged");
    check(&app, Request::get("/maybe"), 200, "false");
}

#[test]
fn missing_state_is_found_before_serving() {
    let line = line!() + 1;
    let app = App::new().nest("/n", App::new().post("/b", |State(_): State<u64>| ""));
    let error = app.prepare().unwrap_err().to_string();
    let place = format!("(routed at {}:{line}:", file!());
    let start = "POST /n/b needs `State<u64>`, and no `App::with` gives one ";
    assert!(error.starts_with(&format!("{start}{place}")), "{error}");
    app.with(7_u64).prepare().unwrap();
    let error = App::new()
        .apply(|app: App| app.needs::<String>())
        .prepare()
        .unwrap_err();
    let start = "the app needs a `alloc::string::String`, and no `App::with` gives one (needed at ";
    assert!(error.to_string().starts_with(start), "{error}");
    let lonely = |State(_): State<u64>| "";
    let handler = crate::http::exchange::handler::Converted::new(lonely);
    let error = handler.prepare().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the handler needs `State<u64>`, which only an")
    );
}

#[test]
fn values_of_a_request_end_with_it() {
    struct Noisy(Rc<Cell<u32>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::<Cell<u32>>::default();
    let given = dropped.clone();
    let app = App::new()
        .get("/", |request: &mut Request| {
            request.value::<u8>().map_or(0, |n| *n).to_string()
        })
        .get("/ext", |Extension(n): Extension<u8>| n.to_string())
        .around(move |request, next| {
            if request.query().is_some() {
                request.insert(Noisy(given.clone()));
                assert_eq!(request.insert(7_u8), None);
                assert_eq!(request.insert(8_u8), Some(7));
                *request.value_mut::<u8>().unwrap() += 1;
                assert!(request.remove::<u16>().is_none());
            }
            next.run(request)
        });
    check(&app, Request::get("/?"), 200, "9");
    check(&app, Request::get("/ext?"), 200, "9");
    check(&app, Request::get("/"), 200, "0");
    check(&app, Request::get("/ext"), 500, "Internal Server Error");
    assert_eq!(dropped.get(), 2);
}

#[test]
fn held_values_last_as_long_as_the_response() {
    let alive = Rc::new(());
    let held = alive.clone();
    let app = App::new()
        .get("/", move || {
            Response::default()
                .with_body(Body::empty())
                .hold(held.clone())
        })
        .get("/error", || {
            Err::<(), _>(HandlerError::status(StatusCode::GONE, ""))
        })
        .on_error(|error, _| error.status_code());
    let response = app.call(Request::get("/"));
    assert_eq!(Rc::strong_count(&alive), 3);
    drop(response);
    assert_eq!(Rc::strong_count(&alive), 2);
    // Errors come apart from what was held, but do not end it.
    let guard = alive.clone();
    let app = app.around(move |request, next| next.run(request).hold(guard.clone()));
    let response = app.call(Request::get("/error"));
    assert_eq!(
        (response.status().as_u16(), Rc::strong_count(&alive)),
        (410, 4)
    );
}

#[test]
fn hosts_come_before_the_rest() {
    let app = App::new()
        .get("/", || "any")
        .get("/shared", || "shared")
        .host("*.example.org", App::new().get("/", || "sub"))
        .host(
            "www.example.org",
            App::new().get("/", || "www").fallback(|| "lost"),
        );
    let of = |host: &'static str, path: &str| Request::get(path).header("host", host);
    check(&app, of("www.example.org:8080", "/"), 200, "www");
    check(&app, of("a.example.org", "/"), 200, "sub");
    check(&app, of("example.org", "/"), 200, "any");
    check(&app, of("www.example.org", "/shared"), 200, "shared");
    check(&app, of("www.example.org", "/none"), 200, "lost");
    check(&app, of("a.example.org", "/none"), 404, "not found\n");
}

#[test]
fn slashes_are_redirected_only_where_asked() {
    let app = App::new().get("/a", || "a").get("/b/", || "b");
    assert_eq!(app.call(Request::get("/a/")).status(), 404);
    let app = app.redirect_slashes();
    for (from, to) in [("/a/?q=1", "/a?q=1"), ("/b", "/b/")] {
        let response = app.call(Request::get(from));
        assert_eq!(
            (response.status().as_u16(), &*header(&response, "location")),
            (308, to)
        );
    }
    assert_eq!(app.call(Request::post("/a/")).status(), 404);
    assert_eq!(app.call(Request::get("/c/")).status(), 404);
    let open = App::new()
        .get("/{*all}", || "")
        .get("//evil/", || "")
        .redirect_slashes();
    assert_eq!(
        open.call(Request::get("//evil")).status(),
        200,
        "no redirect to a host"
    );
}

#[test]
fn two_routes_of_one_shape_panic_with_both_places() {
    let conflict = |make: fn() -> App| {
        let payload = std::panic::catch_unwind(make).map(drop).unwrap_err();
        crate::runtime::base::panic::message(&*payload).to_owned()
    };
    let text = conflict(|| App::new().get("/{a}/b", || "").get("/{c}/b", || ""));
    let file = file!();
    assert!(
        text.starts_with(&format!(
            "two routes for GET /{{c}}/b: the first at {file}:"
        )),
        "{text}"
    );
    let text = conflict(|| {
        let inner = App::new().get("/b", || "");
        App::new().get("/a/b", || "").nest("/a", inner)
    });
    assert!(
        text.starts_with("two routes for GET /a/b: the first at "),
        "{text}"
    );
    let text = conflict(|| App::new().get("a", || ""));
    assert_eq!(text, "malformed route `a`: it must begin with `/`");
    let text = conflict(|| App::new().merge(App::new().fallback(|| "")));
    assert!(
        text.starts_with("a merged app cannot have a fallback"),
        "{text}"
    );
    let text = conflict(|| {
        let inner = App::new().host("a", App::new().get("/", || ""));
        App::new().host("b", inner)
    });
    assert_eq!(text, "an app with hosts cannot be the app of a host");
    // Different shapes, methods and hosts are no conflict.
    let _ = App::new()
        .get("/{a}", || "")
        .post("/{a}", || "")
        .any("/{a}", || "")
        .get("/{*a}", || "")
        .get("/a", || "")
        .host("a", App::new().get("/a", || ""));
}

#[test]
fn an_app_may_be_built_on_after_it_has_answered() {
    let app = App::new().get("/", || "one");
    check(&app, Request::get("/two"), 404, "not found\n");
    let app = app.get("/two", || "two");
    check(&app, Request::get("/two"), 200, "two");
}
