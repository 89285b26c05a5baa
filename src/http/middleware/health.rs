//! Routes that tell whether the program is alive, and whether it takes requests.
#![forbid(unsafe_code)]

use std::fmt;

use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::http::app::{App, Plugin};
use crate::http::error::Result;
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};

type Check = dyn Fn() -> Result<()>;

/// Adds the routes `/healthz` and `/readyz`. Made by [`health`].
pub struct Health {
    live: String,
    ready: String,
    checks: Vec<(String, Box<Check>)>,
}

/// Adds two routes for load balancers and for what restarts programs:
///
/// * `/healthz` is answered with 200 while the program answers at all.
/// * `/readyz` is answered with 200 while the program is to get requests, and with 503 from the
///   moment on in which the server [drains](Request::draining), and while one of the
///   [checks](Health::check) fails.
///
/// A server that drains accepts no connection any more, so the 503 is for connections that are
/// open; a prober that connects anew is refused, which says the same. Middleware of the app is
/// around the routes as around all others; an app in which authentication is applied is
/// [merged](App::merge) into one that has these routes.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::health;
/// use ethreads::http::{App, Request};
///
/// let probes = health().check("data", || {
///     std::fs::metadata("/no/such/directory")?;
///     Ok(())
/// });
/// let app = App::new().get("/", || "hello\n").apply(probes);
/// assert_eq!(app.call(Request::get("/healthz")).status(), 200);
/// let response = app.call(Request::get("/readyz"));
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.body().as_bytes(), Some(&b"not ready: data\n"[..]));
/// ```
#[must_use]
pub fn health() -> Health {
    Health {
        live: "/healthz".to_owned(),
        ready: "/readyz".to_owned(),
        checks: Vec::new(),
    }
}

impl Health {
    /// Adds a condition of readiness, such as that a database answers. Checks run one after the
    /// other in each request, and may wait: a [time limit](super::timeout()) belongs around them.
    /// The answer has the name of the first one that fails, and the log has its error.
    #[must_use]
    pub fn check(mut self, name: &str, check: impl Fn() -> Result<()> + 'static) -> Self {
        self.checks.push((name.to_owned(), Box::new(check)));
        self
    }

    /// Sets the path of the route that tells whether the program is alive: `/healthz` by default.
    #[must_use]
    pub fn live_at(mut self, path: &str) -> Self {
        self.live = path.to_owned();
        self
    }

    /// Sets the path of the route that tells whether the program is to get requests: `/readyz` by
    /// default.
    #[must_use]
    pub fn ready_at(mut self, path: &str) -> Self {
        self.ready = path.to_owned();
        self
    }
}

impl Plugin for Health {
    /// # Panics
    ///
    /// If the app has a route of one of the paths already.
    #[track_caller]
    fn apply_to(self, app: App) -> App {
        let Self {
            live,
            ready,
            checks,
        } = self;
        app.get(&live, || answer(StatusCode::OK, "alive\n".to_owned()))
            .get(&ready, move |request: &mut Request| {
                match unready(request, &checks) {
                    None => answer(StatusCode::OK, "ready\n".to_owned()),
                    Some(why) => {
                        let text = format!("not ready: {why}\n");
                        answer(StatusCode::SERVICE_UNAVAILABLE, text)
                    }
                }
            })
    }
}

/// Why the program is not to get requests.
fn unready<'a>(request: &Request, checks: &'a [(String, Box<Check>)]) -> Option<&'a str> {
    if request.draining().has_begun() {
        return Some("draining");
    }
    let failed = checks.iter().find_map(|(name, check)| {
        let error = check().err()?;
        log::warn!("not ready: {name}: {error}");
        Some(&**name)
    });
    // The checks may have waited.
    match request.draining().has_begun() {
        true => Some("draining"),
        false => failed,
    }
}

fn answer(status: StatusCode, text: String) -> Response {
    ([(CACHE_CONTROL, "no-store")], (status, text)).into_response()
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Health")
            .field("live", &self.live)
            .field("ready", &self.ready)
            .field("checks", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use super::*;

    #[track_caller]
    fn check(app: &App, path: &str, status: u16, text: &str) {
        let response = app.call(Request::get(path));
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.body().as_bytes(), Some(text.as_bytes()));
        let value = response.headers().get(&CACHE_CONTROL);
        assert_eq!(value.unwrap(), "no-store");
    }

    #[test]
    fn readiness_is_that_of_all_checks() {
        let broken = Rc::<Cell<bool>>::default();
        let is_broken = broken.clone();
        let probes =
            health()
                .check("first", || Ok(()))
                .check("second", move || match is_broken.get() {
                    true => Err(io::Error::other("gone").into()),
                    false => Ok(()),
                });
        let app = App::new().apply(probes);
        check(&app, "/readyz", 200, "ready\n");
        broken.set(true);
        check(&app, "/readyz", 503, "not ready: second\n");
        check(&app, "/healthz", 200, "alive\n");
        broken.set(false);
        check(&app, "/readyz", 200, "ready\n");
    }

    #[test]
    fn the_paths_can_be_changed() {
        let app = App::new().apply(health().live_at("/live").ready_at("/ready"));
        check(&app, "/live", 200, "alive\n");
        check(&app, "/ready", 200, "ready\n");
        assert_eq!(app.call(Request::get("/healthz")).status(), 404);
    }
}
