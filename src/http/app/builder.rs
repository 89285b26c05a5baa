//! The builder of an app.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;

use http::{Method, StatusCode};

use super::needs::check_needs;
use super::next::Next;
use super::pattern::{HostPattern, Pattern, Prefix};
use super::spec::{FallbackSpec, Mount, RouteKey, RouteSpec, ScopeSpec};
use super::table::Table;
use super::tunnelling::Tunnelling;
use crate::http::error::HandlerError;
use crate::http::exchange::extract::Needs;
use crate::http::exchange::handler::{Converted, Handler, IntoHandler};
use crate::http::exchange::request::Request;
use crate::http::message::IntoResponse;
use crate::runtime::base::panic::note_places;

/// An application: routes, middleware around them, values for them, and how errors look.
///
/// An app is a [`Handler`](crate::http::Handler): give it to
/// [`Server::serve`](crate::http::Server::serve), or on shards to
/// [`serve_each`](crate::http::ShardedServer::serve_each), which makes one app for each shard. It
/// is built once and never changes while it serves. It is not `Send`, so its values need no lock.
///
/// # Routes
///
/// A route is a method, a pattern of a path, and a [handler](IntoHandler). In a pattern `{name}`
/// stands for one segment that is not empty, and `{*name}` for the rest of the path, which may be
/// empty. Of several patterns that match, the most specific one is taken, segment by segment: text
/// comes before `{name}`, and `{name}` before `{*name}`. The order in which routes were added does
/// not matter, and two routes of the same method and pattern panic.
///
/// A path is split at its slashes, then its segments are percent-decoded, then they are compared:
/// `%2F` stays inside a segment. A trailing slash is significant.
///
/// A HEAD is answered by the route of GET, without its body. An OPTIONS is answered with 204 and
/// the methods of the path in `Allow`, unless a route takes it. A path that no route matches is
/// answered with 404 or by the [fallback](Self::fallback), a method that no route of the path takes
/// with 405 and `Allow`, and a method that HTTP does not know and no route of the app takes with
/// 501.
///
/// # Middleware
///
/// [`around`](Self::around) adds a function around everything that the app answers: its routes, its
/// nested apps, its fallback, 404 and 405. The first one is the outermost.
///
/// # Apps in apps
///
/// [`nest`](Self::nest) adds the routes of another app below a prefix, [`merge`](Self::merge)
/// beside the own ones, [`host`](Self::host) for one host. Middleware of the outer app is around
/// that of the inner app. Where the inner app has no value, error page or limit of its own, that of
/// the outer app applies.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use ethreads::http::{App, HandlerError, Path, Request, Result, State, StatusCode};
///
/// /// Each shard has one, so it needs no lock.
/// #[derive(Default)]
/// struct Hits(Cell<u64>);
///
/// fn user(Path(id): Path<u64>, State(hits): State<Hits>) -> Result<String> {
///     hits.0.set(hits.0.get() + 1);
///     match id {
///         0 => Err(HandlerError::status(StatusCode::NOT_FOUND, "no such user\n")),
///         id => Ok(format!("user {id}, hit {}\n", hits.0.get())),
///     }
/// }
///
/// let app = App::new()
///     .with(Hits::default())
///     .get("/", || "hello\n")
///     .get("/users/{id}", user)
///     .around(|request, next| {
///         let response = next.run(request);
///         println!("{} {}: {}", request.method(), request.path(), response.status());
///         response
///     });
///
/// let answer = app.call(Request::builder().target("/users/7").build()?);
/// assert_eq!(answer.body().as_bytes(), Some(&b"user 7, hit 1\n"[..]));
/// let answer = app.call(Request::builder().target("/users/seven").build()?);
/// assert_eq!(answer.status(), 400);
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Default)]
#[must_use = "an app does nothing before it is served"]
pub struct App {
    parts: EachShardBuildsItsOwn,
}

/// What an app is made of.
struct Parts {
    /// The app itself, and the apps inside it.
    scopes: Vec<ScopeSpec>,
    routes: Vec<RouteSpec>,
    /// The prefixes of nested apps, and the hosts of host apps.
    mounts: Vec<Mount>,
    /// The place of each route, by what must be unique.
    taken: HashMap<RouteKey, &'static Location<'static>>,
    table: OnceCell<Table>,
}

/// Not `Send`: the compiler names this type where an app is sent to another shard. An [`Rc`] around
/// everything is all that it complains about; it is never cloned.
#[derive(Default)]
struct EachShardBuildsItsOwn(Rc<Parts>);

impl Default for Parts {
    fn default() -> Self {
        Self {
            scopes: vec![ScopeSpec::default()],
            routes: Vec::new(),
            mounts: Vec::new(),
            taken: HashMap::new(),
            table: OnceCell::new(),
        }
    }
}

impl Parts {
    #[track_caller]
    fn add(&mut self, route: RouteSpec) {
        if let Some(first) = self.taken.insert(route.key(), route.place) {
            panic!(
                "two routes for {}: the first at {first}, the second at {}",
                route.describe(),
                route.place
            );
        }
        self.routes.push(route);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<_> = self
            .parts
            .0
            .routes
            .iter()
            .map(RouteSpec::describe)
            .collect();
        f.debug_struct("App")
            .field("routes", &routes)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Makes an app without routes, which answers everything with 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// The app in the form in which it answers requests.
    #[inline]
    pub(super) fn table(&self) -> &Table {
        let parts = &*self.parts.0;
        let make = || Table::new(&parts.scopes, &parts.routes, &parts.mounts);
        parts.table.get_or_init(make)
    }

    /// Checks that the handlers and plugins have the values that they need.
    pub(super) fn check_needs(&self) -> io::Result<()> {
        check_needs(&self.parts.0.scopes, &self.parts.0.routes)
    }

    /// The parts, to change them.
    fn parts(&mut self) -> &mut Parts {
        let Some(parts) = Rc::get_mut(&mut self.parts.0) else {
            unreachable!("an app does not share its parts");
        };
        parts.table = OnceCell::new();
        parts
    }

    fn own(&mut self) -> &mut ScopeSpec {
        &mut self.parts().scopes[0]
    }

    /// Routes a method of a path to a handler; `None` is any method.
    ///
    /// # Panics
    ///
    /// If the pattern is malformed, or the app has a route of this method and pattern already. The
    /// text names both places.
    #[track_caller]
    pub fn route<M: 'static, H>(
        self,
        method: impl Into<Option<Method>>,
        path: &str,
        handler: H,
    ) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        let mut needs = Needs::default();
        H::needs(&mut needs);
        self.add(method.into(), path, Rc::new(Converted::new(handler)), needs)
    }

    #[track_caller]
    fn add(
        mut self,
        method: Option<Method>,
        path: &str,
        handler: Rc<dyn Handler>,
        needs: Needs,
    ) -> Self {
        self.parts().add(RouteSpec {
            host: None,
            method,
            pattern: Pattern::expect(path),
            scope: 0,
            handler,
            needs,
            place: Location::caller(),
        });
        self
    }

    /// Routes GET, and with it HEAD. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn get<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(Method::GET, path, handler)
    }

    /// Routes POST. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn post<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(Method::POST, path, handler)
    }

    /// Routes PUT. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn put<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(Method::PUT, path, handler)
    }

    /// Routes PATCH. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn patch<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(Method::PATCH, path, handler)
    }

    /// Routes DELETE. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn delete<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(Method::DELETE, path, handler)
    }

    /// Routes CONNECT: requests of the clients of a proxy, which ask for a tunnel (RFC 9110 section
    /// 9.3.6). Without such a route CONNECT is refused with 501.
    ///
    /// The [target](Request::target) is host and port, such as `example.com:443`. Its path counts
    /// as `/`, so this is no route of a nested app, and [`host`](Self::host) goes by the host of
    /// the target. The handler answers with a [`Response::tunnel`](crate::http::Response::tunnel),
    /// or with a refusal; instead of another response with a status of success the client gets a
    /// 500. After it the connection ends. Panics as [`route`](Self::route).
    ///
    /// A proxy must not connect to any host that it is asked for: see the check in the example.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use std::net::Shutdown;
    /// use ethreads::http::{App, HandlerError, Request, Response, Result, StatusCode, Upgraded};
    /// use ethreads::net::TcpStream;
    /// use ethreads::thread;
    ///
    /// fn tunnel(request: &mut Request) -> Result<Response> {
    ///     if !request.target().ends_with(".example.com:443") {
    ///         return Err(HandlerError::status(StatusCode::FORBIDDEN, "not there\n"));
    ///     }
    ///     let server = TcpStream::connect(request.target())?;
    ///     Ok(Response::tunnel(move |client| relay(&client, &server)))
    /// }
    ///
    /// /// Copies in both directions, until both have ended.
    /// fn relay(client: &Upgraded, server: &TcpStream) {
    ///     thread::scope(|scope| {
    ///         scope.spawn(|| {
    ///             let _ = io::copy(&mut &*client, &mut &*server);
    ///             let _ = server.shutdown(Shutdown::Write);
    ///         });
    ///         let _ = io::copy(&mut &*server, &mut &*client);
    ///         let _ = client.shutdown(Shutdown::Write);
    ///     });
    /// }
    ///
    /// let app = App::new().connect(tunnel);
    /// # drop(app);
    /// ```
    #[doc(alias("proxy", "CONNECT"))]
    #[track_caller]
    pub fn connect<M: 'static, H>(self, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        let mut needs = Needs::default();
        H::needs(&mut needs);
        let handler = Rc::new(Tunnelling(Converted::new(handler)));
        self.add(Some(Method::CONNECT), "/", handler, needs)
    }

    /// Routes each method that no other route of the path takes. Panics as [`route`](Self::route).
    #[track_caller]
    pub fn any<M: 'static, H>(self, path: &str, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        self.route(None, path, handler)
    }

    /// Answers the requests of this app whose path no route matches, instead of a 404.
    ///
    /// The fallback of a nested app answers what lies below its prefix.
    #[track_caller]
    pub fn fallback<M: 'static, H>(mut self, handler: H) -> Self
    where
        H: IntoHandler<M, Output: IntoResponse>,
    {
        let mut needs = Needs::default();
        H::needs(&mut needs);
        self.own().fallback = Some(FallbackSpec {
            handler: Rc::new(Converted::new(handler)),
            needs,
            place: Location::caller(),
        });
        self
    }

    /// Adds the routes of `app` below `prefix`, such as `/api` or `/tenants/{tenant}`. The route
    /// `/` of `app` is the prefix itself, without a slash behind it.
    ///
    /// The handlers of `app` see the whole path. Requests below the prefix that no route matches
    /// belong to `app`: its middleware and its fallback see them.
    ///
    /// # Panics
    ///
    /// If the prefix is malformed, or if a route of `app` is one of this app, too.
    #[track_caller]
    pub fn nest(mut self, prefix: &str, app: Self) -> Self {
        self.embed(None, Prefix::expect(prefix), true, app);
        self
    }

    /// Adds the routes of `app` beside those of this app. Its middleware, values and limits are
    /// those of its routes only: a route with a limit of its own is a small app, merged.
    ///
    /// # Panics
    ///
    /// If a route of `app` is one of this app, too, or if `app` has a fallback, for which no
    /// request would be left.
    #[track_caller]
    pub fn merge(mut self, app: Self) -> Self {
        if app.parts.0.scopes[0].fallback.is_some() {
            panic!(
                "a merged app cannot have a fallback; give it to the app that it is merged into"
            );
        }
        self.embed(None, Prefix::default(), false, app);
        self
    }

    /// Adds the routes of `app` for the requests to one host: `example.org`, or `*.example.org` for
    /// its subdomains. A port that is not given matches each port. Where no route of `app` matches,
    /// the routes of this app do.
    ///
    /// # Panics
    ///
    /// If the host is malformed, if `app` has hosts itself, or if `app` has a route that an app of
    /// the same host has already.
    #[track_caller]
    pub fn host(mut self, host: &str, app: Self) -> Self {
        self.embed(
            Some(HostPattern::expect(host)),
            Prefix::default(),
            true,
            app,
        );
        self
    }

    #[track_caller]
    fn embed(&mut self, host: Option<HostPattern>, prefix: Prefix, mounted: bool, app: Self) {
        let parts = self.parts();
        let Some(app) = Rc::into_inner(app.parts.0) else {
            unreachable!("an app does not share its parts");
        };
        let offset = parts.scopes.len();
        for mut scope in app.scopes {
            scope.parent = Some(scope.parent.map_or(0, |parent| parent + offset));
            parts.scopes.push(scope);
        }
        let join = |inner: Option<HostPattern>| match (&host, inner) {
            (Some(_), Some(_)) => panic!("an app with hosts cannot be the app of a host"),
            (outer, inner) => outer.clone().or(inner),
        };
        for route in app.routes {
            let pattern = match route.pattern.below(&prefix) {
                Ok(pattern) => pattern,
                Err(fault) => panic!(
                    "malformed route {} in a nested app: {fault}",
                    route.describe()
                ),
            };
            parts.add(RouteSpec {
                host: join(route.host),
                pattern,
                scope: route.scope + offset,
                ..route
            });
        }
        for mount in app.mounts {
            parts.mounts.push(Mount {
                host: join(mount.host),
                prefix: mount.prefix.below(&prefix),
                scope: mount.scope + offset,
            });
        }
        if mounted {
            let scope = offset;
            parts.mounts.push(Mount {
                host,
                prefix,
                scope,
            });
        }
    }

    /// Gives a value to the handlers of this app, and of the apps in it, which take it by
    /// [`State`](crate::http::State). A second value of the same type replaces the first.
    ///
    /// The value is of this shard: several shards have as many apps, each with a value of its own.
    pub fn with<T: Any>(mut self, value: T) -> Self {
        let id = TypeId::of::<T>();
        let values = &mut self.own().values;
        values.retain(|(have, _)| *have != id);
        values.push((id, Rc::new(value)));
        self
    }

    /// Runs a function around everything that this app answers, with the request and the rest of
    /// the way to the handler, which [`Next::run`] goes.
    ///
    /// The function may answer itself, change the request before and the response after, hold a
    /// guard meanwhile, set a [deadline](crate::time::timeout), or run the rest twice. The route is
    /// known before it runs: see [`Request::route`]. After a change of the request's
    /// [path](Request::set_target) or [method](Request::set_method) the request is matched again.
    ///
    /// A panic of the handler is a response of 500 here, so what follows `run` still happens. A
    /// streamed body is sent after the function has returned;
    /// [`Response::hold`](crate::http::Response::hold) keeps a guard until then.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, IntoResponse, Request, StatusCode};
    ///
    /// let app = App::new().get("/", || "secret").around(|request, next| {
    ///     match request.header("authorization") {
    ///         Some("Bearer 1234") => next.run(request),
    ///         _ => (StatusCode::UNAUTHORIZED, "tell me the password\n").into_response(),
    ///     }
    /// });
    /// assert_eq!(app.call(Request::builder().build()?).status(), 401);
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    pub fn around<F, R>(mut self, around: F) -> Self
    where
        F: Fn(&mut Request, Next<'_>) -> R + 'static,
        R: IntoResponse,
    {
        let around =
            move |request: &mut Request, next: Next<'_>| around(request, next).into_response();
        self.own().around.push(Rc::new(around));
        self
    }

    /// Makes the response to each error: of handlers, of extractors, of middleware, 404, 405 and
    /// 501, and a panic of a handler, which has the status 500.
    ///
    /// The app renders the errors of its own routes and of the apps in it that have no renderer of
    /// their own. Middleware sees the response that was rendered. Requests that the server refuses
    /// before they reach a route, as malformed or too large ones, come without a request; they are
    /// rendered by the app that is served.
    ///
    /// The fields `Allow` of a 405 and `Connection` are added to the response.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, IntoResponse, Request};
    ///
    /// let app = App::new().on_error(|error, _request| {
    ///     let status = error.status_code();
    ///     (status, format!("<h1>{}</h1>", status.as_u16()))
    /// });
    /// let response = app.call(Request::builder().build()?);
    /// assert_eq!(response.body().as_bytes(), Some(&b"<h1>404</h1>"[..]));
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    pub fn on_error<F, R>(mut self, render: F) -> Self
    where
        F: Fn(&HandlerError, Option<&Request>) -> R + 'static,
        R: IntoResponse,
    {
        let render = move |error: &HandlerError, request: Option<&Request>| {
            render(error, request).into_response()
        };
        self.own().on_error = Some(Rc::new(render));
        self
    }

    /// Gives errors of type `E` a status: `?` on such an error, or on one that has it among its
    /// causes, is answered with the status instead of a 500. `None` leaves the error to the next
    /// rule.
    ///
    /// The peer sees the reason phrase of the status, not the text of the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use ethreads::http::{App, Request, Result, StatusCode};
    ///
    /// fn page() -> Result<String> {
    ///     Ok(std::fs::read_to_string("/no/such/file")?)
    /// }
    ///
    /// let app = App::new().get("/", page).status_of(|error: &io::Error| {
    ///     (error.kind() == io::ErrorKind::NotFound).then_some(StatusCode::NOT_FOUND)
    /// });
    /// assert_eq!(app.call(Request::builder().build()?).status(), 404);
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    pub fn status_of<E, F>(mut self, status: F) -> Self
    where
        E: StdError + 'static,
        F: Fn(&E) -> Option<StatusCode> + 'static,
    {
        let rule = move |error: &(dyn StdError + 'static)| error.downcast_ref().and_then(&status);
        self.own().status_of.push(Rc::new(rule));
        self
    }

    /// Sets the maximum length, in bytes, of a body that is collected into memory by a handler or
    /// an extractor: a longer one is answered with 413. Without it,
    /// [`Limits::body_bytes`](crate::http::Limits::body_bytes) of the server applies.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.own().body_limit = Some(bytes);
        self
    }

    /// Sets whether a client that leaves ends the handlers of this app, and of the apps in it that
    /// do not set it themselves. Without it,
    /// [`Server::cancel_on_disconnect`](crate::http::Server::cancel_on_disconnect) of the server
    /// applies, which has the details.
    ///
    /// The middleware of the app is not ended: [`Next::run`] returns a response of 499.
    ///
    /// # Examples
    ///
    /// A search ends with its client; a payment does not:
    ///
    /// ```
    /// use ethreads::http::App;
    ///
    /// # fn search() {}
    /// # fn pay() {}
    /// let app = App::new()
    ///     .post("/pay", pay)
    ///     .merge(App::new().get("/search", search).cancel_on_disconnect(true));
    /// # drop(app);
    /// ```
    pub fn cancel_on_disconnect(mut self, cancels: bool) -> Self {
        self.own().cancel_on_disconnect = Some(cancels);
        self
    }

    /// Answers a GET or HEAD of this app that no route matches with a redirection (308), if a route
    /// matches its path with a slash at the end, or without one.
    pub fn redirect_slashes(mut self) -> Self {
        self.own().redirects_slashes = true;
        self
    }

    /// Answers panics with a page about them: see `middleware::panic_page`.
    pub(in crate::http) fn show_panics(mut self) -> Self {
        note_places();
        self.own().shows_panics = true;
        self
    }

    /// Applies a plugin: a function that adds to an app, or a ready-made one of
    /// [`middleware`](crate::http::middleware).
    ///
    /// The argument of a closure needs its type: `|app: App| ..`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, Request};
    ///
    /// fn versioned(version: &'static str) -> impl FnOnce(App) -> App {
    ///     move |app| app.get("/version", move || version)
    /// }
    ///
    /// let app = App::new().apply(versioned("1.2"));
    /// let response = app.call(Request::builder().target("/version").build()?);
    /// assert_eq!(response.body().as_bytes(), Some(&b"1.2"[..]));
    /// # Ok::<(), ethreads::http::Error>(())
    /// ```
    #[track_caller]
    pub fn apply(self, plugin: impl Plugin) -> Self {
        plugin.apply_to(self)
    }

    /// Notes that this app needs a value of type `T`, its own or of an app around it. Serving fails
    /// without one, with the place of this call. For plugins; the extractor
    /// [`State`](crate::http::State) notes it by itself.
    #[track_caller]
    pub fn needs<T: Any>(mut self) -> Self {
        let mut needs = Needs::default();
        needs.state::<T>();
        self.own().needs.push((needs, Location::caller()));
        self
    }
}

/// Adds to an app: routes, middleware, values. For [`App::apply`].
///
/// Functions of an app that return an app are plugins. A type of its own has methods that
/// configure it, as those of [`middleware`](crate::http::middleware) do.
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Plugin, Request};
///
/// struct Version(&'static str);
///
/// impl Plugin for Version {
///     fn apply_to(self, app: App) -> App {
///         app.get("/version", move || self.0)
///     }
/// }
///
/// let app = App::new().apply(Version("1.2"));
/// assert_eq!(app.call(Request::get("/version")).status(), 200);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no plugin",
    label = "no plugin",
    note = "a plugin is a function of an `App` that returns an `App`, or a type that implements \
            `Plugin`"
)]
pub trait Plugin {
    /// Adds to the app.
    #[track_caller]
    fn apply_to(self, app: App) -> App;
}

impl<F: FnOnce(App) -> App> Plugin for F {
    fn apply_to(self, app: App) -> App {
        self(app)
    }
}
