//! Requests to an application without a socket, for tests.
//!
//! A [`Client`] sends requests to a handler through [`Server::serve_connection`], over a stream in
//! memory. The request is framed, parsed, limited and answered by the same code as behind a socket,
//! so that a test sees what a client sees: the fields that the connection adds, chunks, 1xx
//! responses, a HEAD without its body, a response that breaks off.
//!
//! [`App::call`](crate::http::App::call) is the shorter way to test a handler alone: it returns the
//! [`Response`](crate::http::Response) as the app has made it.
#![forbid(unsafe_code)]

mod answer;
mod cookies;
mod request;
mod user;
mod wire;

use std::fmt;
use std::rc::Rc;

use http::Method;

pub use self::answer::ClientResponse;
pub use self::request::ClientRequest;
use self::user::{SharedHandler, Site, User};
use crate::http::exchange::builder::RequestBuilder;
use crate::http::exchange::handler::{Converted, IntoHandler};
use crate::http::message::IntoResponse;
use crate::http::server::Server;

/// Sends requests to an app or a handler, without a socket.
///
/// Each request has a connection of its own, in memory, which an ethread of its own serves. Cookies
/// that responses set are sent with later requests, as a browser does. Redirections are not
/// followed, as a test usually looks at them.
///
/// A client works in an ethread, and outside of one: there [`send`](ClientRequest::send) runs the
/// event loop of the OS thread meanwhile, as [`Server::serve`] does.
///
/// # Examples
///
/// A test without a runtime around it:
///
/// ```
/// use ethreads::http::testing::Client;
/// use ethreads::http::{App, Form, IntoResponse, Request, StatusCode};
///
/// #[derive(serde::Deserialize)]
/// struct Login {
///     name: String,
/// }
///
/// fn app() -> App {
///     let login = |Form(login): Form<Login>| {
///         let cookie = format!("user={}; HttpOnly", login.name);
///         ([("set-cookie", cookie), ("location", "/".to_owned())], StatusCode::SEE_OTHER)
///     };
///     let home = |request: &mut Request| match request.header("cookie") {
///         Some(cookie) => cookie.to_owned().into_response(),
///         None => StatusCode::UNAUTHORIZED.into_response(),
///     };
///     App::new().get("/", home).post("/login", login)
/// }
///
/// let client = Client::new(app());
/// assert_eq!(client.get("/").send().status(), 401);
/// assert_eq!(client.post("/login").form(&[("name", "ada")]).send().status(), 303);
/// assert_eq!(client.get("/").send().text(), "user=ada");
/// ```
#[doc(alias("TestClient", "TestServer", "httptest"))]
pub struct Client {
    user: User,
}

impl Client {
    /// Makes a client of an app, or of any other handler, with the default settings of a server.
    pub fn new<M: 'static>(handler: impl IntoHandler<M, Output: IntoResponse>) -> Self {
        Self::with_server(Server::without_listener(), handler)
    }

    /// As [`new`](Self::new), with the settings of `server`: limits, timeouts, hooks. Its
    /// taskmaster and its listener, if it has one, are not used.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::testing::Client;
    /// use ethreads::http::{Limits, Server};
    ///
    /// let mut limits = Limits::default();
    /// limits.body_bytes = 4;
    /// let server = Server::without_listener().limits(limits);
    /// let client = Client::with_server(server, |text: String| text);
    /// assert_eq!(client.post("/").body("four").send().status(), 200);
    /// assert_eq!(client.post("/").body("fives").send().status(), 413);
    /// ```
    pub fn with_server<M: 'static>(
        server: Server,
        handler: impl IntoHandler<M, Output: IntoResponse>,
    ) -> Self {
        let handler = SharedHandler(Rc::new(Converted::new(handler)));
        let site = Rc::new(Site { server, handler });
        Self {
            user: User::new(site),
        }
    }

    /// Makes another client of the same application, without cookies: a second user.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            user: User::new(self.user.site.clone()),
        }
    }

    /// Begins a request of any method.
    pub fn request(&self, method: Method, target: impl Into<String>) -> ClientRequest<'_> {
        ClientRequest::new(&self.user, RequestBuilder::new(method, target.into()))
    }

    /// Begins a GET of `target`: path and query, percent-encoded.
    pub fn get(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::GET, target)
    }

    /// Begins a HEAD of `target`.
    pub fn head(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::HEAD, target)
    }

    /// Begins a POST to `target`.
    pub fn post(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::POST, target)
    }

    /// Begins a PUT to `target`.
    pub fn put(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::PUT, target)
    }

    /// Begins a PATCH of `target`.
    pub fn patch(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::PATCH, target)
    }

    /// Begins a DELETE of `target`.
    pub fn delete(&self, target: impl Into<String>) -> ClientRequest<'_> {
        self.request(Method::DELETE, target)
    }

    /// Returns the value of a cookie that a response has set, on whatever path.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.user.cookies.borrow().get(name)
    }

    /// Sets a cookie for all paths, as if a response had set it.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.user.cookies.borrow_mut().set(name, value);
    }

    /// Forgets all cookies.
    pub fn clear_cookies(&self) {
        self.user.cookies.borrow_mut().clear();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
