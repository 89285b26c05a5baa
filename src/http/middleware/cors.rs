//! Cross-origin resource sharing, by the Fetch standard (section 3.3, "CORS protocol").
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::vary::add_vary;
use crate::http::app::{App, Next, Plugin};
use crate::http::exchange::request::Request;
use crate::http::message::Response;

type OriginRule = dyn Fn(&str, &Request) -> bool;

/// Lets scripts of other origins use an app. Made by [`cors`].
pub struct Cors {
    origins: Origins,
    methods: List,
    headers: List,
    exposed: Vec<HeaderName>,
    has_credentials: bool,
    max_age: Option<Duration>,
}

/// Which origins may use the app.
enum Origins {
    /// Each one, also in a response that a cache gives to others.
    Any,
    /// These, and those that a rule accepts.
    Some(Vec<String>, Option<Box<OriginRule>>),
}

/// Which methods or fields a request may have.
enum List {
    /// Those that the preflight asks for.
    Any,
    Some(String),
}

/// Lets scripts of other origins use an app: answers the preflights of browsers, and adds the
/// fields `Access-Control-...` to responses.
///
/// Without further calls it allows no origin. [`origin`](Cors::origin) allows one,
/// [`origin_if`](Cors::origin_if) those that a closure accepts, and
/// [`any_origin`](Cors::any_origin) all of them. Allowed are then the methods GET, HEAD and POST
/// and the fields that forms can send, as the standard has it;
/// [`methods`](Cors::methods) and [`headers`](Cors::headers) allow more.
///
/// A preflight is an OPTIONS with `Origin` and `Access-Control-Request-Method`. Its answer has the
/// status 204, whatever the routes of the path are, and does not reach the handler. An origin that
/// is not allowed gets the same answers without the fields; its requests still reach the handlers,
/// as it is the browser that keeps the responses from scripts. The responses to errors of handlers
/// have the fields, too. Apply it before authentication, as preflights have no credentials.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::cors;
/// use ethreads::http::{App, Method, Request};
///
/// let shared = cors()
///     .origin("https://app.example")
///     .methods([Method::GET, Method::PUT])
///     .headers(["content-type"])
///     .credentials();
/// let app = App::new().get("/", || "hello\n").apply(shared);
///
/// let request = Request::get("/").header("origin", "https://app.example").build()?;
/// let response = app.call(request);
/// let allowed = response.headers().get(&http::header::ACCESS_CONTROL_ALLOW_ORIGIN);
/// assert_eq!(allowed.unwrap(), "https://app.example");
/// # Ok::<(), ethreads::http::Error>(())
/// ```
pub fn cors() -> Cors {
    Cors {
        origins: Origins::Some(Vec::new(), None),
        methods: List::Some("GET, HEAD, POST".to_owned()),
        headers: List::Some(String::new()),
        exposed: Vec::new(),
        has_credentials: false,
        max_age: None,
    }
}

impl Cors {
    /// Allows an origin: a scheme, a host in lower case, and a port unless it is that of the
    /// scheme, as in `https://app.example` or `http://localhost:3000`.
    ///
    /// # Panics
    ///
    /// If `origin` has another form, for example a slash at its end, as no browser sends it so.
    #[must_use]
    #[track_caller]
    pub fn origin(mut self, origin: &str) -> Self {
        assert!(
            is_origin(origin),
            "{origin:?} is no origin: a scheme, `://`, a host in lower case, and a port unless it \
             is that of the scheme"
        );
        match &mut self.origins {
            Origins::Any => {}
            Origins::Some(origins, _) => origins.push(origin.to_owned()),
        }
        self
    }

    /// Allows several origins: see [`origin`](Self::origin).
    ///
    /// # Panics
    ///
    /// As [`origin`](Self::origin).
    #[must_use]
    #[track_caller]
    pub fn origins<'a>(mut self, origins: impl IntoIterator<Item = &'a str>) -> Self {
        for origin in origins {
            self = self.origin(origin);
        }
        self
    }

    /// Allows the origins that `rule` accepts, too. It gets the origin as the browser has sent it,
    /// which may be `null`, and the request.
    #[must_use]
    pub fn origin_if(mut self, rule: impl Fn(&str, &Request) -> bool + 'static) -> Self {
        if let Origins::Some(_, rules) = &mut self.origins {
            *rules = Some(Box::new(rule));
        }
        self
    }

    /// Allows every origin. The response is the same for all of them, so it has no `Vary`.
    #[must_use]
    pub fn any_origin(mut self) -> Self {
        self.origins = Origins::Any;
        self
    }

    /// Replaces the methods that are allowed.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        let names: Vec<_> = methods.into_iter().map(|m| m.as_str().to_owned()).collect();
        self.methods = List::Some(names.join(", "));
        self
    }

    /// Allows the methods that a preflight asks for, whichever they are.
    #[must_use]
    pub fn any_method(mut self) -> Self {
        self.methods = List::Any;
        self
    }

    /// Sets which fields scripts may send, beside those that forms can send, too.
    ///
    /// # Panics
    ///
    /// If one is no name of a field.
    #[must_use]
    #[track_caller]
    pub fn headers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.into_iter().map(field_name).collect();
        let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
        self.headers = List::Some(names.join(", "));
        self
    }

    /// Allows the fields that a preflight asks for, whichever they are.
    #[must_use]
    pub fn any_header(mut self) -> Self {
        self.headers = List::Any;
        self
    }

    /// Sets which fields of responses scripts may read, beside `Content-Type` and the few others
    /// that the standard lists.
    ///
    /// # Panics
    ///
    /// If one is no name of a field.
    #[must_use]
    #[track_caller]
    pub fn expose<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.exposed = names.into_iter().map(field_name).collect();
        self
    }

    /// Lets scripts send cookies and other credentials. Only for origins that are trusted with all
    /// that a user can do.
    #[must_use]
    pub fn credentials(mut self) -> Self {
        self.has_credentials = true;
        self
    }

    /// Sets how long browsers remember the answer to a preflight: 5 s by the standard if it is not
    /// set, and at most 2 hours in some of them.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

impl Plugin for Cors {
    /// # Panics
    ///
    /// If it allows credentials to every origin, which browsers refuse, and which would give every
    /// site what a user can see.
    #[track_caller]
    fn apply_to(self, app: App) -> App {
        assert!(
            !(self.has_credentials && matches!(self.origins, Origins::Any)),
            "credentials cannot be allowed to any origin; name the origins"
        );
        app.around(move |request, next| self.run(request, next))
    }
}

impl Cors {
    fn run(&self, request: &mut Request, next: Next<'_>) -> Response {
        let origin = request.header("origin");
        let allowed = origin.and_then(|origin| self.allow(origin, request));
        let asked = match request.method() == Method::OPTIONS && origin.is_some() {
            true => request.header("access-control-request-method"),
            false => None,
        };
        let is_preflight = asked.is_some();
        let mut response = match asked {
            Some(method) => self.preflight(method, request, allowed.is_some()),
            None => next.run(request),
        };
        let headers = response.headers_mut();
        headers.remove(&ACCESS_CONTROL_ALLOW_ORIGIN);
        if !matches!(self.origins, Origins::Any) {
            add_vary(headers, "Origin");
        }
        let Some(allowed) = allowed else {
            return response;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.has_credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if !is_preflight && !self.exposed.is_empty() {
            let names: Vec<_> = self.exposed.iter().map(HeaderName::as_str).collect();
            set(
                &mut response,
                ACCESS_CONTROL_EXPOSE_HEADERS,
                &names.join(", "),
            );
        }
        response
    }

    /// The value of `Access-Control-Allow-Origin` for an origin, if it is allowed.
    fn allow(&self, origin: &str, request: &Request) -> Option<HeaderValue> {
        let is_allowed = match &self.origins {
            Origins::Any => return Some(HeaderValue::from_static("*")),
            Origins::Some(origins, rule) => {
                origins.iter().any(|allowed| allowed == origin)
                    || rule.as_ref().is_some_and(|rule| rule(origin, request))
            }
        };
        // A received value is a value.
        is_allowed.then(|| HeaderValue::from_str(origin).ok())?
    }

    /// The answer to the question of a browser whether it may send a request.
    fn preflight(&self, method: &str, request: &Request, is_allowed: bool) -> Response {
        let mut response = Response::new(StatusCode::NO_CONTENT);
        let fields = request.header("access-control-request-headers");
        if matches!(self.methods, List::Any) {
            add_vary(response.headers_mut(), "Access-Control-Request-Method");
        }
        if matches!(self.headers, List::Any) {
            add_vary(response.headers_mut(), "Access-Control-Request-Headers");
        }
        if !is_allowed {
            return response;
        }
        let methods = self.methods.allow(Some(method));
        set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, methods);
        let headers = self.headers.allow(fields);
        set(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, headers);
        if let Some(max_age) = self.max_age {
            let seconds = max_age.as_secs().to_string();
            set(&mut response, ACCESS_CONTROL_MAX_AGE, &seconds);
        }
        response
    }
}

impl List {
    /// What is allowed to a preflight that asks for this.
    fn allow<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        match self {
            Self::Any => asked.unwrap_or_default(),
            Self::Some(names) => names,
        }
    }
}

/// Sets a field, unless it has nothing to say.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        response.headers_mut().insert(name, value);
    }
}

#[track_caller]
fn field_name(name: &str) -> HeaderName {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("{name:?} is no name of a field"),
    }
}

/// HTML standard, section 7.1.1: an origin as browsers write it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let is_default = match scheme {
        "http" => host.ends_with(":80"),
        "https" => host.ends_with(":443"),
        _ => false,
    };
    let is_scheme = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    let is_host = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    let has_bad = host.contains(['/', '?', '#', '@', '*', '\\']);
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme)
        && !host.is_empty()
        && host.bytes().all(is_host)
        && !has_bad
        && !is_default
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cors");
        match &self.origins {
            Origins::Any => debug.field("origins", &"*"),
            Origins::Some(origins, _) => debug.field("origins", origins),
        };
        debug
            .field("credentials", &self.has_credentials)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HandlerError, IntoResponse};

    const SITE: &str = "https://a.example";

    fn app(cors: Cors) -> App {
        App::new()
            .get("/", || ([("vary", "accept")], "hello").into_response())
            .get("/own", || ([("access-control-allow-origin", "*")], "own"))
            .get("/fail", || {
                Err::<(), _>(HandlerError::status(StatusCode::CONFLICT, "taken"))
            })
            .route(Method::OPTIONS, "/", || "options")
            .apply(cors)
    }

    /// The fields of a response that CORS is about, in their order.
    #[track_caller]
    fn check(app: &App, line: &str, fields: &[(&str, &str)], status: u16, expected: &[&str]) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .target(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = app.call(request);
        assert_eq!(response.status(), status, "{line}");
        let fields = response.headers().iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let ours = fields.filter(|(name, _)| *name == "vary" || name.starts_with("access-"));
        let lines: Vec<_> = ours
            .map(|(name, value)| format!("{}: {value}", name.trim_start_matches("access-control-")))
            .collect();
        assert_eq!(lines, expected, "{line}");
    }

    const ASK: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn named_origins_are_allowed() {
        let app = app(cors().origins(["http://localhost:3000", SITE]));
        let allowed = [
            "vary: accept",
            "vary: Origin",
            "allow-origin: https://a.example",
        ];
        check(&app, "GET /", &[("origin", SITE)], 200, &allowed);
        let vary = ["vary: accept", "vary: Origin"];
        for other in [
            "https://b.example",
            "https://a.example:8443",
            "http://a.example",
            "null",
        ] {
            check(&app, "GET /", &[("origin", other)], 200, &vary);
        }
        check(&app, "GET /", &[], 200, &vary);
        // Errors are readable, too, and what a handler has set is replaced.
        let allowed = ["vary: Origin", "allow-origin: https://a.example"];
        check(&app, "GET /fail", &[("origin", SITE)], 409, &allowed);
        check(&app, "GET /none", &[("origin", SITE)], 404, &allowed);
        check(&app, "GET /own", &[("origin", SITE)], 200, &allowed);
        check(
            &app,
            "GET /own",
            &[("origin", "null")],
            200,
            &["vary: Origin"],
        );
    }

    #[test]
    fn any_origin_needs_no_vary() {
        let app = app(cors().any_origin().expose(["X-Total", "etag"]));
        let expected = [
            "vary: accept",
            "allow-origin: *",
            "expose-headers: x-total, etag",
        ];
        check(&app, "GET /", &[("origin", SITE)], 200, &expected);
        check(&app, "GET /", &[], 200, &["vary: accept"]);
        let preflight = ["allow-methods: GET, HEAD, POST", "allow-origin: *"];
        check(&app, "OPTIONS /", &[("origin", SITE), ASK], 204, &preflight);
    }

    #[test]
    fn a_closure_decides() {
        let rule =
            |origin: &str, request: &Request| request.path() == "/" && origin.ends_with(".example");
        let app = app(cors()
            .origin("http://localhost")
            .origin_if(rule)
            .credentials());
        let allowed = |origin: &str| {
            let origin = format!("allow-origin: {origin}");
            [
                "vary: Origin".to_owned(),
                origin,
                "allow-credentials: true".to_owned(),
            ]
        };
        for origin in ["http://localhost", "https://b.example"] {
            let expected = allowed(origin);
            let mut expected: Vec<_> = expected.iter().map(String::as_str).collect();
            expected.insert(0, "vary: accept");
            check(&app, "GET /", &[("origin", origin)], 200, &expected);
        }
        check(
            &app,
            "GET /own",
            &[("origin", "https://b.example")],
            200,
            &["vary: Origin"],
        );
    }

    #[test]
    fn preflights_are_answered() {
        let shared = cors()
            .origin(SITE)
            .methods([Method::GET, Method::PUT])
            .headers(["Content-Type", "x-a"])
            .expose(["x-b"])
            .max_age(Duration::from_secs(600));
        let app = app(shared);
        let expected = [
            "allow-methods: GET, PUT",
            "allow-headers: content-type, x-a",
            "max-age: 600",
            "vary: Origin",
            "allow-origin: https://a.example",
        ];
        // Whatever the routes are.
        for line in ["OPTIONS /", "OPTIONS /none"] {
            check(&app, line, &[("origin", SITE), ASK], 204, &expected);
        }
        let other = [("origin", "https://b.example"), ASK];
        check(&app, "OPTIONS /", &other, 204, &["vary: Origin"]);
        // These are no preflights.
        let plain = [
            "vary: Origin",
            "allow-origin: https://a.example",
            "expose-headers: x-b",
        ];
        check(&app, "OPTIONS /", &[("origin", SITE)], 200, &plain);
        check(&app, "OPTIONS /", &[ASK], 200, &["vary: Origin"]);
        let get = ["vary: accept", plain[0], plain[1], plain[2]];
        check(&app, "GET /", &[("origin", SITE), ASK], 200, &get);
    }

    #[test]
    fn what_a_preflight_asks_for_is_allowed() {
        let app = app(cors().origin(SITE).any_method().any_header().credentials());
        let headers = ("access-control-request-headers", "x-a,x-b");
        let vary = [
            "vary: Access-Control-Request-Method",
            "vary: Access-Control-Request-Headers",
        ];
        let expected = [
            vary[0],
            vary[1],
            "allow-methods: PUT",
            "allow-headers: x-a,x-b",
            "vary: Origin",
            "allow-origin: https://a.example",
            "allow-credentials: true",
        ];
        check(
            &app,
            "OPTIONS /",
            &[("origin", SITE), ASK, headers],
            204,
            &expected,
        );
        let none = [
            vary[0],
            vary[1],
            expected[2],
            "vary: Origin",
            expected[5],
            expected[6],
        ];
        check(&app, "OPTIONS /", &[("origin", SITE), ASK], 204, &none);
    }

    #[test]
    fn origins_have_one_form() {
        for good in [
            "https://a.b",
            "http://localhost:3000",
            "http://[::1]:8080",
            "app+x://y",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "a.b",
            "https://",
            "https://a.b/",
            "https://A.b",
            "HTTPS://a.b",
            "http://a:80",
            "https://a:443",
            "https://*.a.b",
            "https://a b",
            "null",
            "*",
            "https://u@a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    #[should_panic(expected = "\"https://a.example/\" is no origin")]
    fn an_origin_has_no_path() {
        let _ = cors().origin("https://a.example/");
    }

    #[test]
    #[should_panic(expected = "credentials cannot be allowed to any origin")]
    fn credentials_are_for_named_origins() {
        let _ = App::new().apply(cors().credentials().any_origin());
    }
}
