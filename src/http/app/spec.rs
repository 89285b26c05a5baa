//! An app as it was told: its routes, and what is around them.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::cmp::Reverse;
use std::error::Error as StdError;
use std::panic::Location;
use std::rc::Rc;

use http::{Method, StatusCode};

use super::next::Next;
use super::pattern::{HostPattern, Pattern, Prefix};
use crate::http::error::HandlerError;
use crate::http::exchange::extract::Needs;
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::Response;

/// The closure of `App::around`.
pub(super) type Around = dyn Fn(&mut Request, Next<'_>) -> Response;

/// The closure of `App::on_error`.
pub(super) type OnError = dyn Fn(&HandlerError, Option<&Request>) -> Response;

/// The closure of `App::status_of`, over any error.
pub(super) type StatusOf = dyn Fn(&(dyn StdError + 'static)) -> Option<StatusCode>;

/// What one app has, apart from its routes.
#[derive(Default)]
pub(super) struct ScopeSpec {
    /// The number of the app that it is in.
    pub(super) parent: Option<usize>,
    pub(super) values: Vec<(TypeId, Rc<dyn Any>)>,
    pub(super) around: Vec<Rc<Around>>,
    pub(super) on_error: Option<Rc<OnError>>,
    pub(super) status_of: Vec<Rc<StatusOf>>,
    pub(super) fallback: Option<FallbackSpec>,
    pub(super) body_limit: Option<u64>,
    pub(super) redirects_slashes: bool,
    pub(super) cancel_on_disconnect: Option<bool>,
    pub(super) shows_panics: bool,
    /// What plugins need, with the place where each was applied.
    pub(super) needs: Vec<(Needs, &'static Location<'static>)>,
}

/// What answers the requests that no route matches.
pub(super) struct FallbackSpec {
    pub(super) handler: Rc<dyn Handler>,
    pub(super) needs: Needs,
    pub(super) place: &'static Location<'static>,
}

/// A route.
pub(super) struct RouteSpec {
    pub(super) host: Option<HostPattern>,
    pub(super) method: Option<Method>,
    pub(super) pattern: Pattern,
    pub(super) scope: usize,
    pub(super) handler: Rc<dyn Handler>,
    pub(super) needs: Needs,
    pub(super) place: &'static Location<'static>,
}

/// What must be unique of a route.
pub(super) type RouteKey = (Option<HostPattern>, Option<Method>, Vec<Option<String>>);

impl RouteSpec {
    pub(super) fn key(&self) -> RouteKey {
        let (host, method) = (self.host.clone(), self.method.clone());
        (host, method, self.pattern.shape())
    }

    /// The route as the program wrote it.
    pub(super) fn describe(&self) -> String {
        let method = self.method.as_ref().map_or("any", Method::as_str);
        format!("{method} {}", self.pattern.text())
    }
}

/// Where the requests belong that no route matches.
#[derive(Clone)]
pub(super) struct Mount {
    pub(super) host: Option<HostPattern>,
    pub(super) prefix: Prefix,
    pub(super) scope: usize,
}

impl Mount {
    /// Sorts the most specific mount first: by the host, then by the prefix. Of several apps at one
    /// prefix the innermost comes first, whose number is the largest.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let host = self.host.as_ref();
        (
            host.is_none(),
            host.map(HostPattern::rank),
            self.prefix.rank(),
            Reverse(self.scope),
        )
    }
}
