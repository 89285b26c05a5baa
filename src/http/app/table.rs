//! An app in the form in which it answers requests.
#![forbid(unsafe_code)]

use std::rc::Rc;

use http::Method;

use super::next::Match;
use super::pattern::HostPattern;
use super::router::{Allowed, Router};
use super::spec::{Around, Mount, OnError, RouteSpec, ScopeSpec, StatusOf};
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::exchange::route::{Route, Scope};

/// The routes of an app and of the apps in it.
pub(super) struct Table {
    /// The most specific host first.
    hosts: Vec<(HostPattern, Router)>,
    router: Router,
    routes: Vec<Entry>,
    /// The most specific one first.
    mounts: Vec<Mount>,
    pub(super) scopes: Vec<ScopeEntry>,
    /// Methods of any route.
    methods: Allowed,
}

/// A route.
struct Entry {
    route: Rc<Route>,
    handler: Rc<dyn Handler>,
    scope: usize,
}

/// An app, for the requests that belong to it.
pub(super) struct ScopeEntry {
    pub(super) parent: Option<usize>,
    /// The middleware around its routes, the outermost first.
    pub(super) chain: Vec<Layer>,
    pub(super) on_error: Option<Rc<OnError>>,
    pub(super) status_of: Vec<Rc<StatusOf>>,
    pub(super) shows_panics: bool,
    /// Nothing sees what its handlers do: no middleware, no renderer of errors.
    is_bare: bool,
    fallback: Option<Rc<dyn Handler>>,
    redirects_slashes: bool,
    /// Whether a client that leaves ends its handlers; `None` leaves that to the server.
    cancels: Option<bool>,
    /// The route of the requests that no pattern matches.
    missed: Rc<Route>,
}

/// A middleware, and the number of the app that it belongs to.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) around: Rc<Around>,
    pub(super) scope: usize,
}

impl Table {
    pub(super) fn new(specs: &[ScopeSpec], routes: &[RouteSpec], mounts: &[Mount]) -> Self {
        let mut scopes: Vec<ScopeEntry> = Vec::new();
        for (number, spec) in specs.iter().enumerate() {
            // An app comes before the apps in it.
            let parent = spec.parent.map(|parent| &scopes[parent]);
            let mut chain = parent.map_or_else(Vec::new, |parent| parent.chain.clone());
            chain.extend(spec.around.iter().map(|around| Layer {
                around: around.clone(),
                scope: number,
            }));
            let cancels = spec
                .cancel_on_disconnect
                .or_else(|| parent.and_then(|parent| parent.cancels));
            let is_bare = chain.is_empty()
                && spec.on_error.is_none()
                && cancels.is_none()
                && !spec.shows_panics
                && parent.is_none_or(|parent| parent.is_bare);
            let scope = Rc::new(Scope {
                parent: parent.map(|parent| parent.missed.scope.clone()),
                values: spec.values.clone(),
                body_limit: spec.body_limit,
            });
            scopes.push(ScopeEntry {
                parent: spec.parent,
                chain,
                is_bare,
                on_error: spec.on_error.clone(),
                status_of: spec.status_of.clone(),
                shows_panics: spec.shows_panics,
                fallback: spec.fallback.as_ref().map(|spec| spec.handler.clone()),
                redirects_slashes: spec.redirects_slashes,
                cancels,
                missed: Rc::new(Route {
                    pattern: None,
                    params: Vec::new(),
                    scope,
                }),
            });
        }
        let mut table = Self {
            hosts: Vec::new(),
            router: Router::default(),
            routes: Vec::new(),
            mounts: Vec::new(),
            scopes,
            methods: Allowed::default(),
        };
        for (number, route) in routes.iter().enumerate() {
            let router = table.router_of(route.host.as_ref());
            router.add(&route.pattern, route.method.clone(), number);
            match &route.method {
                Some(method) if table.methods.methods.contains(method) => {}
                Some(method) => table.methods.methods.push(method.clone()),
                None => table.methods.any = true,
            }
            let found = Route {
                pattern: Some(route.pattern.text().into()),
                params: route.pattern.params(),
                scope: table.scopes[route.scope].missed.scope.clone(),
            };
            table.routes.push(Entry {
                route: Rc::new(found),
                handler: route.handler.clone(),
                scope: route.scope,
            });
        }
        table.hosts.sort_by_key(|(host, _)| host.rank());
        table.mounts = mounts.to_vec();
        table.mounts.sort_by_cached_key(Mount::rank);
        table
    }

    fn router_of(&mut self, host: Option<&HostPattern>) -> &mut Router {
        let Some(host) = host else {
            return &mut self.router;
        };
        let at = self.hosts.iter().position(|(have, _)| have == host);
        let at = at.unwrap_or_else(|| {
            self.hosts.push((host.clone(), Router::default()));
            self.hosts.len() - 1
        });
        &mut self.hosts[at].1
    }

    /// The routers for the request, the most specific first.
    fn routers(&self, request: &Request) -> impl Iterator<Item = &Router> {
        let host = match self.hosts.is_empty() {
            true => None,
            false => request.host(),
        };
        let matching = self.hosts.iter().filter_map(move |(pattern, router)| {
            host.is_some_and(|host| pattern.matches(host))
                .then_some(router)
        });
        matching.chain([&self.router])
    }

    /// Finds what answers the request, when `passed` routes that match have passed it on, and notes
    /// the route in the request.
    #[inline]
    pub(super) fn find(&self, request: &mut Request, passed: usize) -> Match {
        let route = match self.hosts.is_empty() {
            true => self.router.find(request.path(), request.method(), passed),
            false => self.find_by_host(request, passed),
        };
        let found = match route {
            Some(number) => Match {
                route: Some(number),
                scope: self.routes[number].scope,
                passed,
            },
            None => Match {
                route: None,
                scope: self.scope_of(request),
                passed,
            },
        };
        request.route = Some(self.route(found).clone());
        found
    }

    /// Finds the match of a request that an earlier run of its middleware has left at another
    /// route than `found`: by passing it on, by a rewrite, or in another app.
    #[cold]
    pub(super) fn find_again(&self, request: &mut Request, found: Match) -> Match {
        let again = self.find(request, found.passed);
        match again.route == found.route || found.passed == 0 {
            true => again,
            false => self.find(request, 0),
        }
    }

    /// The route that a request takes.
    pub(super) fn route(&self, found: Match) -> &Rc<Route> {
        match found.route {
            Some(number) => &self.routes[number].route,
            None => &self.scopes[found.scope].missed,
        }
    }

    fn find_by_host(&self, request: &Request, passed: usize) -> Option<usize> {
        let mut left = passed;
        for router in self.routers(request) {
            let (path, method) = (request.path(), request.method());
            if let Some(route) = router.find(path, method, left) {
                return Some(route);
            }
            // Those that this router has were passed on.
            left -= (0..left)
                .take_while(|skip| router.find(path, method, *skip).is_some())
                .count();
        }
        None
    }

    /// The innermost app to which a request belongs that no route matches.
    #[cold]
    fn scope_of(&self, request: &Request) -> usize {
        let host = request.host();
        let fits = |mount: &&Mount| {
            let pattern = mount.host.as_ref();
            pattern.is_none_or(|pattern| host.is_some_and(|host| pattern.matches(host)))
                && mount.prefix.matches(request.path())
        };
        let first = self.mounts.iter().find(fits);
        first.map_or(0, |mount| mount.scope)
    }

    /// The handler of the route.
    #[inline]
    pub(super) fn handler(&self, found: Match) -> Option<&dyn Handler> {
        found.route.map(|number| &*self.routes[number].handler)
    }

    /// The handler of the route, if a panic of it may unwind to the connection, which answers as
    /// the app would, and it goes on when the client leaves.
    #[inline]
    pub(super) fn bare_handler(&self, request: &Request, found: Match) -> Option<&dyn Handler> {
        match self.scopes[found.scope].is_bare && !request.cancels() {
            true => self.handler(found),
            false => None,
        }
    }

    /// Whether a client that leaves ends the handler of a request.
    pub(super) fn cancels(&self, request: &Request, found: Match) -> bool {
        let cancels = self.scopes[found.scope].cancels;
        cancels.unwrap_or_else(|| request.cancels())
    }

    /// The fallback for a request whose path no route matches.
    #[cold]
    pub(super) fn fallback(&self, request: &Request, found: Match) -> Option<&dyn Handler> {
        let fallback = self
            .enclosing(found.scope)
            .find_map(|scope| scope.fallback.as_deref())?;
        let is_missing = found.passed > 0 || self.allowed(request).is_none();
        is_missing.then_some(fallback)
    }

    /// An app and those around it, the innermost first.
    pub(super) fn enclosing(&self, scope: usize) -> impl Iterator<Item = &ScopeEntry> {
        let next = |scope: &&ScopeEntry| scope.parent.map(|parent| &self.scopes[parent]);
        std::iter::successors(Some(&self.scopes[scope]), next)
    }

    /// The methods of the routes that match the path of the request; `None` if no route does.
    pub(super) fn allowed(&self, request: &Request) -> Option<Allowed> {
        let path = request.path();
        let mut allowed = self
            .routers(request)
            .filter_map(|router| router.allowed(path));
        let first = allowed.next()?;
        Some(allowed.fold(first, |mut all, more| {
            all.any |= more.any;
            for method in more.methods {
                if !all.methods.contains(&method) {
                    all.methods.push(method);
                }
            }
            all
        }))
    }

    /// The methods of any route.
    pub(super) fn methods(&self) -> &Allowed {
        &self.methods
    }

    /// The path of a route that differs from the request's by a slash at the end, if the app of the
    /// request redirects there.
    pub(super) fn other_slash(&self, request: &Request, scope: usize) -> Option<String> {
        if !self.scopes[scope].redirects_slashes
            || !matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return None;
        }
        let path = request.path();
        let other = match path.strip_suffix('/') {
            Some(path) => path.to_owned(),
            None => format!("{path}/"),
        };
        let finds = |router: &Router| router.find(&other, request.method(), 0).is_some();
        let found = self.routers(request).any(finds);
        // A browser takes two slashes at the beginning for a host, and a backslash for a slash.
        let names_host = other.starts_with("//") || other.starts_with("/\\");
        (found && !names_host).then_some(other)
    }
}
