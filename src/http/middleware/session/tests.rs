//! Sessions, without a server.

use std::cell::{Cell, RefCell};
use std::io;

use ::http::header::SET_COOKIE;

use super::*;
use crate::http::{FromRequest, Handler, HandlerError, Path, StatusCode};

/// A store that writes down its calls.
#[derive(Default)]
struct Spy {
    calls: RefCell<Vec<String>>,
    fails: Cell<bool>,
    store: MemoryStore,
}

impl Spy {
    fn note(&self, call: &str, id: &str) -> Result<()> {
        self.calls.borrow_mut().push(format!("{call} {}", &id[..4]));
        match self.fails.get() {
            true => Err(io::Error::other("no store").into()),
            false => Ok(()),
        }
    }

    /// The calls since the last time, without their ids.
    fn calls(&self) -> String {
        let calls = self.calls.take();
        let names = calls.iter().filter_map(|call| call.split(' ').next());
        names.collect::<Vec<_>>().join(" ")
    }
}

impl SessionStore for Spy {
    fn load(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.note("load", id)?;
        self.store.load(id)
    }

    fn save(&self, id: &str, data: &[u8], max_age: Duration) -> Result<()> {
        self.note("save", id)?;
        self.store.save(id, data, max_age)
    }

    fn update(&self, id: &str, data: &[u8], max_age: Duration) -> Result<bool> {
        self.note("update", id)?;
        self.store.update(id, data, max_age)
    }

    fn delete(&self, id: &str) -> Result<()> {
        self.note("delete", id)?;
        self.store.delete(id)
    }
}

fn show(session: Session) -> Result<String> {
    Ok(session.get::<String>("user")?.unwrap_or_default())
}

fn set(session: Session, Path(user): Path<String>) -> Result<()> {
    session.insert("user", user)
}

fn routes() -> App {
    App::new()
        .get("/none", || "none")
        .get("/show", show)
        .get("/set/{user}", set)
        .get("/remove", |session: Session| {
            session.remove::<String>("user").map(|_| ())
        })
        .get("/renew", |session: Session| session.renew())
        .get("/login", |session: Session| {
            session.renew();
            session.insert("user", "ann")
        })
        .get("/destroy", |session: Session| session.destroy())
        .get("/restart", |session: Session| {
            session.destroy()?;
            session.insert("user", "new")
        })
        .get("/fail", |session: Session| {
            session.insert("user", "lost")?;
            Err::<(), HandlerError>(io::Error::other("failed").into())
        })
        .get("/panic", |session: Session| -> () {
            session.insert("user", "lost").unwrap();
            panic!("a handler")
        })
        .get("/wrong", |session: Session| {
            session.get::<u32>("user").map(|_| ())
        })
}

/// An app with a store, and the cookie of its only client.
struct Site {
    app: App,
    spy: Rc<Spy>,
    cookie: RefCell<String>,
}

impl Site {
    fn new(configure: fn(Sessions) -> Sessions) -> Self {
        let spy = Rc::<Spy>::default();
        Self {
            app: routes().apply(configure(sessions(spy.clone()))),
            spy,
            cookie: RefCell::default(),
        }
    }

    /// Sends a request with the cookie, and takes the one that is set.
    fn get(&self, path: &str) -> Response {
        let request = Request::get(path).header("cookie", self.cookie.borrow().clone());
        let response = self.app.call(request);
        if let Some(set) = set_cookie(&response) {
            let (cookie, _) = set.split_once(';').unwrap();
            self.cookie.replace(cookie.to_owned());
        }
        response
    }

    #[track_caller]
    fn check(&self, path: &str, sets_cookie: bool, calls: &str) {
        let response = self.get(path);
        assert!(!response.status().is_server_error(), "{path}");
        assert_eq!(set_cookie(&response).is_some(), sets_cookie, "{path}");
        assert_eq!(self.spy.calls(), calls, "{path}");
    }

    #[track_caller]
    fn shows(&self, expected: &str) {
        let response = self.get("/show");
        assert_eq!(response.body().as_bytes(), Some(expected.as_bytes()));
        self.spy.calls();
    }
}

fn set_cookie(response: &Response) -> Option<&str> {
    let mut set = response.headers().get_all(&SET_COOKIE);
    let first = set.next()?.to_str().unwrap();
    assert_eq!(set.next(), None);
    Some(first)
}

fn field<'a>(response: &'a Response, name: &'static str) -> Option<&'a str> {
    let value = response
        .headers()
        .get(&::http::HeaderName::from_static(name));
    value.map(|value| value.to_str().unwrap())
}

#[test]
fn only_changes_are_saved() {
    let site = Site::new(|sessions| sessions);
    // Nothing to keep: no cookie.
    site.check("/none", false, "");
    site.check("/show", false, "");
    site.check("/remove", false, "");
    site.check("/renew", false, "");
    site.check("/set/ann", true, "save");
    let cookie = site.cookie.borrow().clone();
    site.check("/none", false, "");
    site.check("/show", false, "load");
    site.shows("ann");
    site.check("/set/bob", true, "load update");
    assert_eq!(*site.cookie.borrow(), cookie);
    site.shows("bob");
    // Without values there is nothing to keep any more.
    site.check("/remove", true, "load delete");
    assert_eq!(*site.cookie.borrow(), "session=");
    assert!(site.spy.store.is_empty());
}

#[test]
fn the_cookie_has_its_attributes() {
    let site = Site::new(|sessions| sessions);
    let response = site.get("/set/ann");
    let (pair, rest) = set_cookie(&response).unwrap().split_once("; ").unwrap();
    assert_eq!(rest, "HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600");
    let id = pair.strip_prefix("session=").unwrap();
    assert!(is_id(id), "{id}");
    assert_eq!(field(&response, "cache-control"), Some("no-store"));
    assert_eq!(field(&response, "vary"), Some("Cookie"));
    let response = site.get("/show");
    assert_eq!(field(&response, "cache-control"), None);
    assert_eq!(field(&response, "vary"), Some("Cookie"));
    assert_eq!(field(&site.get("/none"), "vary"), None);

    let site = Site::new(|sessions| {
        let named = sessions.cookie_name("sid").path("/x").domain("a.example");
        let strict = named.secure(true).same_site(SameSite::Strict);
        strict.max_age(Duration::from_secs(60)).until_browser_ends()
    });
    let response = site.get("/set/ann");
    let (pair, rest) = set_cookie(&response).unwrap().split_once("; ").unwrap();
    assert!(pair.starts_with("sid="));
    assert_eq!(
        rest,
        "HttpOnly; SameSite=Strict; Secure; Path=/x; Domain=a.example"
    );
    let response = site.get("/destroy");
    let removal = set_cookie(&response).unwrap();
    let start = "sid=; HttpOnly; SameSite=Strict; Secure; Path=/x; Domain=a.example; Max-Age=0; ";
    assert!(removal.starts_with(start), "{removal}");
}

#[test]
fn a_renewed_session_has_another_id() {
    let site = Site::new(|sessions| sessions);
    site.get("/set/ann");
    let old = site.cookie.borrow().clone();
    site.spy.calls();
    site.check("/renew", true, "load save delete");
    assert_ne!(*site.cookie.borrow(), old);
    site.shows("ann");
    site.check("/login", true, "load save delete");
    // The old id is worth nothing.
    site.cookie.replace(old);
    site.shows("");
    assert_eq!(site.spy.store.len(), 1);
}

#[test]
fn an_unknown_id_is_not_adopted() {
    let site = Site::new(|sessions| sessions);
    let fixed = format!("session={}", "0".repeat(40));
    site.cookie.replace(fixed.clone());
    site.check("/login", true, "load save");
    assert_ne!(*site.cookie.borrow(), fixed);
    // What has not the form of an id does not reach the store.
    for bad in ["", "0", &"0".repeat(41), &"A".repeat(40), &"g".repeat(40)] {
        site.cookie.replace(format!("session={bad}"));
        site.check("/show", false, "");
    }
}

#[test]
fn a_destroyed_session_is_gone_at_once() {
    let site = Site::new(|sessions| sessions);
    site.check("/destroy", false, "");
    site.get("/set/ann");
    site.spy.calls();
    site.check("/destroy", true, "load delete");
    assert!(site.spy.store.is_empty());
    site.get("/set/ann");
    let old = site.cookie.borrow().clone();
    site.spy.calls();
    site.check("/restart", true, "load delete save");
    assert_ne!(*site.cookie.borrow(), old);
    site.shows("new");
}

#[test]
fn a_session_that_has_ended_does_not_come_back() {
    let site = Site::new(|sessions| sessions);
    site.get("/set/ann");
    let id = site.cookie.borrow()["session=".len()..].to_owned();
    let store = site.spy.store.clone();
    let app = routes()
        .get("/slow", move |session: Session| {
            session.insert("user", "back")?;
            // Meanwhile, another request ends it.
            store.delete(&id)
        })
        .apply(sessions(site.spy.store.clone()));
    let request = Request::get("/slow").header("cookie", site.cookie.borrow().clone());
    let response = app.call(request);
    // The cookie stays: a request that has given the session another id may have set a new one.
    assert!(set_cookie(&response).is_none());
    assert!(site.spy.store.is_empty());
}

#[test]
fn a_rolling_session_is_saved_at_each_use() {
    let site = Site::new(Sessions::rolling);
    site.check("/show", false, "");
    site.check("/set/ann", true, "save");
    site.check("/show", true, "load update");
    site.check("/none", false, "");
}

#[test]
fn a_request_that_fails_saves_nothing() {
    let site = Site::new(|sessions| sessions);
    site.get("/set/ann");
    for path in ["/fail", "/panic"] {
        let response = site.get(path);
        assert_eq!(response.status(), 500, "{path}");
        assert_eq!(set_cookie(&response), None, "{path}");
        site.shows("ann");
    }
    assert_eq!(site.get("/wrong").status(), 500);
}

#[test]
fn errors_of_the_store_are_answered() {
    let site = Site::new(|sessions| sessions);
    site.get("/set/ann");
    site.spy.fails.set(true);
    for path in ["/show", "/set/ann", "/destroy"] {
        let response = site.get(path);
        assert_eq!(response.status(), 500, "{path}");
        assert_eq!(set_cookie(&response), None, "{path}");
    }
    site.cookie.take();
    // Without an id there is nothing to load; saving fails.
    assert_eq!(site.get("/show").status(), 200);
    assert_eq!(site.get("/set/ann").status(), 500);
}

#[test]
fn data_of_others_is_no_session() {
    let site = Site::new(|sessions| sessions);
    site.get("/set/ann");
    let id = site.cookie.borrow()["session=".len()..].to_owned();
    site.spy.store.save(&id, b"{", Duration::MAX).unwrap();
    site.shows("");
    site.check("/set/bob", true, "load save");
    site.shows("bob");
}

#[test]
fn apps_in_apps_may_have_sessions_of_their_own() {
    let inner = App::new()
        .get("/in", show)
        .apply(sessions(MemoryStore::new()).cookie_name("inner"));
    let around = |request: &mut Request, next: Next<'_>| {
        let response = next.run(request);
        let session = Session::from_request(request)?;
        session.insert("user", "outer")?;
        Ok::<_, HandlerError>(response)
    };
    let app = App::new()
        .merge(inner)
        .apply(sessions(MemoryStore::new()).cookie_name("outer"))
        .around(around);
    let response = app.call(Request::get("/in"));
    assert!(set_cookie(&response).unwrap().starts_with("outer="));
}

#[test]
fn serving_fails_without_sessions() {
    let error = App::new().get("/", show).prepare().unwrap_err().to_string();
    assert!(error.contains("SessionsPlugin"), "{error}");
    let mut request = Request::get("/").build().unwrap();
    let error = Session::from_request(&mut request).unwrap_err();
    assert_eq!(error.status_code(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(error.to_string().contains("apply `middleware::sessions`"));
}

#[test]
#[should_panic(expected = "cookie \"__Host-a\" cannot be set")]
fn a_cookie_that_clients_ignore_panics() {
    let _ = App::new().apply(sessions(MemoryStore::new()).cookie_name("__Host-a"));
}

#[test]
fn texts_leave_ids_and_values_out() {
    let texts = Rc::<RefCell<String>>::default();
    let text = texts.clone();
    let app = App::new()
        .get("/", move |session: Session| {
            session.insert("user", "secret")?;
            text.replace(format!("{session:?}"));
            Ok::<_, HandlerError>(())
        })
        .apply(sessions(MemoryStore::new()));
    app.call(Request::get("/"));
    assert_eq!(*texts.borrow(), r#"Session { values: ["user"], .. }"#);
}
