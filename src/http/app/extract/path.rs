//! The parameters of the route.
#![forbid(unsafe_code)]

use http::StatusCode;
use serde_core::de::DeserializeOwned;

use super::path_values::PathValues;
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::FromRequest;
use crate::http::exchange::request::Request;

/// The parameters of the route, percent-decoded: a value for one parameter, a tuple for several in
/// their order, a struct or a map by their names.
///
/// A parameter that does not fit is answered with 400, and so is one that is not UTF-8.
///
/// # Examples
///
/// ```
/// use serde::Deserialize;
/// use ethreads::http::{App, Path, Request};
///
/// #[derive(Deserialize)]
/// struct Place {
///     room: String,
///     shelf: u8,
/// }
///
/// let app = App::new()
///     .get("/users/{id}", |Path(id): Path<u64>| format!("user {id}"))
///     .get("/sum/{a}/{b}", |Path((a, b)): Path<(i64, i64)>| (a + b).to_string())
///     .get("/rooms/{room}/{shelf}", |Path(place): Path<Place>| {
///         format!("shelf {} of {}", place.shelf, place.room)
///     });
/// let response = app.call(Request::builder().target("/sum/2/-5").build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"-3"[..]));
/// let response = app.call(Request::builder().target("/users/seven").build()?);
/// assert_eq!(response.status(), 400);
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Path<T> {
    fn from_request(request: &mut Request) -> Result<Self> {
        let values = request
            .route
            .as_ref()
            .map(|route| (&**route, request.path()));
        T::deserialize(PathValues(values))
            .map(Self)
            .map_err(|error| {
                HandlerError::status(StatusCode::BAD_REQUEST, format!("path: {error}\n"))
            })
    }
}
