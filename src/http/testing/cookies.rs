//! The cookies of a test client (RFC 6265 section 5), for one host.
#![forbid(unsafe_code)]

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use crate::runtime::driver::wall_seconds;

/// The cookies that the responses have set. `Domain` and `Secure` are ignored, as there is one host
/// and no wire; a cookie expires when it is set with a time in the past, and not later.
#[derive(Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

struct Cookie {
    name: String,
    value: String,
    path: String,
}

impl Jar {
    /// Takes the value of a field `Set-Cookie`, of a response to a request of `path`. A value that
    /// is no cookie is ignored.
    pub(super) fn take(&mut self, value: &HeaderValue, path: &str) {
        let Ok(text) = value.to_str() else {
            return;
        };
        let mut parts = text.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            path: default_path(path).to_owned(),
        };
        let (mut max_age, mut expires) = (None, None);
        for attribute in parts {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
                "expires" => expires = httpdate::parse_http_date(value).ok().or(expires),
                _ => {}
            }
        }
        let now = UNIX_EPOCH + Duration::from_secs(wall_seconds());
        // RFC 6265 section 5.3: `Max-Age` comes before `Expires`.
        let is_over = match max_age {
            Some(seconds) => seconds <= 0,
            None => expires.is_some_and(|at| at <= now),
        };
        self.put(cookie, is_over);
    }

    fn put(&mut self, cookie: Cookie, is_over: bool) {
        let same = |have: &Cookie| have.name == cookie.name && have.path == cookie.path;
        match self.cookies.iter().position(same) {
            Some(at) if is_over => drop(self.cookies.remove(at)),
            Some(at) => self.cookies[at].value = cookie.value,
            None if is_over => {}
            None => self.cookies.push(cookie),
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            path: "/".to_owned(),
        };
        self.put(cookie, false);
    }

    pub(super) fn clear(&mut self) {
        self.cookies.clear();
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let found = self.cookies.iter().find(|cookie| cookie.name == name)?;
        Some(found.value.clone())
    }

    /// The field `Cookie` of a request of `path`; `None` without cookies.
    pub(super) fn field(&self, path: &str) -> Option<String> {
        let matching = self.cookies.iter().filter(|cookie| cookie.matches(path));
        let mut sent: Vec<&Cookie> = matching.collect();
        // RFC 6265 section 5.4: longer paths come first. The sort is stable.
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pair = |cookie: &&Cookie| format!("{}={}", cookie.name, cookie.value);
        let pairs: Vec<String> = sent.iter().map(pair).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    /// RFC 6265 section 5.1.4.
    fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'),
            None => false,
        }
    }
}

/// RFC 6265 section 5.1.4: the path up to its last slash.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 && path.starts_with('/') => &path[..at],
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(fields: &[(&str, &'static str)]) -> Jar {
        let mut jar = Jar::default();
        for (path, field) in fields {
            jar.take(&HeaderValue::from_static(field), path);
        }
        jar
    }

    #[track_caller]
    fn check(fields: &[(&str, &'static str)], path: &str, sent: Option<&str>) {
        assert_eq!(jar(fields).field(path).as_deref(), sent);
    }

    #[test]
    fn a_cookie_is_sent_below_its_path() {
        let field = [("/a/b", "x=1")];
        check(&field, "/a", Some("x=1"));
        check(&field, "/a/c/d", Some("x=1"));
        check(&field, "/ab", None);
        check(&field, "/", None);
        check(&[("/a", "x=1")], "/b", Some("x=1"));
        check(&[("/a/b", "x=1; Path=/")], "/c", Some("x=1"));
        check(&[("/a/b", "x=1; path=/c/")], "/c/d", Some("x=1"));
        check(&[("/a/b", "x=1; path=/c/")], "/c", None);
        check(&[("/a/b", "x=1; path=c")], "/a", Some("x=1"));
    }

    #[test]
    fn longer_paths_come_first_and_a_second_value_replaces() {
        let fields = [
            ("/", "x=1; HttpOnly"),
            ("/", "y=2; Path=/a; Secure"),
            ("/", "x = 3 ; SameSite=Lax"),
        ];
        check(&fields, "/a", Some("y=2; x=3"));
        assert_eq!(jar(&fields).get("x").as_deref(), Some("3"));
        assert_eq!(jar(&fields).get("z"), None);
    }

    #[test]
    fn a_time_in_the_past_removes_a_cookie() {
        let past = "x=; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        for over in ["x=; Max-Age=0", "x=; max-age=-1", past] {
            check(&[("/", "x=1"), ("/", over)], "/", None);
        }
        let later = [
            "x=2; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
            "x=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60",
            "x=2; Expires=soon",
            "x=2; Max-Age=soon",
        ];
        for later in later {
            check(&[("/", "x=1"), ("/", later)], "/", Some("x=2"));
        }
    }

    #[test]
    fn what_is_no_cookie_is_ignored() {
        check(
            &[("/", "x"), ("/", "; y=1"), ("/", "a=b=c")],
            "/",
            Some("a=b=c"),
        );
    }
}
