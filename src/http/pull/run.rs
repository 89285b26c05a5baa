//! The loop of a program that has nothing but a handler and a state.

use std::io;
use std::panic::AssertUnwindSafe;

use http::StatusCode;
use http::header::CONTENT_LENGTH;

use super::desk::internal_error;
use super::{CLOSE_GRACE, Request, WebServer};
use crate::http::error::Result;
use crate::http::message::{IntoResponse, Response};
use crate::http::signals::Signals;
use crate::thread;

impl WebServer {
    /// Reads a request and answers it with what `handler` makes of it and of `state`, suspending
    /// the caller as [`read`](Self::read) and [`write`](Self::write) do. False if the server has
    /// ended instead.
    ///
    /// The handler returns the response and the next state. If it fails, panics, or gives a
    /// response that cannot be sent (see [`Client::write`](super::Client::write)), the peer gets
    /// the error's status, mostly 500, the log has a line, and the state is as it was. That the
    /// connection was cut meanwhile is told to the log alone.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here. If it was within the handler the peer gets a 500.
    #[track_caller]
    pub fn serve_one<S, R>(
        &self,
        handler: impl FnOnce(&mut Request, &S) -> Result<(R, S)>,
        state: &mut S,
    ) -> io::Result<bool>
    where
        R: IntoResponse,
    {
        let Some((client, mut request)) = self.read()? else {
            return Ok(false);
        };
        // The conversion into a response is the handler's too. It sees its state only through a
        // shared reference, so that a panic leaves no torn one behind.
        let handle = AssertUnwindSafe(|| {
            handler(&mut request, state).map(|(response, next)| (response.into_response(), next))
        });
        let response = match thread::catch_panic(handle) {
            Ok(Ok((response, next))) => match check(&response, client.is_head()) {
                Ok(()) => {
                    *state = next;
                    response
                }
                Err(error) => {
                    log::error!("handler gave a response that cannot be sent: {error}");
                    internal_error()
                }
            },
            Ok(Err(error)) => error.into_response(),
            Err(payload) => {
                let text = crate::runtime::task::message(&*payload);
                log::error!("handler panicked in ethread {}: {text}", thread::current());
                internal_error()
            }
        };
        if let Err(error) = self.write(client, response) {
            log::debug!("a request was not answered: {error}");
        }
        Ok(true)
    }

    /// Answers requests, one after the other, until the server has ended, suspending the caller as
    /// [`read`](Self::read) and [`write`](Self::write) do. Returns the last state.
    ///
    /// The state is threaded from request to request: see [`serve_one`](Self::serve_one).
    ///
    /// SIGINT and SIGTERM end it gently: the server drains, and what has been asked is answered,
    /// within five seconds. A second one ends the process at once. From the return of this on, the
    /// signals do what they did before, as far as that is known: a handler of the program's own is
    /// called all the time.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the server is closed then. If the signals cannot be watched;
    /// nothing has happened then.
    ///
    /// # Cancellation
    ///
    /// As [`serve_one`](Self::serve_one).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ethreads::http::{WebServer, pull::Request};
    ///
    /// let count = |request: &mut Request, hits: &u64| {
    ///     let hits = hits + 1;
    ///     Ok((format!("{} is the target of request {hits}\n", request.target()), hits))
    /// };
    /// let hits = WebServer::open()?.run_server(count, 0)?;
    /// println!("{hits} requests were answered");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_server<S, R>(
        &self,
        mut handler: impl FnMut(&mut Request, &S) -> Result<(R, S)>,
        mut state: S,
    ) -> io::Result<S>
    where
        R: IntoResponse,
    {
        let signals = Signals::drain(self.handle(), CLOSE_GRACE)?;
        let ended = loop {
            match self.serve_one(&mut handler, &mut state) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        signals.end();
        let closed = self.close();
        ended.and(closed).map(|()| state)
    }
}

/// Refuses a response that says something else than it is.
///
/// The connection would send none of them as they are: it would drop the body, or correct the
/// length. To a program that is in charge of what it sends they are an error.
pub(super) fn check(response: &Response, is_head: bool) -> io::Result<()> {
    let status = response.status();
    // RFC 9110 section 15.2: an interim response is no answer.
    if status.is_informational() {
        return Err(wrong(format!(
            "the status {status} does not answer a request"
        )));
    }
    let len = response.body().len();
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if bodiless && len != Some(0) {
        return Err(wrong(format!("a body with the status {status}")));
    }
    for value in response.headers().get_all(&CONTENT_LENGTH) {
        // RFC 9110 section 8.6: digits, and nothing else.
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let text = value.to_str().ok().filter(|_| digits);
        let Some(declared) = text.and_then(|text| text.parse::<u64>().ok()) else {
            return Err(wrong(format!("the content-length {value:?} is no number")));
        };
        // Where no body goes out it may tell how long one would have been.
        let may_differ = (is_head || status == StatusCode::NOT_MODIFIED) && len == Some(0);
        if let Some(len) = len
            && len != declared
            && !may_differ
        {
            return Err(wrong(format!(
                "the content-length is {declared}, but the body has {len} bytes"
            )));
        }
    }
    Ok(())
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::Body;

    #[track_caller]
    fn refused(response: impl IntoResponse, why: &str) {
        let response = response.into_response();
        for is_head in [false, true] {
            let error = check(&response, is_head).expect_err("it is wrong");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), why);
        }
    }

    #[track_caller]
    fn accepted(response: impl IntoResponse) {
        let response = response.into_response();
        for is_head in [false, true] {
            check(&response, is_head).expect("it is right");
        }
    }

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).expect("a status")
    }

    #[test]
    fn what_is_right_passes() {
        accepted("x");
        accepted(());
        accepted((status(404), vec![0; 7]));
        accepted(status(204));
        accepted(([("content-length", "1")], "x"));
        accepted(([("content-length", "3")], Body::writer(|_| Ok(()))));
        accepted((status(304), [("content-length", "7")], ()));
    }

    #[test]
    fn a_status_that_is_no_answer() {
        refused(
            status(100),
            "the status 100 Continue does not answer a request",
        );
        refused(
            status(101),
            "the status 101 Switching Protocols does not answer a request",
        );
    }

    #[test]
    fn a_body_where_none_goes_out() {
        refused((status(204), "x"), "a body with the status 204 No Content");
        refused(
            (status(205), "x"),
            "a body with the status 205 Reset Content",
        );
        refused(
            (status(304), "x"),
            "a body with the status 304 Not Modified",
        );
        refused(
            (status(204), Body::writer(|_| Ok(()))),
            "a body with the status 204 No Content",
        );
    }

    #[test]
    fn a_length_that_is_not_the_bodys() {
        let declared = |length: &'static str| ([("content-length", length)], "body");
        refused(
            declared("5"),
            "the content-length is 5, but the body has 4 bytes",
        );
        refused(declared("+4"), "the content-length \"+4\" is no number");
        refused(declared(""), "the content-length \"\" is no number");
        let twice = ([("content-length", "4"), ("content-length", "3")], "body");
        refused(twice, "the content-length is 3, but the body has 4 bytes");
    }

    #[test]
    fn the_length_of_a_body_that_an_answer_to_head_leaves_out() {
        let response = ([("content-length", "5")], ()).into_response();
        assert!(check(&response, true).is_ok());
        assert!(check(&response, false).is_err());
    }
}
