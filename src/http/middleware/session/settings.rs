//! What the sessions of an app have in common: where they are kept, their ids, and the cookie.
#![forbid(unsafe_code)]

use std::time::Duration;

use ::cookie::{Cookie, SameSite};

use super::store::SessionStore;
use crate::http::error::Result;
use crate::runtime::driver::random::fill_secret;

/// What the sessions of an app share.
pub(super) struct Settings {
    pub(super) store: Box<dyn SessionStore>,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) domain: Option<String>,
    pub(super) same_site: SameSite,
    pub(super) is_secure: bool,
    pub(super) is_persistent: bool,
    pub(super) is_rolling: bool,
    pub(super) max_age: Duration,
}

impl Settings {
    /// The cookie of a session.
    pub(super) fn cookie(&self, id: &str) -> Cookie<'static> {
        let mut cookie = self.bare(id);
        if self.is_persistent {
            let max_age = self.max_age.try_into();
            cookie.set_max_age(max_age.unwrap_or(::cookie::time::Duration::MAX));
        }
        cookie
    }

    /// What makes a client forget the cookie.
    pub(super) fn removal(&self) -> Cookie<'static> {
        let mut cookie = self.bare("");
        cookie.make_removal();
        cookie
    }

    fn bare(&self, value: &str) -> Cookie<'static> {
        let mut cookie = Cookie::new(self.name.clone(), value.to_owned());
        cookie.set_path(self.path.clone());
        cookie.set_http_only(true);
        cookie.set_same_site(self.same_site);
        cookie.set_secure(self.is_secure);
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain.clone());
        }
        cookie
    }
}

/// The random bytes of an id.
const ID_BYTES: usize = 20;

/// A new id, which no client can guess.
pub(super) fn new_id() -> Result<String> {
    let mut bytes = [0; ID_BYTES];
    fill_secret(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a text has the form of an id. A store gets no other text of a client.
pub(super) fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 2 * ID_BYTES && text.bytes().all(is_digit)
}
