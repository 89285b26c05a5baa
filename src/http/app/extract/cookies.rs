//! Cookies as arguments of handlers, with and without a signature or encryption.
#![forbid(unsafe_code)]

#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
use std::{fmt, rc::Rc};

#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
use ::cookie::{Cookie, CookieJar, Key};

use crate::http::error::Result;
use crate::http::exchange::extract::FromRequest;
#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
use crate::http::exchange::extract::Needs;
use crate::http::exchange::request::Request;
use crate::http::message::cookies::Cookies;

#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
use super::state::State;

impl FromRequest for Cookies {
    fn from_request(request: &mut Request) -> Result<Self> {
        Ok(request.cookies())
    }
}

/// The cookies of a request that this program has signed. The client can read their values, and
/// cannot change them or make others.
///
/// The signature is an HMAC by SHA-256 over the name and the value. It has no date: a client can
/// keep a value and send it again at any time, so a value that must end says so itself.
///
/// As an argument of a handler it needs a [`Key`] that was given to
/// [`App::with`](crate::http::App::with). [`Cookies::signed`] takes a key as an argument. All
/// shards and all processes that know the cookies need the same key, so it is made once and kept:
/// [`Key::from`] takes 64 random bytes. A new key makes all cookies invalid; with two calls of
/// [`Cookies::signed`] the cookies of an old key are still read.
///
/// # Examples
///
/// ```
/// use ethreads::http::cookie::Key;
/// use ethreads::http::{App, IntoResponse, Request, Response, SignedCookies};
///
/// fn login(cookies: SignedCookies) -> Response {
///     "welcome\n".into_response().with_cookie(cookies.sign(("user", "ann")))
/// }
///
/// fn user(cookies: SignedCookies) -> String {
///     cookies.get("user").unwrap_or_else(|| "a guest".into())
/// }
///
/// let key = Key::from(&[7; 64]); // in a program: random, from its configuration
/// let app = App::new().with(key).post("/login", login).get("/user", user);
/// let response = app.call(Request::post("/login"));
/// let cookie = response.headers().get(&http::header::SET_COOKIE).unwrap();
/// let request = Request::get("/user").header("cookie", cookie).build()?;
/// assert_eq!(app.call(request).body().as_bytes(), Some(&b"ann"[..]));
///
/// let forged = Request::get("/user").header("cookie", "user=root").build()?;
/// assert_eq!(app.call(forged).body().as_bytes(), Some(&b"a guest"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[cfg(feature = "cookie-signed")]
#[derive(Clone)]
pub struct SignedCookies {
    cookies: Cookies,
    key: Rc<Key>,
}

#[cfg(feature = "cookie-signed")]
impl SignedCookies {
    /// Returns the value of the first cookie of this name; `None` without one, and if the first one
    /// has not the signature of the key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let signed = self.cookies.get(name)?;
        let (signature, value) = signed.split_at_checked(SIGNATURE)?;
        // The signature of the crate is over the value only, so a client could send the value of
        // one cookie under the name of another. This one is over both.
        let bound = format!("{signature}{name}={value}");
        let verified = CookieJar::new()
            .signed(&self.key)
            .verify(Cookie::new("", bound))?;
        let (_, value) = verified.value().split_once('=')?;
        Some(value.to_owned())
    }

    /// Signs a cookie, for [`Response::with_cookie`](crate::http::Response::with_cookie).
    #[must_use]
    pub fn sign(&self, cookie: impl Into<Cookie<'static>>) -> Cookie<'static> {
        let mut cookie = cookie.into();
        let mut jar = CookieJar::new();
        let bound = format!("{}={}", cookie.name(), cookie.value());
        jar.signed_mut(&self.key).add(Cookie::new("", bound));
        let signed = jar.get("").map(Cookie::value).unwrap_or_default();
        let signature = signed.get(..SIGNATURE).unwrap_or_default();
        cookie.set_value(format!("{signature}{}", cookie.value()));
        cookie
    }
}

/// The length of the signature before a value: 32 bytes as base64.
#[cfg(feature = "cookie-signed")]
const SIGNATURE: usize = 44;

/// The cookies of a request that this program has encrypted. The client can neither read nor change
/// their values.
///
/// The encryption is AES-256-GCM with a random nonce, over the value, and bound to the name. As
/// with [`SignedCookies`] a client can send an old value again, and the key comes from
/// [`App::with`](crate::http::App::with), or is an argument of [`Cookies::private`].
///
/// # Examples
///
/// ```
/// use ethreads::http::cookie::Key;
/// use ethreads::http::{App, IntoResponse, PrivateCookies, Request, Response};
///
/// fn ask(cookies: PrivateCookies) -> Response {
///     "3 + 4 = ?\n".into_response().with_cookie(cookies.encrypt(("answer", "7")))
/// }
///
/// fn solve(cookies: PrivateCookies) -> String {
///     cookies.get("answer").unwrap_or_default()
/// }
///
/// let key = Key::from(&[7; 64]); // in a program: random, from its configuration
/// let app = App::new().with(key).get("/", ask).get("/answer", solve);
/// let response = app.call(Request::get("/"));
/// let cookie = response.headers().get(&http::header::SET_COOKIE).unwrap();
/// let request = Request::get("/answer").header("cookie", cookie).build()?;
/// assert_eq!(app.call(request).body().as_bytes(), Some(&b"7"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[cfg(feature = "cookie-private")]
#[derive(Clone)]
pub struct PrivateCookies {
    cookies: Cookies,
    key: Rc<Key>,
}

#[cfg(feature = "cookie-private")]
impl PrivateCookies {
    /// Returns the value of the first cookie of this name; `None` without one, and if the first one
    /// was not encrypted with the key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let encrypted = Cookie::new(name.to_owned(), self.cookies.get(name)?.to_owned());
        let cookie = CookieJar::new().private(&self.key).decrypt(encrypted)?;
        Some(cookie.value().to_owned())
    }

    /// Encrypts a cookie, for [`Response::with_cookie`](crate::http::Response::with_cookie).
    ///
    /// # Panics
    ///
    /// If the system has no random numbers.
    #[must_use]
    pub fn encrypt(&self, cookie: impl Into<Cookie<'static>>) -> Cookie<'static> {
        let mut cookie = cookie.into();
        let mut jar = CookieJar::new();
        jar.private_mut(&self.key).add(cookie.clone());
        let encrypted = jar.get(cookie.name()).map(Cookie::value);
        cookie.set_value(encrypted.unwrap_or_default().to_owned());
        cookie
    }
}

#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
macro_rules! with_key {
    ($feature:literal $Type:ident $method:ident $doc:literal) => {
        #[cfg(feature = $feature)]
        impl FromRequest for $Type {
            fn needs(needs: &mut Needs) {
                State::<Key>::needs(needs);
            }

            fn from_request(request: &mut Request) -> Result<Self> {
                let State(key) = State::from_request(request)?;
                let cookies = request.cookies();
                Ok(Self { cookies, key })
            }
        }

        #[cfg(feature = $feature)]
        impl fmt::Debug for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Type))
                    .field("cookies", &self.cookies)
                    .finish_non_exhaustive()
            }
        }

        #[cfg(feature = $feature)]
        impl Cookies {
            #[doc = $doc]
            #[must_use]
            pub fn $method(self, key: &Key) -> $Type {
                let key = Rc::new(key.clone());
                $Type { cookies: self, key }
            }
        }
    };
}

#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
with_key!("cookie-signed" SignedCookies signed "Returns those that were signed with a key.");
#[cfg(any(feature = "cookie-signed", feature = "cookie-private"))]
with_key!("cookie-private" PrivateCookies private "Returns those that were encrypted with a key.");

#[cfg(test)]
#[cfg(all(feature = "cookie-signed", feature = "cookie-private"))]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from(&[byte; 64])
    }

    fn cookies(pairs: &[(&str, &str)]) -> Cookies {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let request = Request::get("/").header("cookie", pairs.join("; "));
        request.build().unwrap().cookies()
    }

    #[test]
    fn a_signature_is_of_its_key_its_name_and_its_value() {
        let signed = Cookies::default().signed(&key(1)).sign(("a", "x=1"));
        let value = signed.value();
        assert!(value.ends_with("x=1") && value.len() == SIGNATURE + 3);
        let get =
            |name: &str, value: &str, byte| cookies(&[(name, value)]).signed(&key(byte)).get(name);
        assert_eq!(get("a", value, 1).as_deref(), Some("x=1"));
        assert_eq!(get("a", value, 2), None);
        assert_eq!(get("b", value, 1), None);
        assert_eq!(get("a", &value.replace('1', "2"), 1), None);
        for bad in ["", "x=1", &value[1..], &value[..SIGNATURE]] {
            assert_eq!(get("a", bad, 1), None, "{bad}");
        }
        // A boundary within a character, at the end of the signature.
        assert_eq!(get("a", &format!("{}ä", &value[..SIGNATURE - 1]), 1), None);
    }

    #[test]
    fn a_name_and_a_value_cannot_be_divided_otherwise() {
        // A name with an equals sign cannot be sent, so the first one ends the name.
        let signed = Cookies::default().signed(&key(1)).sign(("a", "b=c"));
        let (signature, _) = signed.value().split_at(SIGNATURE);
        let other = format!("{signature}c");
        assert_eq!(cookies(&[("a", &other)]).signed(&key(1)).get("a"), None);
    }

    #[test]
    fn what_is_private_is_of_its_key_and_its_name() {
        let jar = Cookies::default().private(&key(1));
        let (first, second) = (jar.encrypt(("a", "secret")), jar.encrypt(("a", "secret")));
        assert_ne!(first.value(), second.value());
        assert!(!first.value().contains("secret"));
        let get =
            |name: &str, value: &str, byte| cookies(&[(name, value)]).private(&key(byte)).get(name);
        assert_eq!(get("a", first.value(), 1).as_deref(), Some("secret"));
        assert_eq!(get("a", second.value(), 1).as_deref(), Some("secret"));
        assert_eq!(get("a", first.value(), 2), None);
        assert_eq!(get("b", first.value(), 1), None);
        assert_eq!(get("a", &first.value()[4..], 1), None);
        assert_eq!(get("a", "secret", 1), None);
    }

    #[test]
    fn attributes_stay_with_the_cookie() {
        let cookie = Cookie::build(("a", "1")).path("/x").http_only(true).build();
        let jar = Cookies::default();
        let signed = jar.clone().signed(&key(1)).sign(cookie.clone());
        let encrypted = jar.private(&key(1)).encrypt(cookie);
        for cookie in [signed, encrypted] {
            assert_eq!(cookie.path(), Some("/x"));
            assert_eq!(cookie.http_only(), Some(true));
            assert_eq!(cookie.name(), "a");
        }
    }

    #[test]
    fn texts_leave_keys_and_values_out() {
        let jar = cookies(&[("a", "secret")]);
        let texts = [
            format!("{:?}", jar.clone().signed(&key(1))),
            format!("{:?}", jar.private(&key(1))),
        ];
        assert_eq!(texts[0], r#"SignedCookies { cookies: Cookies{"a"}, .. }"#);
        assert_eq!(texts[1], r#"PrivateCookies { cookies: Cookies{"a"}, .. }"#);
    }
}
