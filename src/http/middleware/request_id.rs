//! An id for each request.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use crate::http::app::{App, Plugin};
use crate::http::exchange::request::Request;
use crate::http::exchange::request_id::RequestId;
use crate::runtime::driver::random::unforeseen;

/// Gives each request an id. Made by [`request_id`].
#[derive(Clone, Debug)]
pub struct RequestIds {
    field: HeaderName,
    takes: bool,
}

/// Gives each request an id: that of its field `X-Request-Id`, which a proxy in front or a client
/// has set, or a new one. The response has the id in the field of the same name.
///
/// Handlers take a [`RequestId`], and other middleware finds it as a [value](Request::value) of the
/// request. An id of a client that is longer than 128 characters, or has characters other than
/// letters, digits and `-_.:/+=~@`, is replaced. A new id is a random number of the app and a
/// counter: it is unique, and no secret.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::request_id;
/// use ethreads::http::{App, Request, RequestId};
///
/// let app = App::new()
///     .get("/", |id: RequestId| log::info!("this line belongs to {id}"))
///     .apply(request_id());
/// let response = app.call(Request::get("/"));
/// assert!(response.headers().iter().any(|(name, _)| name == "x-request-id"));
/// ```
#[must_use]
pub fn request_id() -> RequestIds {
    RequestIds {
        field: HeaderName::from_static("x-request-id"),
        takes: true,
    }
}

impl RequestIds {
    /// Sets the name of the field: `X-Request-Id` by default.
    #[must_use]
    pub fn field(mut self, name: HeaderName) -> Self {
        self.field = name;
        self
    }

    /// Replaces the ids of clients, too.
    #[must_use]
    pub fn always_new(mut self) -> Self {
        self.takes = false;
        self
    }

    /// The id that a request has brought along.
    fn of_client(&self, request: &Request) -> Option<RequestId> {
        if !self.takes {
            return None;
        }
        let mut fields = request.headers().get_all(self.field.as_str());
        match (fields.next(), fields.next()) {
            (Some(field), None) => RequestId::of_client(field),
            _ => None,
        }
    }
}

impl Plugin for RequestIds {
    fn apply_to(self, app: App) -> App {
        let (prefix, count) = (unforeseen(), Cell::new(0_u64));
        app.around(move |request, next| {
            let id = self.of_client(request).unwrap_or_else(|| {
                count.set(count.get() + 1);
                let mut text = String::with_capacity(24);
                // A string takes all that is written.
                let _ = write!(text, "{prefix:016x}-{:x}", count.get());
                RequestId::new(text)
            });
            request.insert(id.clone());
            let mut response = next.run(request);
            if let Ok(value) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(self.field.clone(), value);
            }
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{FromRequest, StatusCode};

    const FIELD: HeaderName = HeaderName::from_static("x-request-id");

    fn app(ids: RequestIds) -> App {
        App::new()
            .get("/", |id: RequestId| id.to_string())
            .apply(ids)
    }

    /// The id that the handler and the client see.
    #[track_caller]
    fn id(app: &App, fields: &[(&str, &str)]) -> String {
        let mut request = Request::get("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = app.call(request);
        let id = str::from_utf8(response.body().as_bytes().unwrap()).unwrap();
        let ids: Vec<_> = response.headers().get_all(&FIELD).collect();
        assert_eq!(ids, [id]);
        id.to_owned()
    }

    #[test]
    fn an_id_is_taken_or_made() {
        let app = app(request_id());
        assert_eq!(id(&app, &[("x-request-id", "a-1")]), "a-1");
        let (first, second) = (id(&app, &[]), id(&app, &[("x-request-id", "a b")]));
        assert_ne!(first, second);
        assert!(RequestId::of_client(first.as_bytes()).is_some());
        assert_eq!(first[..17], second[..17]);
        // Which of two is it?
        let third = id(&app, &[("x-request-id", "a"), ("x-request-id", "b")]);
        assert!(third.ends_with("-3"), "{third}");
    }

    #[test]
    fn another_field_and_new_ids_only() {
        let other = HeaderName::from_static("x-correlation-id");
        let app = app(request_id().field(other.clone()));
        let request = Request::get("/").header("x-correlation-id", "a");
        let response = app.call(request);
        assert_eq!(response.headers().get(&other).unwrap(), "a");
        assert_eq!(response.headers().get(&FIELD), None);
        let own = self::app(request_id().always_new());
        assert_ne!(id(&own, &[("x-request-id", "a")]), "a");
    }

    #[test]
    fn errors_have_an_id_too() {
        let response = app(request_id()).call(Request::get("/none"));
        assert_eq!(response.status(), 404);
        assert!(response.headers().contains(&FIELD));
    }

    #[test]
    fn without_the_middleware_there_is_none() {
        let mut request = Request::get("/").build().unwrap();
        let error = RequestId::from_request(&mut request).unwrap_err();
        assert_eq!(error.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            Option::<RequestId>::from_request(&mut request).unwrap(),
            None
        );
    }
}
