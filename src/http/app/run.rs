//! How an app answers a request: the middleware, the handler, and what is made of their errors.
#![forbid(unsafe_code)]

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use http::header::{ALLOW, LOCATION};
use http::{HeaderValue, Method, StatusCode};

use super::next::{Match, Next, Way};
use super::render;
use super::router::Allowed;
use super::table::{Layer, Table};
use crate::http::error::HandlerError;
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::{IntoResponse, Response};
use crate::thread;

/// The way of a request from some middleware on.
struct Rest<'a> {
    table: &'a Table,
    /// The match with which the request has entered the middleware.
    begun: Match,
    /// The number of middleware that the request has entered.
    entered: usize,
}

impl Way for Rest<'_> {
    fn go_on(&self, request: &mut Request) -> Response {
        let found = match &request.route {
            Some(route) if Rc::ptr_eq(route, self.table.route(self.begun)) => self.begun,
            Some(_) => self.table.find_again(request, self.begun),
            None => self.table.find(request, 0),
        };
        self.answer(request, found)
    }
}

impl Rest<'_> {
    /// Goes the way of `found`, and of the matches behind it while handlers pass the request on.
    #[inline(always)]
    fn answer(&self, request: &mut Request, found: Match) -> Response {
        let pass_on = |request: &mut Request, response: &mut Response| {
            self.pass_on(request, found, response);
        };
        self.table.run(request, found, self.shared(found), pass_on)
    }

    #[cold]
    fn pass_on(&self, request: &mut Request, mut found: Match, response: &mut Response) {
        while let Some(passed) = response.error().and_then(HandlerError::passed) {
            let passed = passed.max(found.passed);
            let next = self.table.find(request, passed + 1);
            // Where the next match has other middleware, an outer part of the way takes over. Of a
            // fallback there is only one.
            if self.shared(next) < self.entered || found.is_miss() {
                render::pass_on(response, passed);
                return;
            }
            found = next;
            *response = self
                .table
                .run(request, found, self.shared(found), |_, _| ());
        }
    }

    /// The number of middleware that the request has entered and that is also around `found`.
    #[inline]
    fn shared(&self, found: Match) -> usize {
        if found.scope == self.begun.scope {
            return self.entered;
        }
        let ours = &self.table.scopes[self.begun.scope].chain[..self.entered];
        let theirs = &self.table.scopes[found.scope].chain;
        let pairs = ours.iter().zip(theirs);
        pairs
            .take_while(|(a, b)| Rc::ptr_eq(&a.around, &b.around))
            .count()
    }
}

impl Table {
    /// Answers a request from the beginning of its way. A panic of a handler unwinds from here
    /// where nothing in the app sees the response.
    #[inline]
    pub(super) fn answer(&self, request: &mut Request) -> Response {
        let found = self.find(request, 0);
        let Some(handler) = self.bare_handler(request, found) else {
            return self.answer_found(request, found);
        };
        let mut response = handler.handle(request);
        if response.has_aside() {
            self.finish(request, found, &mut response);
        }
        response
    }

    /// As [`answer`](Self::answer), and a panic of a handler is a response of 500.
    pub(super) fn answer_guarded(&self, request: &mut Request) -> Response {
        let found = self.find(request, 0);
        self.answer_found(request, found)
    }

    #[inline(always)]
    fn answer_found(&self, request: &mut Request, found: Match) -> Response {
        let finish = |request: &mut Request, response: &mut Response| {
            self.finish(request, found, response);
        };
        self.run(request, found, 0, finish)
    }

    /// Renders the error of a response, or passes the request on, where a handler asks for that.
    #[cold]
    fn finish(&self, request: &mut Request, found: Match, response: &mut Response) {
        render::render(self, found.scope, request, response);
        let way = Rest {
            table: self,
            begun: found,
            entered: 0,
        };
        way.pass_on(request, found, response);
        render::end_passing(self, found.scope, request, response);
    }

    /// Answers a request that has entered the first `entered` middleware, and renders the error of
    /// the response. Calls `look` with a response that has anything aside.
    ///
    /// A function that looks at a response copies it when it returns it. So these are inlined, and
    /// all that is to be seen is seen at once.
    #[inline(always)]
    fn run(
        &self,
        request: &mut Request,
        found: Match,
        entered: usize,
        look: impl FnOnce(&mut Request, &mut Response),
    ) -> Response {
        match self.scopes[found.scope].chain.get(entered) {
            Some(layer) => self.enter(request, found, entered, layer, look),
            None => self.handle(request, found, look),
        }
    }

    /// Calls a middleware.
    #[inline(always)]
    fn enter(
        &self,
        request: &mut Request,
        found: Match,
        entered: usize,
        layer: &Layer,
        look: impl FnOnce(&mut Request, &mut Response),
    ) -> Response {
        let rest = Rest {
            table: self,
            begun: found,
            entered: entered + 1,
        };
        let mut response = (layer.around)(request, Next { way: &rest });
        if response.has_aside() {
            render::render(self, layer.scope, request, &mut response);
            look(request, &mut response);
        }
        response
    }

    /// Calls the handler.
    #[inline(always)]
    fn handle(
        &self,
        request: &mut Request,
        found: Match,
        look: impl FnOnce(&mut Request, &mut Response),
    ) -> Response {
        let see = |request: &mut Request, response: &mut Response| {
            if response.has_aside() {
                render::render(self, found.scope, request, response);
                look(request, response);
            }
        };
        if self.cancels(request, found) {
            let mut response = self.handle_while_connected(request, found);
            see(request, &mut response);
            return response;
        }
        request.set_cancels(false);
        let mut response = None;
        let handle = || response = Some(self.call(request, found));
        if let Err(payload) = thread::catch_panic(AssertUnwindSafe(handle)) {
            response = Some(render::panicked(payload));
        }
        if let Some(response) = &mut response {
            see(request, response);
        }
        response.unwrap_or_default()
    }

    /// Calls a handler that ends when the client leaves.
    #[cold]
    fn handle_while_connected(&self, request: &mut Request, found: Match) -> Response {
        request.set_cancels(true);
        let handle = |request: &mut Request| {
            thread::catch_panic(AssertUnwindSafe(|| self.call(request, found)))
                .unwrap_or_else(render::panicked)
        };
        let handler = self
            .handler(found)
            .or_else(|| self.fallback(request, found));
        // An app looks after its own handlers, so that its middleware goes on.
        if handler.is_some_and(Handler::cancels_inside) {
            return handle(request);
        }
        let handled = request.while_connected(handle);
        handled.unwrap_or_else(|| HandlerError::client_left().into_response())
    }

    #[inline(always)]
    fn call(&self, request: &mut Request, found: Match) -> Response {
        match self.handler(found) {
            Some(handler) => handler.handle(request),
            None => self.answer_miss(request, found),
        }
    }

    /// Answers a request that no route takes, by the fallback if there is one.
    #[cold]
    fn answer_miss(&self, request: &mut Request, found: Match) -> Response {
        match self.fallback(request, found) {
            Some(fallback) => fallback.handle(request),
            None => self.miss(request, found),
        }
    }

    /// Answers a request that no route takes.
    #[cold]
    fn miss(&self, request: &mut Request, found: Match) -> Response {
        let method = request.method().clone();
        let is_server_wide = request.path() == "*";
        let allowed = match is_server_wide {
            // RFC 9110 section 9.3.7: what the server as a whole can do.
            true => Some(self.methods().clone()),
            // Its routes have passed it on.
            false if found.passed > 0 => None,
            false => self.allowed(request),
        };
        if method == Method::OPTIONS
            && let Some(allowed) = &allowed
        {
            return Response::new(StatusCode::NO_CONTENT).with_header(ALLOW, allow(allowed));
        }
        if let Some(path) = self.other_slash(request, found.scope) {
            return redirect(request, path);
        }
        // RFC 9110 section 9.1: a method that no resource of the server supports.
        let is_unknown = !KNOWN.contains(&method) && !self.methods().methods.contains(&method);
        let (not_known, not_allowed) =
            (StatusCode::NOT_IMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED);
        let error = match &allowed {
            _ if is_unknown => HandlerError::status(not_known, "method not implemented\n"),
            Some(allowed) => HandlerError::status(not_allowed, "method not allowed\n")
                .with_header(ALLOW, allow(allowed)),
            None => HandlerError::status(StatusCode::NOT_FOUND, "not found\n"),
        };
        error.into_response()
    }
}

/// The methods of RFC 9110 section 9.3 and RFC 5789.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// RFC 9110 section 10.2.1: the methods that a resource supports.
fn allow(allowed: &Allowed) -> HeaderValue {
    let mut names: Vec<&str> = allowed.methods.iter().map(Method::as_str).collect();
    let mut add = |name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    if allowed.any || allowed.methods.contains(&Method::GET) {
        add("HEAD");
    }
    if allowed.any {
        ["GET", "POST", "PUT", "PATCH", "DELETE"]
            .into_iter()
            .for_each(&mut add);
    }
    add("OPTIONS");
    // Methods are tokens, so the list is a value.
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
}

/// RFC 9110 section 15.4.9: the method does not change.
fn redirect(request: &Request, mut target: String) -> Response {
    if let Some(query) = request.query() {
        target.push('?');
        target.push_str(query);
    }
    Response::new(StatusCode::PERMANENT_REDIRECT).with_header(LOCATION, target)
}
