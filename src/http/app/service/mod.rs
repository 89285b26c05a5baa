//! Services of tower as handlers.
#![forbid(unsafe_code)]

pub(in crate::http) mod request_body;
mod response_body;
#[cfg(feature = "tower-tokio")]
pub(in crate::http) mod tokio;

use std::error::Error as StdError;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Buf;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use http_body::Body as HttpBody;
use tower_service::Service;

use self::request_body::ServiceBody;
use self::response_body::BoxError;
use super::builder::App;
use crate::bridge::future::block_on;
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::exchange::route::split_segment;
use crate::http::message::{IntoResponse, Response};

impl App {
    /// Lets a service of tower answer the requests below `prefix`, such as `/api`: a router of
    /// axum, or any other `tower::Service` of requests of the crate `http`.
    ///
    /// The service sees the path without the prefix, as one that axum nests, and in the extensions
    /// of a request the address of the peer, as a [`SocketAddr`](std::net::SocketAddr). It runs in
    /// the ethread of the connection, which waits for its future; no runtime is needed. axum is
    /// used without its feature `tokio`. A service that uses tokio's timers or sockets gets its
    /// runtime by [`ServiceExt::tokio`](crate::http::ServiceExt::tokio).
    ///
    /// Bodies stream in both ways. The body of a request is `Send`, so a service may read it in
    /// another task or OS thread: an ethread reads from the connection as the service asks for
    /// more. Trailers of a response are not sent.
    ///
    /// An error of the service, or of its body, is answered and logged as that of a handler. A
    /// service cannot take over the connection: upgrades, WebSocket among them, belong on routes of
    /// the app.
    ///
    /// # Panics
    ///
    /// If the prefix is malformed, or if the app has routes of any method below it already.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{Router, extract::Path, routing::get};
    /// use ethreads::http::{App, testing::Client};
    ///
    /// let router: Router = Router::new()
    ///     .route("/hello/{name}", get(async |Path(name): Path<String>| format!("hello {name}")));
    /// let app = App::new().get("/", || "the app").nest_service("/api", router);
    ///
    /// let client = Client::new(app);
    /// assert_eq!(client.get("/").send().text(), "the app");
    /// assert_eq!(client.get("/api/hello/ada").send().text(), "hello ada");
    /// ```
    #[track_caller]
    pub fn nest_service<S, B>(self, prefix: &str, service: S) -> Self
    where
        S: Service<http::Request<ServiceBody>, Response = http::Response<B>> + Clone + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data: Buf, Error: Into<BoxError>> + 'static,
    {
        let segments = prefix.split('/').filter(|part| !part.is_empty()).count();
        let nested = Rc::new(Nested { service, segments });
        let app = Self::new()
            .any("/", Shared(nested.clone()))
            .any("/{*path_of_service}", Shared(nested));
        self.nest(prefix, app)
    }
}

/// A service, and the number of segments of the path that it does not see.
struct Nested<S> {
    service: S,
    segments: usize,
}

/// One service for two routes.
struct Shared<S>(Rc<Nested<S>>);

impl<S, B> Handler for Shared<S>
where
    S: Service<http::Request<ServiceBody>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data: Buf, Error: Into<BoxError>> + 'static,
{
    fn handle(&self, request: &mut Request) -> Response {
        let mut call = || -> Result<Response> {
            let request = convert(request, self.0.segments)?;
            // A clone of its own for each request, which stays the same from ready to called.
            let mut service = self.0.service.clone();
            let answered = block_on(async {
                poll_fn(|context| service.poll_ready(context)).await?;
                service.call(request).await
            });
            let (parts, body) = answered.map_err(|error| failed(error.into()))?.into_parts();
            let body = response_body::convert(Box::pin(body));
            let mut response = Response::new(parts.status).with_body(body);
            *response.headers_mut() = parts.headers.into();
            Ok(response)
        };
        call().into_response()
    }
}

/// The error of a service: a 500, and a line in the log.
fn failed(error: BoxError) -> HandlerError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let error: Box<dyn StdError> = error;
    HandlerError::status(status, "Internal Server Error\n").with_source(error)
}

/// The request as a service takes it, without the first segments of its path.
fn convert(request: &mut Request, segments: usize) -> Result<http::Request<ServiceBody>> {
    let mut path = request.path().strip_prefix('/').unwrap_or_default();
    for _ in 0..segments {
        path = split_segment(path).1.unwrap_or_default();
    }
    let target = match request.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    let target = PathAndQuery::try_from(target)
        .map_err(|error| HandlerError::status(StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let mut converted = http::Request::new(ServiceBody::of(request)?);
    *converted.method_mut() = request.method().clone();
    *converted.uri_mut() = Uri::from(target);
    *converted.version_mut() = request.version();
    *converted.headers_mut() = request.headers().to_header_map();
    if let Some(peer) = request.peer_addr() {
        converted.extensions_mut().insert(peer);
    }
    Ok(converted)
}
