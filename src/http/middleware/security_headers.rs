//! Fields that make browsers more careful.
#![forbid(unsafe_code)]

use std::time::Duration;

use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue};

use crate::http::app::{App, Plugin};
use crate::http::message::Response;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// Adds fields to responses that make browsers more careful. Made by [`security_headers`].
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Adds fields to the responses of an app that make browsers more careful, and that break no
/// ordinary page:
///
/// | field | value | effect |
/// | --- | --- | --- |
/// | `X-Content-Type-Options` | `nosniff` | the type of a response is what `Content-Type` says |
/// | `Referrer-Policy` | `strict-origin-when-cross-origin` | other sites learn the origin only |
/// | `X-Frame-Options` | `SAMEORIGIN` | no other site shows a page in a frame |
/// | `Content-Security-Policy` | `frame-ancestors 'self'` | the same, for today's browsers |
/// | `Cross-Origin-Opener-Policy` | `same-origin-allow-popups` | other sites keep no handle of it |
///
/// A field that a handler has set stays as it is. The methods change fields and add others. HSTS is
/// sent only after [`hsts`](SecurityHeaders::hsts), as browsers then refuse the site without TLS
/// for a long time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::middleware::security_headers;
/// use ethreads::http::{App, Request};
///
/// let careful = security_headers()
///     .content_security_policy("default-src 'self'; frame-ancestors 'none'")
///     .hsts(Duration::from_secs(365 * 24 * 60 * 60));
/// let app = App::new().get("/", || "hello\n").apply(careful);
/// let response = app.call(Request::get("/"));
/// let sniffing = response.headers().get(&http::header::X_CONTENT_TYPE_OPTIONS);
/// assert_eq!(sniffing.unwrap(), "nosniff");
/// ```
#[must_use]
pub fn security_headers() -> SecurityHeaders {
    let fields = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (X_FRAME_OPTIONS, "SAMEORIGIN"),
        (CONTENT_SECURITY_POLICY, "frame-ancestors 'self'"),
        (OPENER_POLICY, "same-origin-allow-popups"),
    ];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    SecurityHeaders {
        fields: fields.into(),
    }
}

impl SecurityHeaders {
    /// Sets a field for all responses that have none of this name.
    ///
    /// # Panics
    ///
    /// If the value is not allowed in a header, for example because of a line end.
    #[must_use]
    #[track_caller]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self = self.without(&name);
        match HeaderValue::from_str(value) {
            Ok(value) => self.fields.push((name, value)),
            Err(_) => panic!("{value:?} is no value of a field"),
        }
        self
    }

    /// Leaves a field out.
    #[must_use]
    pub fn without(mut self, name: &HeaderName) -> Self {
        self.fields.retain(|(have, _)| have != name);
        self
    }

    /// Sets `Content-Security-Policy`, and leaves `X-Frame-Options` out if the policy has
    /// `frame-ancestors`, which replaces it. Panics as [`with`](Self::with).
    #[must_use]
    #[track_caller]
    pub fn content_security_policy(self, policy: &str) -> Self {
        let this = self.with(CONTENT_SECURITY_POLICY, policy);
        match policy.contains("frame-ancestors") {
            true => this.without(&X_FRAME_OPTIONS),
            false => this,
        }
    }

    /// Forbids every site to show a page in a frame, this one included. A
    /// [policy](Self::content_security_policy) that is set afterwards decides itself.
    #[must_use]
    pub fn no_frames(self) -> Self {
        self.with(X_FRAME_OPTIONS, "DENY")
            .with(CONTENT_SECURITY_POLICY, "frame-ancestors 'none'")
    }

    /// Sets `Referrer-Policy`, for example to `no-referrer`. Panics as [`with`](Self::with).
    #[must_use]
    #[track_caller]
    pub fn referrer_policy(self, policy: &str) -> Self {
        self.with(REFERRER_POLICY, policy)
    }

    /// Sets `Permissions-Policy`, for example to `camera=(), microphone=()`. Panics as
    /// [`with`](Self::with).
    #[must_use]
    #[track_caller]
    pub fn permissions_policy(self, policy: &str) -> Self {
        self.with(PERMISSIONS_POLICY, policy)
    }

    /// Sets `Cross-Origin-Resource-Policy`, for example to `same-origin`: which other sites may use
    /// a response as an image, a script and the like. Panics as [`with`](Self::with).
    #[must_use]
    #[track_caller]
    pub fn resource_policy(self, policy: &str) -> Self {
        self.with(RESOURCE_POLICY, policy)
    }

    /// Sends `Strict-Transport-Security` (HSTS, RFC 6797): browsers then reach this host, and its
    /// subdomains, by TLS only, for this time after each response. They heed it only in responses
    /// that come over TLS. There is no way back before the time has passed.
    #[must_use]
    pub fn hsts(self, max_age: Duration) -> Self {
        let value = format!("max-age={}; includeSubDomains", max_age.as_secs());
        self.with(STRICT_TRANSPORT_SECURITY, &value)
    }

    fn add_to(&self, response: &mut Response) {
        for (name, value) in &self.fields {
            if !response.headers().contains(name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
    }
}

impl Plugin for SecurityHeaders {
    fn apply_to(self, app: App) -> App {
        app.around(move |request, next| {
            let mut response = next.run(request);
            self.add_to(&mut response);
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{IntoResponse, Request};

    fn fields(headers: SecurityHeaders, path: &str) -> Vec<String> {
        let app = App::new()
            .get("/", || ())
            .get("/own", || {
                let own = [("x-frame-options", "DENY"), ("referrer-policy", "origin")];
                (own, ()).into_response()
            })
            .apply(headers);
        let response = app.call(Request::get(path));
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        response.headers().iter().map(text).collect()
    }

    #[test]
    fn fields_are_added_to_all_responses() {
        let expected = [
            "x-content-type-options: nosniff",
            "referrer-policy: strict-origin-when-cross-origin",
            "x-frame-options: SAMEORIGIN",
            "content-security-policy: frame-ancestors 'self'",
            "cross-origin-opener-policy: same-origin-allow-popups",
        ];
        assert_eq!(fields(security_headers(), "/"), expected);
        let missing = fields(security_headers(), "/none");
        assert_eq!(missing[1..], expected);
        assert!(missing[0].starts_with("content-type: "));
    }

    #[test]
    fn what_a_handler_has_set_stays() {
        let expected = [
            "x-frame-options: DENY",
            "referrer-policy: origin",
            "x-content-type-options: nosniff",
            "content-security-policy: frame-ancestors 'self'",
            "cross-origin-opener-policy: same-origin-allow-popups",
        ];
        assert_eq!(fields(security_headers(), "/own"), expected);
    }

    #[test]
    fn fields_can_be_changed() {
        let own = security_headers()
            .without(&OPENER_POLICY)
            .without(&X_CONTENT_TYPE_OPTIONS)
            .referrer_policy("no-referrer")
            .content_security_policy("frame-ancestors 'none'")
            .permissions_policy("camera=()")
            .resource_policy("same-site")
            .hsts(Duration::from_secs(60));
        let expected = [
            "referrer-policy: no-referrer",
            "content-security-policy: frame-ancestors 'none'",
            "permissions-policy: camera=()",
            "cross-origin-resource-policy: same-site",
            "strict-transport-security: max-age=60; includeSubDomains",
        ];
        assert_eq!(fields(own, "/"), expected);
        let framed = security_headers().content_security_policy("default-src 'self'");
        assert!(fields(framed, "/").contains(&"x-frame-options: SAMEORIGIN".to_owned()));
        let closed = fields(security_headers().no_frames(), "/");
        assert!(closed.contains(&"x-frame-options: DENY".to_owned()));
        assert!(closed.contains(&"content-security-policy: frame-ancestors 'none'".to_owned()));
    }

    #[test]
    #[should_panic(expected = "is no value of a field")]
    fn a_line_end_is_refused() {
        let _ = security_headers().referrer_policy("a\nb");
    }
}
