//! A page about a panic of a handler, in debug builds.
#![forbid(unsafe_code)]

use crate::http::app::{App, Plugin};

/// Shows panics of handlers in debug builds. Made by [`panic_page`].
#[derive(Clone, Copy, Debug)]
pub struct PanicPage(());

/// Answers a panic of a handler with a page that has its message, the place in the source, and the
/// request, in builds with debug assertions; in other builds this does nothing. The status is 500
/// as without it.
///
/// A client that takes no HTML gets a text. The page stands in for that of
/// [`App::on_error`], which renders all other errors. To know the place, the first call sets a
/// panic hook, which calls the hook that was there before. A hook that the program sets later
/// should do the same; otherwise the page has no place.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::panic_page;
/// use ethreads::http::{App, Request};
///
/// let app = App::new()
///     .get("/{n}", |ethreads::http::Path(n): ethreads::http::Path<usize>| {
///         ["zero", "one"][n]
///     })
///     .apply(panic_page());
/// let response = app.call(Request::get("/2"));
/// assert_eq!(response.status(), 500);
/// # #[cfg(debug_assertions)]
/// # {
/// let text = str::from_utf8(response.body().as_bytes().unwrap())?;
/// assert!(text.contains("index out of bounds"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn panic_page() -> PanicPage {
    PanicPage(())
}

impl Plugin for PanicPage {
    fn apply_to(self, app: App) -> App {
        match cfg!(debug_assertions) {
            true => app.show_panics(),
            false => app,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Request, RequestBuilder, Response, StatusCode, error_pages};

    fn app() -> App {
        App::new()
            .get("/{x}", || -> () { panic!("<b>") })
            .get("/fail/{x}", || StatusCode::CONFLICT)
            .on_error(error_pages::problem_json)
    }

    #[track_caller]
    fn text(app: &App, request: RequestBuilder) -> String {
        let response: Response = app.call(request);
        assert_eq!(response.status(), 500);
        String::from_utf8(response.body().as_bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_panic_is_shown_with_its_place() {
        let app = app().apply(panic_page());
        if !cfg!(debug_assertions) {
            assert!(text(&app, Request::get("/a")).starts_with('{'));
            return;
        }
        let plain = text(&app, Request::get("/a?b=c"));
        let start = format!("handler panicked at {}:", file!());
        assert!(plain.starts_with(&start), "{plain}");
        let rest = ":\n<b>\n\nrequest: GET /a?b=c\nroute: /{x}\n";
        assert!(plain.contains(rest), "{plain}");
        let html = text(&app, Request::get("/a").header("accept", "text/html,*/*"));
        assert!(html.starts_with("<!DOCTYPE html>"), "{html}");
        assert!(html.contains("<pre>&lt;b&gt;</pre>"), "{html}");
        assert!(!html.contains("<b>"), "{html}");
    }

    #[test]
    fn other_errors_and_other_apps_are_left_alone() {
        let app = App::new().merge(app()).apply(panic_page());
        if cfg!(debug_assertions) {
            // The page of the outer app is that of the inner ones, too.
            assert!(text(&app, Request::get("/a")).starts_with("handler panicked"));
        }
        let response = app.call(Request::get("/fail/a"));
        assert_eq!(response.status(), 409);
        // A release build, and an app without the page.
        let plain = self::app();
        assert!(text(&plain, Request::get("/a")).starts_with('{'));
    }
}
