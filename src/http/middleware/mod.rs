//! Ready-made plugins of apps: for [`App::apply`](crate::http::App::apply).
//!
//! Each of them is made by a function, configured by methods, and applied to an app, around
//! everything that the app answers. The one that is applied first is the outermost. A plugin for
//! some routes only is applied to a small app of these routes, which is
//! [merged](crate::http::App::merge).
//!
//! ```
//! use ethreads::http::middleware::{bearer_auth, secrets_equal};
//! use ethreads::http::{App, Request};
//!
//! let token = "correct horse";
//! let check = move |given: &str| Ok(secrets_equal(given, token).then_some(()));
//! let admin = App::new().get("/admin", || "secrets\n").apply(bearer_auth("admin", check));
//! let app = App::new().get("/", || "hello\n").merge(admin);
//! assert_eq!(app.call(Request::get("/")).status(), 200);
//! assert_eq!(app.call(Request::get("/admin")).status(), 401);
//! ```
#![forbid(unsafe_code)]

mod auth;
#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
mod compression;
mod cors;
mod health;
mod panic_page;
mod rate_limit;
mod request_id;
mod security_headers;
#[cfg(feature = "cookie")]
mod session;
mod timeout;
mod vary;

#[cfg(feature = "cookie")]
pub use session::{MemoryStore, Session, SessionStore, Sessions, sessions};

pub use auth::{Authentication, basic_auth, bearer_auth, secrets_equal};
#[cfg(any(feature = "gzip", feature = "brotli", feature = "zstd"))]
pub use compression::{Coding, Compression, compression};
pub use cors::{Cors, cors};
pub use health::{Health, health};
pub use panic_page::{PanicPage, panic_page};
pub use rate_limit::{RateLimit, rate_limit};
pub use request_id::{RequestIds, request_id};
pub use security_headers::{SecurityHeaders, security_headers};
pub use timeout::{Timeout, timeout};
