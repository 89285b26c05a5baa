//! Limits of the rate of requests, by the generic cell rate algorithm (ITU-T I.371).
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::app::{App, Next, Plugin};
use crate::http::error::HandlerError;
use crate::http::exchange::request::Request;
use crate::http::message::{Headers, IntoResponse, Response};
use crate::time::Instant;

type KeyOf = dyn Fn(&Request) -> Option<String>;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Limits how often each client may send a request. Made by [`rate_limit`].
pub struct RateLimit {
    /// The time in which a request is regained, in nanoseconds. With 128 bits nothing overflows.
    interval: u128,
    /// The requests that may come at once.
    burst: u32,
    capacity: usize,
    key: Option<Box<KeyOf>>,
}

/// Lets each client send `requests` requests in each time `per`. More are refused with 429 and
/// `Retry-After` (RFC 6585 section 4).
///
/// A client that has sent nothing for a while may send [`burst`](RateLimit::burst) requests at
/// once, by default as many as `requests`. It regains them one by one, evenly over the time. A
/// client is an address of the peer; of an IPv6 address it is the network of 64 bits. Behind a
/// proxy all requests come from the address of the proxy, and over a Unix socket all come without
/// one: [`key`](RateLimit::key) then says which requests are of one client.
///
/// Each response tells the limit in the fields `RateLimit-Policy` and `RateLimit` (IETF draft
/// "RateLimit header fields for HTTP", version 10): `"default";q=100;w=60`, and
/// `"default";r=97;t=2` for 97 requests that are left and 2 s until all are.
///
/// Each shard counts for itself, as its app is its own: on four shards a client with many
/// connections may send four times as many requests. The memory is limited, too: see
/// [`capacity`](RateLimit::capacity).
///
/// # Panics
///
/// If `requests` is zero, or `per` is less than a nanosecond for each of them.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::http::middleware::rate_limit;
/// use ethreads::http::{App, Request};
///
/// let two_a_minute = rate_limit(2, Duration::from_secs(60));
/// let app = App::new().get("/", || "hello\n").apply(two_a_minute);
/// let statuses = [(); 3].map(|()| app.call(Request::get("/")).status().as_u16());
/// assert_eq!(statuses, [200, 200, 429]);
/// ```
#[must_use]
#[track_caller]
pub fn rate_limit(requests: u32, per: Duration) -> RateLimit {
    assert!(requests > 0, "a limit of no request at all");
    let interval = per.as_nanos() / u128::from(requests);
    assert!(interval > 0, "more than a request in a nanosecond");
    RateLimit {
        interval,
        burst: requests,
        capacity: RateLimit::CAPACITY,
        key: None,
    }
}

impl RateLimit {
    /// The default of [`capacity`](Self::capacity): 65,536.
    pub const CAPACITY: usize = 65_536;

    /// Sets how many requests a client may send at once.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    #[track_caller]
    pub fn burst(mut self, requests: u32) -> Self {
        assert!(requests > 0, "a limit of no request at all");
        self.burst = requests;
        self
    }

    /// Sets which requests are of one client: those for which `key` returns the same text. `None`
    /// is not limited.
    ///
    /// A key that the client chooses, such as a field that no proxy has set, is no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ethreads::http::Request;
    /// use ethreads::http::middleware::rate_limit;
    ///
    /// // Set by the proxy in front, which replaces what a client sends.
    /// let by_client = |request: &Request| request.header("x-real-ip").map(str::to_owned);
    /// let limit = rate_limit(100, Duration::from_secs(60)).key(by_client);
    /// # drop(limit);
    /// ```
    #[must_use]
    pub fn key(mut self, key: impl Fn(&Request) -> Option<String> + 'static) -> Self {
        self.key = Some(Box::new(key));
        self
    }

    /// Sets how many clients are remembered, at least. At most twice as many are. Beyond that, the
    /// clients that have sent nothing for the longest time are forgotten, and begin anew.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    #[track_caller]
    pub fn capacity(mut self, clients: usize) -> Self {
        assert!(clients > 0, "a limit that remembers no client");
        self.capacity = clients;
        self
    }
}

impl Plugin for RateLimit {
    fn apply_to(self, app: App) -> App {
        let clients = RefCell::new(Clients::new(self.capacity));
        app.around(move |request, next| self.run(&clients, request, next))
    }
}

impl RateLimit {
    fn run(&self, clients: &RefCell<Clients>, request: &mut Request, next: Next<'_>) -> Response {
        // Before the borrow, as it is code of the program.
        let key = match &self.key {
            None => Key::Address(request.peer_addr().map_or(0, |peer| network(peer.ip()))),
            Some(key) => match key(request) {
                Some(key) => clients.borrow().key_of(key),
                None => return next.run(request),
            },
        };
        let now = Instant::now().as_nanos().into();
        let answer = clients
            .borrow_mut()
            .ask(key, |full_at| self.ask(now, full_at));
        match answer {
            Ok(left) => {
                let mut response = next.run(request);
                self.tell(response.headers_mut(), left);
                response
            }
            Err(pause) => {
                let mut response = refuse(pause).into_response();
                let left = Left {
                    requests: 0,
                    until_full: pause + self.interval * u128::from(self.burst - 1),
                };
                self.tell(response.headers_mut(), left);
                response
            }
        }
    }

    /// Whether a request may come now from a client that has regained all its requests at
    /// `full_at`, which this changes. An error is the time until it may come.
    fn ask(&self, now: u128, full_at: &mut u128) -> Result<Left, u128> {
        let after = now.max(*full_at) + self.interval;
        let most = self.most();
        let until_full = after - now;
        if until_full > most {
            return Err(until_full - most);
        }
        *full_at = after;
        Ok(Left {
            requests: (most - until_full) / self.interval,
            until_full,
        })
    }

    /// The time in which a whole burst is regained.
    fn most(&self) -> u128 {
        self.interval * u128::from(self.burst)
    }

    fn tell(&self, headers: &mut Headers, left: Left) {
        let window = seconds(self.most());
        let policy = format!("\"default\";q={};w={window}", self.burst);
        let until_full = seconds(left.until_full);
        let limit = format!("\"default\";r={};t={until_full}", left.requests);
        for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
            // It is ASCII.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// What a client may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    requests: u128,
    /// The time until it may send a whole burst, in nanoseconds.
    until_full: u128,
}

fn refuse(pause: u128) -> HandlerError {
    let seconds = seconds(pause);
    let text = format!("too many requests; try again in {seconds} s\n");
    HandlerError::status(StatusCode::TOO_MANY_REQUESTS, text)
        .with_header(RETRY_AFTER, HeaderValue::from(seconds))
}

/// Whole seconds, rounded up.
fn seconds(nanos: u128) -> u64 {
    u64::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// The network that is one client: an IPv4 address, or 64 bits of an IPv6 address.
fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        // Global unicast addresses begin with other bits than an IPv4 address here.
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Address(u64),
    Text(Box<str>),
    /// Of a long text, so that clients cannot fill the memory with keys that they choose.
    Hash([u64; 2]),
}

/// The length in bytes beyond which a hash stands for a key.
const LONG_KEY: usize = 64;

/// When each client may send a whole burst again, in nanoseconds; in two generations. When the
/// young one is full, it becomes the old one, and what was old is forgotten.
struct Clients {
    capacity: usize,
    young: HashMap<Key, u128>,
    old: HashMap<Key, u128>,
    hashes: [RandomState; 2],
}

impl Clients {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            young: HashMap::new(),
            old: HashMap::new(),
            hashes: Default::default(),
        }
    }

    fn key_of(&self, text: String) -> Key {
        if text.len() <= LONG_KEY {
            return Key::Text(text.into());
        }
        Key::Hash([0, 1].map(|at: usize| self.hashes[at].hash_one(&text)))
    }

    fn ask<R>(&mut self, key: Key, ask: impl FnOnce(&mut u128) -> R) -> R {
        if let Some(full_at) = self.young.get_mut(&key) {
            return ask(full_at);
        }
        let full_at = self.old.remove(&key).unwrap_or(0);
        if self.young.len() >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        ask(self.young.entry(key).or_insert(full_at))
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("interval_nanos", &self.interval)
            .field("burst", &self.burst)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u128 = 1_000_000_000;

    #[test]
    fn a_burst_is_regained_evenly() {
        let limit = rate_limit(4, Duration::from_secs(8)).burst(3);
        let mut full_at = 0;
        let mut ask = |at: u128| {
            let answer = limit.ask(100 * SECOND + at, &mut full_at);
            answer.map(|left| (left.requests, left.until_full))
        };
        assert_eq!(ask(0), Ok((2, 2 * SECOND)));
        assert_eq!(ask(0), Ok((1, 4 * SECOND)));
        assert_eq!(ask(0), Ok((0, 6 * SECOND)));
        assert_eq!(ask(0), Err(2 * SECOND));
        assert_eq!(ask(2 * SECOND - 1), Err(1));
        // A refused request costs nothing.
        assert_eq!(ask(2 * SECOND), Ok((0, 6 * SECOND)));
        assert_eq!(ask(2 * SECOND), Err(2 * SECOND));
        assert_eq!(ask(7 * SECOND), Ok((1, 3 * SECOND)));
        // No more than a burst is ever saved.
        assert_eq!(ask(1_000 * SECOND), Ok((2, 2 * SECOND)));
    }

    #[test]
    fn extreme_limits_do_not_overflow() {
        let limit = rate_limit(u32::MAX, Duration::from_nanos(u32::MAX.into()));
        let mut full_at = 0;
        assert!(limit.ask(u64::MAX.into(), &mut full_at).is_ok());
        let limit = rate_limit(1, Duration::MAX).burst(u32::MAX);
        let mut full_at = 0;
        assert_eq!(
            limit.ask(1, &mut full_at).unwrap().requests,
            u128::from(u32::MAX) - 1
        );
        let app = App::new().apply(rate_limit(1, Duration::MAX));
        assert_eq!(app.call(Request::get("/")).status(), 404);
        assert_eq!(app.call(Request::get("/")).status(), 429);
    }

    #[track_caller]
    fn fields(app: &App, client: Option<&str>) -> (u16, [String; 3]) {
        let mut request = Request::get("/");
        if let Some(client) = client {
            request = request.header("x-client", client);
        }
        let response = app.call(request);
        let field = |name: HeaderName| {
            let value = response.headers().get(&name);
            value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        (
            response.status().as_u16(),
            [POLICY, LIMIT, RETRY_AFTER].map(field),
        )
    }

    #[test]
    fn responses_tell_the_limit() {
        let app = App::new()
            .get("/", || "hello")
            .apply(rate_limit(2, Duration::from_secs(3600)));
        let policy = "\"default\";q=2;w=3600";
        let expect = |limit: &str, retry: &str| [policy, limit, retry].map(str::to_owned);
        assert_eq!(
            fields(&app, None),
            (200, expect("\"default\";r=1;t=1800", ""))
        );
        let (status, [_, limit, _]) = fields(&app, None);
        assert_eq!(status, 200);
        assert!(limit.starts_with("\"default\";r=0;t="), "{limit}");
        let (status, [_, limit, retry]) = fields(&app, None);
        assert_eq!(status, 429);
        assert!(limit.starts_with("\"default\";r=0;t="), "{limit}");
        let retry: u64 = retry.parse().unwrap();
        assert!((1..=1800).contains(&retry), "{retry}");
    }

    #[test]
    fn a_key_tells_clients_apart() {
        let key = |request: &Request| request.header("x-client").map(str::to_owned);
        let limit = rate_limit(1, Duration::from_secs(3600)).key(key);
        let app = App::new().get("/", || "hello").apply(limit);
        let status = |client| fields(&app, client).0;
        assert_eq!([status(Some("a")), status(Some("b"))], [200, 200]);
        assert_eq!([status(Some("a")), status(Some("b"))], [429, 429]);
        let long = ["a", "b"].map(|end| "x".repeat(1000) + end);
        let [one, other] = [0, 1].map(|at: usize| Some(&*long[at]));
        assert_eq!([status(one), status(other), status(one)], [200, 200, 429]);
        // Not limited, and nothing is told.
        assert_eq!([status(None), status(None)], [200, 200]);
        assert_eq!(fields(&app, None).1, [""; 3].map(str::to_owned));
    }

    #[test]
    fn the_errors_of_the_app_are_its_own() {
        let app = App::new()
            .on_error(|error, _| (error.status_code(), "slow down"))
            .apply(rate_limit(1, Duration::from_secs(3600)));
        app.call(Request::get("/"));
        let response = app.call(Request::get("/"));
        assert_eq!(response.status(), 429);
        assert_eq!(response.body().as_bytes(), Some(&b"slow down"[..]));
        assert!(response.headers().contains(&RETRY_AFTER));
        assert!(response.headers().contains(&LIMIT));
    }

    #[test]
    fn memory_is_limited_and_clients_that_come_back_are_known() {
        let mut clients = Clients::new(10);
        let mut note =
            |n: u64| clients.ask(Key::Address(n), |full_at| mem::replace(full_at, n.into()));
        for n in 1..=1_000 {
            assert_eq!(note(n), 0);
            // It comes again and again, so it is never forgotten.
            assert_eq!(note(0), 0);
            assert_eq!(note(n), n.into());
        }
        // The latest ones are known, the others begin anew.
        for n in 992..=1_000 {
            assert_eq!(note(n), n.into());
        }
        assert_eq!(note(1), 0);
        assert!(clients.young.len() <= 10 && clients.old.len() <= 10);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("10.0.0.1"), network("::ffff:10.0.0.1"));
    }
}
