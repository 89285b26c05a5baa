//! Events, and what needs a feature of the library.

use std::time::Duration;

use ethreads::http::{App, Event, LastEventId, Sse};
use ethreads::thread;

/// Adds the routes of this file.
pub(crate) fn routes(app: App) -> App {
    let app = app.get("/events", events);
    let app = app.merge(compressed::routes());
    #[cfg(feature = "cookie")]
    let app = app.get("/cookies/set", cookies::set);
    #[cfg(not(feature = "cookie"))]
    let app = app.get("/cookies/set", || missing("cookie"));
    #[cfg(feature = "multipart")]
    let app = app.merge(upload::routes());
    #[cfg(not(feature = "multipart"))]
    let app = app.post("/upload", || missing("multipart"));
    app
}

#[cfg(not(all(feature = "cookie", feature = "multipart")))]
fn missing(feature: &str) -> (ethreads::http::StatusCode, String) {
    let text = format!("this was built without the feature `{feature}`: add --all-features\n");
    (ethreads::http::StatusCode::NOT_IMPLEMENTED, text)
}

/// One event a second, until the client leaves or the server drains. A client that comes again
/// goes on where it has left.
fn events(last: Option<LastEventId>) -> Sse {
    let first = last.and_then(|last| last.0.parse::<u64>().ok());
    let first = first.map_or(0, |last| last.saturating_add(1));
    Sse::new(move |events| {
        for number in first.. {
            let event = Event::new().id(&number.to_string());
            events.send(event.data(&format!("event {number}")))?;
            thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    })
}

mod compressed {
    use std::sync::LazyLock;

    use ethreads::http::App;

    /// 32 KiB of lines.
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text: String = (0..2000).map(|n| format!("this is line {n}\n")).collect();
        text.truncate(32 * 1024);
        text
    });

    pub(super) fn routes() -> App {
        let app = App::new().get("/compressed", || TEXT.as_str());
        #[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
        let app = app.apply(ethreads::http::middleware::compression());
        app
    }
}

#[cfg(feature = "cookie")]
mod cookies {
    use ethreads::http::cookie::time::Duration;
    use ethreads::http::{Cookie, IntoResponse, Request, Response, SameSite};

    /// Sets two cookies with all attributes, and one that the query names.
    pub(super) fn set(request: &mut Request) -> Response {
        let hour = Duration::hours(1);
        let session = Cookie::build(("session", "abc"))
            .domain("localhost")
            .path("/")
            .max_age(hour)
            .http_only(true)
            .secure(true)
            .same_site(SameSite::Strict);
        let theme = Cookie::build(("theme", "dark"))
            .path("/cookies")
            .max_age(hour)
            .same_site(SameSite::Lax);
        let mut response = "set\n"
            .into_response()
            .with_cookie(session)
            .with_cookie(theme);
        let asked = |wanted: &str| {
            let mut pairs = request.query_pairs();
            let found = pairs.find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.into_owned())
        };
        if let (Some(name), Some(value)) = (asked("name"), asked("value")) {
            response = match response.try_with_cookie(Cookie::new(name, value)) {
                Ok(response) => response,
                Err(error) => {
                    let status = ethreads::http::StatusCode::BAD_REQUEST;
                    (status, format!("{error}\n")).into_response()
                }
            };
        }
        response
    }
}

#[cfg(feature = "multipart")]
mod upload {
    use std::io;

    use ethreads::http::{App, Json, Multipart, Result};
    use serde::Serialize;

    /// The largest form.
    const LIMIT: u64 = 1 << 30;

    #[derive(Serialize)]
    struct Part {
        name: Option<String>,
        filename: Option<String>,
        #[serde(rename = "type")]
        content_type: Option<String>,
        size: u64,
    }

    pub(super) fn routes() -> App {
        App::new().post("/upload", upload).body_limit(LIMIT)
    }

    /// Lists the fields of a form, whose data is read and thrown away.
    fn upload(mut form: Multipart) -> Result<Json<Vec<Part>>> {
        let mut parts = Vec::new();
        while let Some(mut field) = form.next_field()? {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            parts.push(Part {
                name: owned(field.name()),
                filename: owned(field.file_name()),
                content_type: owned(field.content_type()),
                size: io::copy(&mut field, &mut io::sink())?,
            });
        }
        Ok(Json(parts))
    }
}
