//! The id of a request, as logs have it.
#![forbid(unsafe_code)]

use std::fmt;
use std::rc::Rc;

use http::StatusCode;

use super::extract::{FromOptional, FromRequest};
use super::request::Request;
use crate::http::error::{HandlerError, Result};

/// The id of a request, which [`request_id`](crate::http::middleware::request_id) gives it: at most
/// 128 characters, which are letters, digits and some of the signs of ASCII.
///
/// An argument of a handler, and a [value](Request::value) of the request.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::request_id;
/// use ethreads::http::{App, Request, RequestId};
///
/// let app = App::new()
///     .get("/", |id: RequestId| format!("this is request {id}\n"))
///     .apply(request_id());
/// let request = Request::get("/").header("x-request-id", "7e-1").build()?;
/// assert_eq!(app.call(request).body().as_bytes(), Some(&b"this is request 7e-1\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Rc<str>);

impl RequestId {
    /// The maximum length of an id of a client.
    pub(in crate::http) const MAX_LEN: usize = 128;

    /// The id that a client has sent, if it is one. Others could forge lines of a log.
    pub(in crate::http) fn of_client(text: &[u8]) -> Option<Self> {
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=~@".contains(byte);
        let is_id = (1..=Self::MAX_LEN).contains(&text.len()) && text.iter().all(is_fit);
        let text = str::from_utf8(text).ok().filter(|_| is_id)?;
        Some(Self(text.into()))
    }

    /// An id of this program.
    pub(in crate::http) fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request without an id is answered with 500.
impl FromRequest for RequestId {
    fn from_request(request: &mut Request) -> Result<Self> {
        Self::from_optional(request)?.ok_or_else(|| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let error = HandlerError::status(status, "Internal Server Error");
            error.with_source("requests have no id: apply `middleware::request_id` to the app")
        })
    }
}

/// Absent without the middleware.
impl FromOptional for RequestId {
    fn from_optional(request: &mut Request) -> Result<Option<Self>> {
        Ok(request.value().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_checked() {
        let longest = "a".repeat(RequestId::MAX_LEN);
        for good in ["7", "a-B_c.d:e/f+g=h~i@j", &longest] {
            let id = RequestId::of_client(good.as_bytes()).unwrap();
            assert_eq!((id.as_str(), id.to_string()), (good, good.to_owned()));
        }
        for bad in ["", "a b", "a\"", "a\\", "ä", "a\n", "a,b", &(longest + "a")] {
            assert_eq!(RequestId::of_client(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(RequestId::of_client(b"\xff"), None);
    }
}
