//! Cooperative green threads, called *ethreads*, and an HTTP server built on them.
//!
//! Code is written as if every call blocked. A call that has to wait suspends its ethread, and the
//! other ethreads run meanwhile, at the cost of an event loop. There is no `async`: an ethread has
//! a stack of its own, so any call stack may wait, library code included, as long as the waiting
//! call is one of this crate's. Names and signatures are those of [`std`]. An ethread stays on one
//! OS thread, its *shard*. So closures need no `Send`, and [`Rc`](std::rc::Rc),
//! [`RefCell`](std::cell::RefCell) and `thread_local!` keep working.
//!
//! # An HTTP server
//!
#![cfg_attr(feature = "http", doc = "```no_run")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use ethreads::http::{IntoResponse, Request, Response, Result, Server, StatusCode};
//! use ethreads::thread;
//!
//! fn answer(request: &mut Request) -> Result<Response> {
//!     Ok(match request.path() {
//!         "/" => "hello\n".into_response(),
//!         "/slow" => {
//!             thread::sleep(Duration::from_secs(1)); // other connections are served meanwhile
//!             "at last\n".into_response()
//!         }
//!         "/echo" => request.bytes()?.into_response(),
//!         _ => StatusCode::NOT_FOUND.into_response(),
//!     })
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::bind("127.0.0.1:8080")?.run(answer) // until SIGTERM or Ctrl-C
//! }
//! ```
//!
//! # Ethreads
//!
//! [`run_main`] runs a program, [`spawn`] makes an ethread, and
//! [`join`](thread::JoinHandle::join) waits for the result of that ethread:
//!
//! ```
//! use std::time::Duration;
//! use ethreads::thread;
//!
//! fn square(n: u64) -> u64 {
//!     thread::sleep(Duration::from_millis(n));
//!     n * n
//! }
//!
//! fn main() -> Result<(), ethreads::RunError> {
//!     ethreads::run_main(|| {
//!         let squares = [1, 2, 3].map(|n| ethreads::spawn(move || square(n)));
//!         let sum: u64 = squares.into_iter().map(|square| square.join().expect("no panic")).sum();
//!         assert_eq!(sum, 14); // after 3 ms: they sleep at the same time
//!     })
//! }
//! ```
//!
//! # Modules
//!
//! | module | what it has |
//! | --- | --- |
//! | [`thread`] | spawn, join, sleep, cancel; scopes whose children borrow; locals |
//! | [`sync`] | locks, channels, promises; [`select!`]; [`sync::remote`] between OS threads |
//! | [`time`] | the clock, time limits for blocks of code, intervals |
//! | [`net`], [`io`], [`fs`] | sockets; pipes and any descriptor; files |
#![cfg_attr(
    feature = "http",
    doc = "| [`http`] | the server, with handlers or with a loop that pulls requests |"
)]
//! | [`signal`] | signals of the process, as events |
//! | [`bridge`] | blocking calls, futures, and callbacks that become return values |
//! | [`runtime`] | settings, shards (OS threads with a scheduler), reports, counters |
#![cfg_attr(
    feature = "sim",
    doc = "| [`sim`] | tests with virtual time and a seeded run order |"
)]
//! | [`docs`], [`cancellation`] | the pages below |
//!
//! # Rules of suspending
//!
//! 1. An ethread suspends only in calls whose documentation says ["suspends"](docs::suspending).
//! 2. A call that blocks its OS thread stops all ethreads there: make it in [`bridge::blocking`].
//! 3. Hold no `RefCell` borrow and no std lock while suspending; a lock of [`sync`] may be held.
//! 4. A cancel or a deadline unwinds the waiting ethread: destructors run, but they cannot wait.
//! 5. A stack has a fixed size; an overflow aborts the process with a message.
//!
//! # More
//!
#![cfg_attr(
    feature = "http",
    doc = "* [`docs::guide`]: a server, from the first route to a service."
)]
//! * [`docs::how_do_i`]: recipes, from "serve HTTP" to "find what hangs".
//! * [`docs::suspending`]: what suspends an ethread, and what blocks its OS thread.
//! * [`cancellation`]: what ends a wait, and when. [`docs::unwinding`]: panics and destructors.
//! * [`docs::guarantees`]: order, fairness, deadlocks, versions, and what is not promised.
//! * [`docs::limits`]: code that fails or misbehaves in an ethread.
//! * [`docs::logging`]: what is logged at which level. [`docs::environment`]: features, variables,
//!   drivers, platforms.
//! * `README.md`: first steps, and a comparison with tokio, Go and OS threads. `ARCHITECTURE.md`:
//!   the layout of the code. `CHANGELOG.md`: the changes. `examples/`: whole programs.

#[cfg(not(panic = "unwind"))]
compile_error!("ethreads needs `panic = \"unwind\"`: cancelled ethreads end by unwinding");
#[cfg(not(all(
    any(target_os = "linux", target_os = "macos", target_os = "freebsd"),
    target_pointer_width = "64"
)))]
compile_error!("ethreads supports 64-bit Linux, macOS and FreeBSD");

pub mod bridge;
pub mod fs;
#[cfg(feature = "http")]
pub mod http;
pub mod io;
pub mod net;
pub mod runtime;
pub mod signal;
pub mod sync;
pub mod thread;
pub mod time;

#[doc = include_str!("pages/cancellation.md")]
pub mod cancellation {}

/// Pages of documentation, as modules without items.
///
/// One more page is [`crate::cancellation`], on how a wait ends.
pub mod docs {
    /// How do I ...? Short recipes.
    ///
    /// Each recipe compiles as it stands, in a `main` that returns a `Result`. For whole programs
    /// see `examples/`.
    #[cfg_attr(feature = "http", doc = include_str!("pages/how_do_i_http.md"))]
    #[cfg_attr(feature = "cookie", doc = include_str!("pages/how_do_i_cookies.md"))]
    #[cfg_attr(
        any(feature = "gzip", feature = "brotli", feature = "zstd"),
        doc = include_str!("pages/how_do_i_compress.md")
    )]
    #[cfg_attr(feature = "multipart", doc = include_str!("pages/how_do_i_forms.md"))]
    #[doc = include_str!("pages/how_do_i.md")]
    #[cfg_attr(feature = "sim", doc = include_str!("pages/how_do_i_sim.md"))]
    pub mod how_do_i {}

    /// Writing a server, from the first route to a service: seven short pages.
    ///
    /// 1. [`first_app`](guide::first_app): routes, and what handlers take and return.
    /// 2. [`state`](guide::state): values that handlers share.
    /// 3. [`errors`](guide::errors): what a client sees of an error.
    /// 4. [`streaming`](guide::streaming): bodies that are not in memory.
    /// 5. [`files`](guide::files): serving a directory.
    /// 6. [`testing`](guide::testing): tests of an app.
    /// 7. [`deployment`](guide::deployment): from a program to a service.
    #[cfg(feature = "http")]
    pub mod guide {
        #[doc = include_str!("pages/guide/first_app.md")]
        pub mod first_app {}

        #[doc = include_str!("pages/guide/state.md")]
        pub mod state {}

        #[doc = include_str!("pages/guide/errors.md")]
        pub mod errors {}

        #[doc = include_str!("pages/guide/streaming.md")]
        pub mod streaming {}

        #[doc = include_str!("pages/guide/files.md")]
        pub mod files {}

        #[doc = include_str!("pages/guide/testing.md")]
        pub mod testing {}

        #[doc = include_str!("pages/guide/deployment.md")]
        pub mod deployment {}
    }

    #[doc = include_str!("pages/suspending.md")]
    pub mod suspending {}

    #[doc = include_str!("pages/unwinding.md")]
    pub mod unwinding {}

    #[doc = include_str!("pages/guarantees.md")]
    pub mod guarantees {}

    #[doc = include_str!("pages/limits.md")]
    pub mod limits {}

    #[doc = include_str!("pages/logging.md")]
    pub mod logging {}

    #[doc = include_str!("pages/environment.md")]
    pub mod environment {}
}

#[cfg(feature = "sim")]
pub mod sim;

pub use bridge::future;
pub use runtime::{Builder, Deadlock, DriverKind, RunError, Runtime, run, run_main};
pub use thread::spawn;

// The README's programs, compiled and run with the doctests.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
