//! Sessions: values of a client that the server keeps, found by a cookie.
#![forbid(unsafe_code)]

mod handle;
mod memory;
mod settings;
mod store;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ::cookie::SameSite;
use http::header::{CACHE_CONTROL, HeaderValue};

pub use handle::Session;
pub use memory::MemoryStore;
pub use store::SessionStore;

use super::vary::add_vary;
use crate::http::app::{App, Next, Plugin};
use crate::http::error::Result;
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};
use handle::{Outcome, SessionsPlugin};
use settings::{Settings, is_id};

/// Keeps sessions, which handlers take by [`Session`]. Made by [`sessions`].
pub struct Sessions {
    settings: Settings,
}

/// Gives the clients of an app sessions, whose values are in `store`. Handlers take a [`Session`].
///
/// The client has a cookie with a random id of 160 bits, and nothing else. A session is loaded when
/// a handler takes it, and saved after the handler only if it was changed. A client gets a cookie
/// only when there is something to keep. An id that the store does not know is never adopted. Of
/// two requests of one session at the same time, the last one that is saved replaces what the other
/// has saved. A response with a status of 5xx saves nothing.
///
/// The cookie is `HttpOnly`, `SameSite=Lax`, for the path `/`, and lasts two weeks from the last
/// change, unless the methods say otherwise. Its response gets `Cache-Control: no-store`, unless
/// the handler has set a `Cache-Control`, and each response that depends on a session gets
/// `Vary: Cookie`.
///
/// What a streamed body changes in a session is not saved, as the head has been sent by then.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::{MemoryStore, Session, sessions};
/// use ethreads::http::{App, Request, Result};
///
/// fn login(session: Session) -> Result<&'static str> {
///     session.renew(); // the id from before the login is worth nothing any more
///     session.insert("user", "ann")?;
///     Ok("welcome\n")
/// }
///
/// fn hello(session: Session) -> Result<String> {
///     let user: Option<String> = session.get("user")?;
///     Ok(format!("hello {}\n", user.unwrap_or("stranger".into())))
/// }
///
/// fn logout(session: Session) -> Result<&'static str> {
///     session.destroy()?;
///     Ok("goodbye\n")
/// }
///
/// // One store for all shards: it is made before the apps.
/// let store = MemoryStore::new();
/// let app = App::new()
///     .post("/login", login)
///     .get("/", hello)
///     .post("/logout", logout)
///     .apply(sessions(store.clone()));
///
/// let response = app.call(Request::post("/login"));
/// let cookie = response.headers().get(&http::header::SET_COOKIE).unwrap().to_str()?;
/// let (cookie, _) = cookie.split_once(';').unwrap();
/// let response = app.call(Request::get("/").header("cookie", cookie).build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"hello ann\n"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sessions(store: impl SessionStore) -> Sessions {
    Sessions {
        settings: Settings {
            store: Box::new(store),
            name: "session".to_owned(),
            path: "/".to_owned(),
            domain: None,
            same_site: SameSite::Lax,
            is_secure: false,
            is_persistent: true,
            is_rolling: false,
            max_age: Sessions::MAX_AGE,
        },
    }
}

impl Sessions {
    /// The default of [`max_age`](Self::max_age): 14 days.
    pub const MAX_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

    /// Sends the cookie over encrypted connections only. Off by default, as a server without TLS
    /// would lose its sessions; to be set wherever there is TLS, by a proxy in front for example.
    /// Browsers take `localhost` as encrypted.
    #[must_use]
    pub fn secure(mut self, is_secure: bool) -> Self {
        self.settings.is_secure = is_secure;
        self
    }

    /// Sets the name of the cookie: `session` by default. Clients take a name that begins with
    /// `__Host-` from this host only, and if it is [`secure`](Self::secure).
    #[must_use]
    pub fn cookie_name(mut self, name: &str) -> Self {
        self.settings.name = name.to_owned();
        self
    }

    /// Sets below which path clients send the cookie: `/` by default.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.settings.path = path.to_owned();
        self
    }

    /// Makes clients send the cookie to a domain and its subdomains. By default they send it to the
    /// host that has set it only.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.settings.domain = Some(domain.to_owned());
        self
    }

    /// Sets which requests of other sites have the cookie. By default, and with
    /// [`Lax`](SameSite::Lax), these are only those of a link that was followed; a form of another
    /// site is not one.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.settings.same_site = same_site;
        self
    }

    /// Sets how long a session lasts after its last change: [`MAX_AGE`](Self::MAX_AGE) by default.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.settings.max_age = max_age;
        self
    }

    /// Makes a session last [`max_age`](Self::max_age) from its last use instead of its last
    /// change. Each request that takes the session then saves it, and sets the cookie.
    #[must_use]
    pub fn rolling(mut self) -> Self {
        self.settings.is_rolling = true;
        self
    }

    /// Makes clients forget the cookie when the browser ends. The store still ends the session
    /// after [`max_age`](Self::max_age).
    #[must_use]
    pub fn until_browser_ends(mut self) -> Self {
        self.settings.is_persistent = false;
        self
    }
}

impl Plugin for Sessions {
    /// # Panics
    ///
    /// If clients would not take the cookie, for example because of its name.
    fn apply_to(self, app: App) -> App {
        let settings = Rc::new(self.settings);
        if let Err(error) = Response::default().try_with_cookie(settings.cookie("0")) {
            panic!("{error}");
        }
        app.with(SessionsPlugin(()))
            .around(move |request, next| run(&settings, request, next))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("cookie", &self.settings.name)
            .field("max_age", &self.settings.max_age)
            .finish_non_exhaustive()
    }
}

/// Answers a request that may have a session.
fn run(settings: &Rc<Settings>, request: &mut Request, next: Next<'_>) -> Response {
    let cookies = request.cookies();
    let sent = cookies.get(&settings.name).filter(|id| is_id(id));
    let session = Session::new(settings.clone(), sent.map(str::to_owned));
    // An app around this one may have sessions of its own.
    let outer = request.insert(session.clone());
    let response = next.run(request);
    if let Some(outer) = outer {
        request.insert(outer);
    }
    match finish(settings, &session, response) {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Saves what is to be saved, and sets the cookie.
fn finish(settings: &Settings, session: &Session, mut response: Response) -> Result<Response> {
    let saves = !response.status().is_server_error();
    let outcome = session.finish(saves)?;
    if outcome == Outcome::Unused {
        return Ok(response);
    }
    add_vary(response.headers_mut(), "Cookie");
    let cookie = match outcome {
        Outcome::Unused | Outcome::Kept => return Ok(response),
        Outcome::Saved(id) => settings.cookie(&id),
        Outcome::Ended => settings.removal(),
    };
    if !response.headers().contains(&CACHE_CONTROL) {
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
    }
    Ok(response.try_with_cookie(cookie)?)
}

#[cfg(test)]
mod tests;
