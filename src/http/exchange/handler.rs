//! Handlers, and what converts into them.
#![forbid(unsafe_code)]

use std::io;
use std::marker::PhantomData;

use super::extract::{FromRequest, Needs};
use super::request::Request;
use crate::http::error::Error;
use crate::http::message::{IntoResponse, Response};

/// Answers requests, as a type with state of its own.
///
/// Most handlers are functions and closures, which are no `Handler` but convert into one: see
/// [`IntoHandler`]. An [`App`](crate::http::App) is a handler.
///
/// A handler runs in the ethread of the connection, so it may wait: for its own database
/// connection, for another server, for time to pass. It need be neither `Send` nor `Sync`.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use ethreads::http::{Handler, IntoResponse, Request, Response};
///
/// #[derive(Default)]
/// struct Counter(Cell<u64>);
///
/// impl Handler for Counter {
///     fn handle(&self, _request: &mut Request) -> Response {
///         self.0.set(self.0.get() + 1);
///         format!("request number {}\n", self.0.get()).into_response()
///     }
/// }
///
/// let counter = Counter::default();
/// let response = counter.handle(&mut Request::builder().build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"request number 1\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
pub trait Handler: 'static {
    /// Answers a request.
    fn handle(&self, request: &mut Request) -> Response;

    /// Checks that the handler has what it needs. A server calls this before it serves.
    ///
    /// # Errors
    ///
    /// What is missing; serving fails with it.
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the handler answers CONNECT (RFC 9110 section 9.3.6), with a
    /// [`Response::tunnel`] or a refusal. A server asks once, before it serves. Without this, which
    /// is the default, CONNECT is refused with 501. The connection ends after a CONNECT.
    ///
    /// An [`App`](crate::http::App) takes CONNECT if it has a route for it.
    fn takes_connect(&self) -> bool {
        false
    }

    /// Makes the answer to a request that the server refuses, since it is malformed, too large or
    /// too slow. `head` is the head of the request, if it was accepted. The connection is closed
    /// after the answer.
    ///
    /// The default is a text that explains the error (RFC 9110 section 15.5).
    fn refuse(&self, error: &Error, head: Option<&Request>) -> Response {
        let _ = head;
        error.answer()
    }

    /// Whether the handler itself ends the part of it that a client which leaves is to end.
    #[doc(hidden)]
    fn cancels_inside(&self) -> bool {
        false
    }
}

/// A value that converts into a [`Handler`]: every `Handler`, and every function and closure that
/// takes up to eight [extractors](FromRequest), then a `&mut Request` if it wants one, and returns
/// a value that [converts](IntoResponse) into a response. Sealed.
///
/// `M` tells the kinds apart; the compiler infers it. Two arguments that read the body of the
/// request do not compile:
///
/// ```compile_fail,E0080
/// use ethreads::http::{App, Json};
///
/// let app = App::new().post("/", |_: Json<u8>, _: String| "added");
/// ```
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Method, Path, Request};
///
/// fn shelf(Path((room, shelf)): Path<(String, u32)>, method: Method) -> String {
///     format!("{method} shelf {shelf} of {room}\n")
/// }
///
/// let app = App::new()
///     .get("/hello", || "hello\n")
///     .get("/path", |request: &mut Request| request.path().to_owned())
///     .get("/rooms/{room}/{shelf}", shelf);
/// let response = app.call(Request::builder().target("/rooms/attic/7").build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"GET shelf 7 of attic\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    label = "no handler",
    note = "a handler is a `Handler`, or a function of up to eight extractors, then `&mut Request` \
            if it wants the request: `fn(Path<u64>, Json<T>, &mut Request) -> impl IntoResponse`",
    note = "each argument must implement `FromRequest`: `Json<T>`, `Query<T>` and `Form<T>` need a \
            `T` that implements `serde::Deserialize`",
    note = "the arguments of a closure need types: `|request: &mut Request| ..`"
)]
pub trait IntoHandler<M>: sealed::Sealed<M> + Sized + 'static {
    /// What the handler returns.
    type Output;

    /// Notes what the extractors of the handler need of the app.
    #[doc(hidden)]
    fn needs(_: &mut Needs) {}

    /// Answers a request.
    #[doc(hidden)]
    fn handle_with(&self, request: &mut Request) -> Response
    where
        Self::Output: IntoResponse;

    /// See [`Handler::takes_connect`].
    #[doc(hidden)]
    fn takes_connect_with(&self) -> bool {
        false
    }

    /// See [`Handler::prepare`].
    #[doc(hidden)]
    fn prepare_with(&self) -> io::Result<()> {
        let mut needs = Needs::default();
        Self::needs(&mut needs);
        match needs.first() {
            None => Ok(()),
            Some(name) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the handler needs `State<{name}>`, which only an `App` gives: serve \
                     `App::new().with(value).any(\"/{{*path}}\", handler)`"
                ),
            )),
        }
    }

    /// See [`Handler::refuse`].
    #[doc(hidden)]
    fn refuse_with(&self, error: &Error, head: Option<&Request>) -> Response {
        let _ = head;
        error.answer()
    }

    /// See [`Handler::cancels_inside`].
    #[doc(hidden)]
    fn cancels_inside_of(&self) -> bool {
        false
    }
}

mod sealed {
    pub trait Sealed<M> {}
}

/// Marks the values that are a [`Handler`] themselves.
#[doc(hidden)]
#[derive(Debug)]
pub struct IsHandler(());

impl<H: Handler> sealed::Sealed<IsHandler> for H {}

impl<H: Handler> IntoHandler<IsHandler> for H {
    type Output = Response;

    #[inline]
    fn handle_with(&self, request: &mut Request) -> Response {
        self.handle(request)
    }

    fn prepare_with(&self) -> io::Result<()> {
        self.prepare()
    }

    fn takes_connect_with(&self) -> bool {
        self.takes_connect()
    }

    fn refuse_with(&self, error: &Error, head: Option<&Request>) -> Response {
        self.refuse(error, head)
    }

    fn cancels_inside_of(&self) -> bool {
        self.cancels_inside()
    }
}

/// Marks functions that take these extractors.
#[doc(hidden)]
#[derive(Debug)]
pub struct Extracts<A>(PhantomData<A>);

/// Marks functions that take these extractors, and then the request.
#[doc(hidden)]
#[derive(Debug)]
pub struct ExtractsAndRequest<A>(PhantomData<A>);

macro_rules! functions {
    ($($A:ident)*) => {
        impl<F, R, $($A),*> sealed::Sealed<Extracts<($($A,)*)>> for F
        where
            F: Fn($($A),*) -> R + 'static,
            $($A: FromRequest,)*
        {
        }

        impl<F, R, $($A),*> IntoHandler<Extracts<($($A,)*)>> for F
        where
            F: Fn($($A),*) -> R + 'static,
            $($A: FromRequest,)*
        {
            type Output = R;

            fn needs(_needs: &mut Needs) {
                $($A::needs(_needs);)*
            }

            #[inline]
            #[allow(non_snake_case)]
            fn handle_with(&self, _request: &mut Request) -> Response
            where
                R: IntoResponse,
            {
                const { assert_one_reader(&[$($A::READS_BODY),*]) };
                $(
                    let $A = match $A::from_request(_request) {
                        Ok(value) => value,
                        Err(error) => return error.into_response(),
                    };
                )*
                self($($A),*).into_response()
            }
        }

        impl<F, R, $($A),*> sealed::Sealed<ExtractsAndRequest<($($A,)*)>> for F
        where
            F: Fn($($A,)* &mut Request) -> R + 'static,
            $($A: FromRequest,)*
        {
        }

        impl<F, R, $($A),*> IntoHandler<ExtractsAndRequest<($($A,)*)>> for F
        where
            F: Fn($($A,)* &mut Request) -> R + 'static,
            $($A: FromRequest,)*
        {
            type Output = R;

            fn needs(_needs: &mut Needs) {
                $($A::needs(_needs);)*
            }

            #[inline]
            #[allow(non_snake_case)]
            fn handle_with(&self, request: &mut Request) -> Response
            where
                R: IntoResponse,
            {
                const { assert_one_reader(&[$($A::READS_BODY),*]) };
                $(
                    let $A = match $A::from_request(request) {
                        Ok(value) => value,
                        Err(error) => return error.into_response(),
                    };
                )*
                self($($A,)* request).into_response()
            }
        }
    };
}

functions!();
functions!(A1);
functions!(A1 A2);
functions!(A1 A2 A3);
functions!(A1 A2 A3 A4);
functions!(A1 A2 A3 A4 A5);
functions!(A1 A2 A3 A4 A5 A6);
functions!(A1 A2 A3 A4 A5 A6 A7);
functions!(A1 A2 A3 A4 A5 A6 A7 A8);

const fn assert_one_reader(reads_body: &[bool]) {
    let (mut at, mut readers) = (0, 0);
    while at < reads_body.len() {
        readers += reads_body[at] as usize;
        at += 1;
    }
    assert!(
        readers <= 1,
        "two arguments of this handler read the body of the request, which can be read only once"
    );
}

/// A value that converts into a handler, as one.
pub(in crate::http) struct Converted<H, M> {
    handler: H,
    marker: PhantomData<fn() -> M>,
}

impl<H, M> Converted<H, M> {
    pub(in crate::http) fn new(handler: H) -> Self {
        Self {
            handler,
            marker: PhantomData,
        }
    }
}

impl<M: 'static, H: IntoHandler<M, Output: IntoResponse>> Handler for Converted<H, M> {
    #[inline]
    fn handle(&self, request: &mut Request) -> Response {
        self.handler.handle_with(request)
    }

    fn prepare(&self) -> io::Result<()> {
        self.handler.prepare_with()
    }

    fn takes_connect(&self) -> bool {
        self.handler.takes_connect_with()
    }

    fn refuse(&self, error: &Error, head: Option<&Request>) -> Response {
        self.handler.refuse_with(error, head)
    }

    fn cancels_inside(&self) -> bool {
        self.handler.cancels_inside_of()
    }
}
