//! Server-sent events (WHATWG HTML section 9.2).
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::http::error::{HandlerError, Result};
use crate::http::exchange::draining::{DrainSlot, Draining};
use crate::http::exchange::extract::{FromOptional, FromRequest};
use crate::http::exchange::request::Request;
use crate::http::message::{Body, BodyWriter, IntoResponse, Response};
use crate::sync::channel::{self, Receiver, Sender};
use crate::sync::select::{Either, Operation, after};
use crate::thread::{self, Builder};

/// The events that wait to be sent, until the next one makes the closure wait.
const QUEUE: usize = 16;

type WriteEvents = Box<dyn FnOnce(&Events) -> io::Result<()>>;

/// A stream of server-sent events, as a response.
///
/// The closure sends events until it returns, which ends the response. It runs in an ethread of its
/// own, after the handler has returned, and may wait for as long as it likes. Meanwhile the
/// connection sends a comment whenever there was nothing to send for the time of
/// [`keep_alive`](Self::keep_alive). So the loss of the client is noticed: the ethread of the
/// closure is then cancelled. An error of the closure cuts the response short.
///
/// When the server [drains](crate::http::ServerHandle::drain), the stream ends: the events that
/// wait are sent, the ethread of the closure is cancelled, and the response ends in order. Browsers
/// connect again, to an instance that is left.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::{App, Event, LastEventId, Sse};
/// use ethreads::thread;
///
/// fn ticks(last: Option<LastEventId>) -> Sse {
///     let first = last.and_then(|last| last.0.parse().ok()).map_or(0, |last: u64| last + 1);
///     Sse::new(move |events| {
///         for tick in first.. {
///             events.send(Event::new().id(&tick.to_string()).data("tick"))?;
///             thread::sleep(Duration::from_secs(1));
///         }
///         Ok(())
///     })
/// }
///
/// let app = App::new().get("/ticks", ticks);
/// # drop(app);
/// ```
#[doc(alias("EventSource", "server-sent events"))]
pub struct Sse {
    write: WriteEvents,
    keep_alive: Duration,
}

impl Sse {
    /// The default of [`keep_alive`](Self::keep_alive): 15 s.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

    /// Makes a response of the events that `write` sends.
    pub fn new(write: impl FnOnce(&Events) -> io::Result<()> + 'static) -> Self {
        Self {
            write: Box::new(write),
            keep_alive: Self::KEEP_ALIVE,
        }
    }

    /// Sets after how much time without an event a comment is sent. Clients ignore it. The first
    /// comment that meets a client that is gone makes it known, and the second one fails.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[must_use]
    #[track_caller]
    pub fn keep_alive(mut self, period: Duration) -> Self {
        assert!(
            !period.is_zero(),
            "comments without a pause fill any stream"
        );
        self.keep_alive = period;
        self
    }
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        let Self { write, keep_alive } = self;
        let slot = DrainSlot::default();
        let draining = slot.clone();
        let body = Body::writer(move |out| stream(write, keep_alive, &draining.get(), out));
        Response::default()
            .with_header(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
            .with_header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .with_body(body)
            .hold(slot)
    }
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

fn stream(
    write: WriteEvents,
    keep_alive: Duration,
    draining: &Draining,
    out: &mut BodyWriter<'_>,
) -> io::Result<()> {
    let (sender, receiver) = channel::bounded(QUEUE);
    thread::scope(|scope| {
        let run = move || write(&Events { sender });
        let writer = Builder::new().spawn_scoped(scope, run)?;
        let sent = forward(&receiver, keep_alive, draining, out);
        drop(receiver);
        if !matches!(sent, Ok(End::Closure)) {
            writer.cancel();
        }
        match (writer.join(), sent) {
            (Ok(ended), Ok(End::Closure)) => ended,
            (Err(payload), Ok(End::Closure)) => std::panic::resume_unwind(payload),
            // However the closure takes its cancel.
            (_, Ok(End::Drain)) => Ok(()),
            (_, Err(error)) => Err(error),
        }
    })
}

/// Why a stream of events ends in order.
enum End {
    /// The closure has ended.
    Closure,
    /// The server drains.
    Drain,
}

/// Sends what comes, and comments while nothing comes, until the closure has ended or the server
/// drains.
fn forward(
    events: &Receiver<String>,
    keep_alive: Duration,
    draining: &Draining,
    out: &mut BodyWriter<'_>,
) -> io::Result<End> {
    // The client learns that the stream is open.
    out.flush()?;
    loop {
        let next = events
            .receiving()
            .or(draining.waiting())
            .or(after(keep_alive))
            .perform_in_order();
        let mut drains = false;
        match next {
            Either::First(Either::First(Ok(event))) => out.write_all(event.as_bytes())?,
            Either::First(Either::First(Err(_))) => return Ok(End::Closure),
            Either::First(Either::Second(())) => drains = true,
            Either::Second(()) => out.write_all(b":\n\n")?,
        }
        while let Ok(event) = events.try_recv() {
            out.write_all(event.as_bytes())?;
        }
        if drains {
            return Ok(End::Drain);
        }
        out.flush()?;
    }
}

/// Where the closure of [`Sse::new`] sends its events.
pub struct Events {
    sender: Sender<String>,
}

impl Events {
    /// Sends an event; suspends the caller while the client takes no more.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an event that cannot be sent: see [`Event::id`] and [`Event::name`].
    /// `BrokenPipe` if the client is gone.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    #[track_caller]
    pub fn send(&self, event: Event) -> io::Result<()> {
        if let Some(field) = event.malformed {
            let text = format!("the {field} of an event contains a line end or a NUL");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut text = event.text;
        text.push('\n');
        let sent = self.sender.send(text);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// An event: its data, and what else a client is to know.
///
/// # Examples
///
/// ```
/// use ethreads::http::Event;
///
/// let event = Event::new().name("price").id("7").data("11.50\n11.75");
/// assert_eq!(event.to_string(), "event: price\nid: 7\ndata: 11.50\ndata: 11.75\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The lines of the event.
    text: String,
    /// The first field that cannot be sent.
    malformed: Option<&'static str>,
}

impl Event {
    /// Makes an event without any field, which clients ignore.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds data. Its line ends, and further calls, divide it into lines; clients see `\n` between
    /// them.
    #[must_use]
    pub fn data(mut self, data: &str) -> Self {
        let mut rest = data;
        loop {
            let end = rest.find(['\r', '\n']);
            self.push("data", &rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else {
                return self;
            };
            let is_pair = rest[end..].starts_with("\r\n");
            rest = &rest[end + 1 + usize::from(is_pair)..];
        }
    }

    /// Sets the name, which clients call the type of the event. If it contains a line end, the
    /// event cannot be sent.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.one_line("event", name)
    }

    /// Sets the id, which the client sends as `Last-Event-ID` when it connects again. If it
    /// contains a line end or a NUL, the event cannot be sent.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        self.one_line("id", id)
    }

    /// Sets how long the client waits before it connects again.
    #[must_use]
    pub fn retry(mut self, pause: Duration) -> Self {
        let millis = pause.as_millis().to_string();
        self.push("retry", &millis);
        self
    }

    fn one_line(mut self, field: &'static str, value: &str) -> Self {
        if value.contains(['\r', '\n', '\0']) {
            self.malformed.get_or_insert(field);
        } else {
            self.push(field, value);
        }
        self
    }

    fn push(&mut self, field: &str, value: &str) {
        // A string takes all that is written.
        let _ = writeln!(self.text, "{field}: {value}");
    }
}

/// The event as it is sent.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)
    }
}

/// The extractor of `Last-Event-ID`: the id of the last event that the client has seen before it
/// connected again. As an `Option` it is `None` at the first connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEventId(pub String);

/// A request without the field is answered with 400.
impl FromRequest for LastEventId {
    fn from_request(request: &mut Request) -> Result<Self> {
        let status = StatusCode::BAD_REQUEST;
        let missing = || HandlerError::status(status, "there is no `Last-Event-ID`\n");
        Self::from_optional(request)?.ok_or_else(missing)
    }
}

/// Absent if the client has seen no event with an id.
impl FromOptional for LastEventId {
    fn from_optional(request: &mut Request) -> Result<Option<Self>> {
        let Some(value) = request.headers().get("last-event-id") else {
            return Ok(None);
        };
        match str::from_utf8(value) {
            Ok(id) => Ok(Some(Self(id.to_owned()))),
            Err(_) => {
                let text = "`Last-Event-ID` is not UTF-8\n";
                Err(HandlerError::status(StatusCode::BAD_REQUEST, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_split_into_lines() {
        let lines = |data: &str| Event::new().data(data).to_string();
        assert_eq!(lines("a"), "data: a\n\n");
        assert_eq!(lines(""), "data: \n\n");
        assert_eq!(
            lines("a\nb\r\nc\rd"),
            "data: a\ndata: b\ndata: c\ndata: d\n\n"
        );
        assert_eq!(lines("a\n"), "data: a\ndata: \n\n");
        assert_eq!(lines("\n\r"), "data: \ndata: \ndata: \n\n");
        assert_eq!(lines("id: 7"), "data: id: 7\n\n");
    }

    #[test]
    fn fields_come_in_the_order_of_the_calls() {
        let event = Event::new()
            .retry(Duration::from_millis(1500))
            .id("x")
            .data("y");
        assert_eq!(event.to_string(), "retry: 1500\nid: x\ndata: y\n\n");
    }

    #[test]
    fn ids_and_names_with_line_ends_are_refused() {
        let (sender, _receiver) = channel::bounded(1);
        let events = Events { sender };
        for bad in ["a\nb", "a\r", "\0"] {
            for event in [Event::new().id(bad), Event::new().name(bad).data("x")] {
                let error = events.send(event).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
            }
        }
        events.send(Event::new().id("a b: c")).unwrap();
    }

    #[test]
    fn the_last_id_is_taken_from_the_request() {
        let id = |request: &mut Request| LastEventId::from_optional(request).unwrap();
        let mut with = Request::builder()
            .header("last-event-id", "7")
            .build()
            .unwrap();
        assert_eq!(id(&mut with), Some(LastEventId("7".into())));
        let mut without = Request::builder().build().unwrap();
        assert_eq!(id(&mut without), None);
        let error = LastEventId::from_request(&mut without).unwrap_err();
        assert_eq!(error.status_code(), 400);
    }
}
