//! A time limit for each request.
#![forbid(unsafe_code)]

use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};

use crate::http::app::{App, Plugin};
use crate::http::error::HandlerError;
use crate::http::message::IntoResponse;
use crate::time::{self, Instant};

/// Limits the time that a handler takes. Made by [`timeout`].
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    limit: Duration,
    status: StatusCode,
}

/// Limits the time that handlers, and the middleware inside of this one, take to make a response. A
/// request that takes longer is answered with 503, and its connection is closed.
///
/// The time is that of a [deadline](crate::time::timeout): a handler that waits beyond it unwinds
/// from where it waits, or its input and output fails. One that does not wait goes on, and its
/// response is sent, however late, unless it is an error (5xx), which counts as one of the limit.
/// The time includes that of reading the body of the request. That of sending the body of the
/// response is not included, streams among them: [`Timeouts::write`](crate::http::Timeouts) limits
/// it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::middleware::timeout;
/// use ethreads::http::{App, Request};
/// use ethreads::thread;
///
/// let app = App::new()
///     .get("/", || thread::sleep(Duration::from_secs(3600)))
///     .apply(timeout(Duration::from_millis(5)));
/// let response = app.call(Request::get("/"));
/// assert_eq!(response.status(), 503);
/// ```
#[must_use]
pub fn timeout(limit: Duration) -> Timeout {
    Timeout {
        limit,
        status: StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Timeout {
    /// Sets the status of the answer: 503 by default, as no answer is there for now. A proxy that
    /// waits for another server answers 504.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl Plugin for Timeout {
    fn apply_to(self, app: App) -> App {
        app.around(move |request, next| {
            let end = Instant::now().checked_add(self.limit);
            let end = end.unwrap_or(Instant::LATEST);
            match time::deadline(end, || next.run(request)) {
                // Input and output beyond a deadline do not unwind but fail, and handlers answer
                // that with a 500.
                Ok(response) if response.status().is_server_error() && Instant::now() >= end => {}
                Ok(response) => return response,
                Err(_) => {}
            }
            let text = format!("the request took longer than {:?}\n", self.limit);
            // The handler may have left the body within a chunk.
            HandlerError::status(self.status, text)
                .with_header(CONNECTION, HeaderValue::from_static("close"))
                .into_response()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::http::Request;
    use crate::thread;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_handler_that_waits_too_long_unwinds() {
        struct Flag(Rc<Cell<bool>>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::<Cell<bool>>::default();
        let flag = dropped.clone();
        let app = App::new()
            .get("/slow", move || {
                let _flag = Flag(flag.clone());
                thread::sleep(LONG);
            })
            .get("/", || "fast")
            .on_error(|error, _| {
                (
                    error.status_code(),
                    format!("<{}>", error.text().trim_end()),
                )
            })
            .apply(timeout(SHORT).status(StatusCode::GATEWAY_TIMEOUT));
        let response = app.call(Request::get("/slow"));
        assert_eq!(response.status(), 504);
        assert_eq!(
            response.body().as_bytes(),
            Some(&b"<the request took longer than 5ms>"[..])
        );
        assert_eq!(response.headers().get(&CONNECTION).unwrap(), "close");
        assert!(dropped.get());
        assert_eq!(app.call(Request::get("/")).status(), 200);
    }

    #[test]
    fn other_deadlines_and_errors_pass() {
        let app = App::new()
            .get("/inner", || {
                time::timeout(SHORT, || thread::sleep(LONG)).map_err(|error| error.to_string())
            })
            .get("/none", || StatusCode::NOT_FOUND)
            .apply(timeout(LONG));
        assert_eq!(app.call(Request::get("/inner")).status(), 200);
        assert_eq!(app.call(Request::get("/none")).status(), 404);
        let outer = time::timeout(SHORT, || {
            let app = App::new()
                .get("/", || thread::sleep(LONG))
                .apply(timeout(LONG));
            app.call(Request::get("/")).status()
        });
        assert!(outer.is_err());
    }
}
