//! Values of the app, and of the request.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use http::StatusCode;

use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::{FromOptional, FromRequest, Needs};
use crate::http::exchange::request::Request;

/// A value that was given to [`App::with`](crate::http::App::with): of the app of the route, or of
/// the nearest app around it.
///
/// Serving fails if no app gives the value. The value is of this shard, so it is shared by an
/// [`Rc`] and needs no lock: a [`Cell`](std::cell::Cell) is enough for a counter. A borrow of a
/// [`RefCell`](std::cell::RefCell) must not be held while the ethread waits.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use ethreads::http::{App, Request, State};
///
/// let app = App::new()
///     .with(Cell::new(0_u32))
///     .get("/", |State(hits): State<Cell<u32>>| {
///         hits.set(hits.get() + 1);
///         format!("hit {}\n", hits.get())
///     });
/// app.call(Request::builder().build()?);
/// let response = app.call(Request::builder().build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"hit 2\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
pub struct State<T>(pub Rc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.0).finish()
    }
}

impl<T: Any> FromRequest for State<T> {
    fn needs(needs: &mut Needs) {
        needs.state::<T>();
    }

    fn from_request(request: &mut Request) -> Result<Self> {
        match Self::from_optional(request)? {
            Some(state) => Ok(state),
            None => Err(missing::<T>("no `App::with` gives a value of type")),
        }
    }
}

/// Absent if no app gives the value.
impl<T: Any> FromOptional for State<T> {
    fn from_optional(request: &mut Request) -> Result<Option<Self>> {
        let value = request
            .scope()
            .and_then(|scope| scope.value(TypeId::of::<T>()));
        Ok(value
            .and_then(|value| value.clone().downcast().ok())
            .map(Self))
    }
}

/// A copy of a value that was [inserted](Request::insert) into the request, such as the user that a
/// middleware has authenticated.
///
/// Without the value the answer is a 500, as the middleware is missing then.
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Extension, Request};
///
/// #[derive(Clone)]
/// struct User(String);
///
/// let app = App::new()
///     .get("/", |Extension(user): Extension<User>| format!("hello {}\n", user.0))
///     .around(|request, next| {
///         let name = request.header("x-user").unwrap_or("stranger").to_owned();
///         request.insert(User(name));
///         next.run(request)
///     });
/// let response = app.call(Request::builder().header("x-user", "ann").build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"hello ann\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Extension<T>(pub T);

impl<T: Any + Clone> FromRequest for Extension<T> {
    fn from_request(request: &mut Request) -> Result<Self> {
        match Self::from_optional(request)? {
            Some(value) => Ok(value),
            None => Err(missing::<T>("no middleware has inserted a value of type")),
        }
    }
}

/// Absent if no middleware has inserted the value.
impl<T: Any + Clone> FromOptional for Extension<T> {
    fn from_optional(request: &mut Request) -> Result<Option<Self>> {
        Ok(request.value().cloned().map(Self))
    }
}

#[cold]
fn missing<T>(text: &str) -> HandlerError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let cause = format!("{text} `{}`", type_name::<T>());
    HandlerError::status(status, "Internal Server Error").with_source(cause)
}
