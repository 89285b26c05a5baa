//! The query of a request.
#![forbid(unsafe_code)]

use http::StatusCode;
use serde_core::de::DeserializeOwned;

use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::FromRequest;
use crate::http::exchange::request::Request;

/// The query of the target, read into a struct or a map.
///
/// Names that are repeated fill a [`Vec`]. What does not fit `T` is answered with 400.
///
/// # Examples
///
/// ```
/// use serde::Deserialize;
/// use ethreads::http::{App, Query, Request};
///
/// #[derive(Deserialize)]
/// struct Page {
///     #[serde(default)]
///     page: u32,
///     #[serde(default)]
///     tag: Vec<String>,
/// }
///
/// let app = App::new().get("/", |Query(q): Query<Page>| format!("{} {:?}", q.page, q.tag));
/// let response = app.call(Request::builder().target("/?tag=a&page=2&tag=b").build()?);
/// assert_eq!(response.body().as_bytes(), Some(&br#"2 ["a", "b"]"#[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    fn from_request(request: &mut Request) -> Result<Self> {
        let query = request.query().unwrap_or_default();
        serde_html_form::from_str(query).map(Self).map_err(|error| {
            HandlerError::status(StatusCode::BAD_REQUEST, format!("query: {error}\n"))
        })
    }
}
