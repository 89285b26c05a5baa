//! A session, as a handler has it.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::rc::Rc;

use http::StatusCode;
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::Value;

use super::settings::{Settings, new_id};
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::extract::{FromRequest, Needs};
use crate::http::exchange::request::Request;

/// The session of the client, as an argument of a handler: named values of any types that serde
/// knows. It needs [`sessions`](super::sessions).
///
/// The values are loaded when the handler takes the session, and saved after the handler, if they
/// were changed. A middleware takes it by [`from_request`](FromRequest::from_request). Clones are
/// the same session.
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::{MemoryStore, Session, sessions};
/// use ethreads::http::{App, Request, Result};
///
/// fn count(session: Session) -> Result<String> {
///     let visits = session.get("visits")?.unwrap_or(0) + 1;
///     session.insert("visits", visits)?;
///     Ok(format!("visit {visits}\n"))
/// }
///
/// let app = App::new().get("/", count).apply(sessions(MemoryStore::new()));
/// let response = app.call(Request::get("/"));
/// assert_eq!(response.body().as_bytes(), Some(&b"visit 1\n"[..]));
/// ```
#[derive(Clone)]
pub struct Session(Rc<Inner>);

struct Inner {
    settings: Rc<Settings>,
    /// The id that the client has sent.
    sent: Option<String>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    is_loaded: bool,
    /// The id under which the store has the session.
    id: Option<String>,
    values: BTreeMap<String, Value>,
    is_changed: bool,
    /// The session is to have another id.
    renews: bool,
    /// It was destroyed since it was loaded.
    is_destroyed: bool,
}

/// What has become of a session at the end of its request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing has looked at it.
    Unused,
    /// It is as it was, and so is the cookie.
    Kept,
    /// It was saved under this id.
    Saved(String),
    /// There is nothing any more that the cookie stands for.
    Ended,
}

/// What `Session` needs, so that serving fails without sessions.
pub(super) struct SessionsPlugin(pub(super) ());

impl Session {
    pub(super) fn new(settings: Rc<Settings>, sent: Option<String>) -> Self {
        Self(Rc::new(Inner {
            settings,
            sent,
            state: RefCell::default(),
        }))
    }

    fn load(&self) -> Result<()> {
        let Inner {
            settings,
            sent,
            state,
        } = &*self.0;
        if state.borrow().is_loaded {
            return Ok(());
        }
        let found = match sent {
            Some(id) => settings.store.load(id)?,
            None => None,
        };
        // What is not ours is no session. A client must not be locked out by it.
        let read = |data: Vec<u8>| {
            let values = serde_json::from_slice(&data);
            values
                .inspect_err(|error| log::warn!("session that cannot be read: {error}"))
                .ok()
        };
        let values: Option<BTreeMap<String, Value>> = found.and_then(read);
        let mut state = state.borrow_mut();
        state.is_loaded = true;
        state.id = sent.clone().filter(|_| values.is_some());
        state.values = values.unwrap_or_default();
        Ok(())
    }

    /// Returns the value of this name.
    ///
    /// # Errors
    ///
    /// If the value does not fit `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        // Copied, as reading it is code of the program.
        let value = self.0.state.borrow().values.get(name).cloned();
        read(name, value)
    }

    /// Keeps a value under this name, and replaces what there is.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON.
    pub fn insert(&self, name: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)?;
        let mut state = self.0.state.borrow_mut();
        state.is_changed = true;
        state.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes out the value of this name. A session without values ends.
    ///
    /// # Errors
    ///
    /// If the value does not fit `T`. It is taken out nevertheless.
    pub fn remove<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let mut state = self.0.state.borrow_mut();
        let value = state.values.remove(name);
        state.is_changed |= value.is_some();
        drop(state);
        read(name, value)
    }

    /// Whether it has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.state.borrow().values.is_empty()
    }

    /// Gives the session a new id. For each login and each change of rights: an id that was known
    /// before, to an attacker too, is then worth nothing (session fixation).
    pub fn renew(&self) {
        self.0.state.borrow_mut().renews = true;
    }

    /// Ends the session at once, and deletes its values and the cookie; suspends the caller if the
    /// store does. Values that are inserted afterwards begin a new session.
    ///
    /// # Errors
    ///
    /// Those of the store. The session is empty then, and may still be in the store.
    pub fn destroy(&self) -> Result<()> {
        let mut state = self.0.state.borrow_mut();
        let old = mem::take(&mut *state);
        state.is_loaded = true;
        state.is_destroyed = true;
        drop(state);
        match &old.id {
            Some(id) => self.0.settings.store.delete(id),
            None => Ok(()),
        }
    }

    /// Saves the session if it was changed, and `saves` says so.
    pub(super) fn finish(&self, saves: bool) -> Result<Outcome> {
        let Inner {
            settings,
            sent,
            state,
        } = &*self.0;
        let state = state.borrow();
        if !state.is_loaded {
            return Ok(Outcome::Unused);
        }
        let unsaved = match state.is_destroyed && sent.is_some() {
            true => Outcome::Ended,
            false => Outcome::Kept,
        };
        let id = state.id.clone();
        let is_due = state.is_changed || id.is_some() && (state.renews || settings.is_rolling);
        if !saves || !is_due {
            return Ok(unsaved);
        }
        let (renews, is_empty) = (state.renews, state.values.is_empty());
        let data = serde_json::to_vec(&state.values)?;
        // The store may wait, and its code is the program's.
        drop(state);
        match id {
            None if is_empty => Ok(unsaved),
            Some(id) if is_empty => {
                settings.store.delete(&id)?;
                Ok(Outcome::Ended)
            }
            Some(id) if !renews => match settings.store.update(&id, &data, settings.max_age)? {
                true => Ok(Outcome::Saved(id)),
                // Another request has ended it or given it another id meanwhile, and has told the
                // client: in the second case with a cookie that must stay.
                false => Ok(Outcome::Kept),
            },
            old => {
                let id = new_id()?;
                settings.store.save(&id, &data, settings.max_age)?;
                if let Some(old) = old {
                    settings.store.delete(&old)?;
                }
                Ok(Outcome::Saved(id))
            }
        }
    }
}

fn read<T: DeserializeOwned>(name: &str, value: Option<Value>) -> Result<Option<T>> {
    let read = value.map(serde_json::from_value).transpose();
    read.map_err(|error| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let reason = "Internal Server Error";
        let text = format!("value {name:?} of a session: {error}");
        HandlerError::status(status, reason).with_source(text)
    })
}

impl FromRequest for Session {
    fn needs(needs: &mut Needs) {
        needs.state::<SessionsPlugin>();
    }

    fn from_request(request: &mut Request) -> Result<Self> {
        let Some(session) = request.value::<Self>().cloned() else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let text = "there are no sessions here: apply `middleware::sessions` to the app";
            let error = HandlerError::status(status, "Internal Server Error");
            return Err(error.with_source(text));
        };
        session.load()?;
        Ok(session)
    }
}

/// The names of the values. The id is a secret.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.state.borrow().values.keys().cloned().collect();
        f.debug_struct("Session")
            .field("values", &names)
            .finish_non_exhaustive()
    }
}
