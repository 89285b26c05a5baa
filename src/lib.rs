//! Cooperative green threads, *ethreads*, and an HTTP server that stands on them: straight-line
//! blocking code, one ethread per connection, at the cost of an event loop.
//!
#![cfg_attr(feature = "http", doc = "```no_run")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use ethreads::http::{IntoResponse, Request, Response, Result, Server};
//! use ethreads::thread;
//! use http::StatusCode;
//!
//! fn answer(request: &mut Request) -> Result<Response> {
//!     Ok(match request.path() {
//!         "/" => "hello\n".into_response(),
//!         "/slow" => {
//!             thread::sleep(std::time::Duration::from_secs(1)); // nobody else waits for it
//!             "at last\n".into_response()
//!         }
//!         "/echo" => request.bytes()?.into_response(),
//!         _ => StatusCode::NOT_FOUND.into_response(),
//!     })
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::bind("127.0.0.1:8080")?.serve(answer)
//! }
//! ```
//!
//! There is no `async`, and no function has a colour: an ethread has a stack of its own, so any
//! code can wait, however deep in whatever library, if only the call at the bottom is one of this
//! crate. Names and signatures are those of [`std`]: [`thread`], [`net`], [`fs`], [`io`], [`time`].
//! Between ethreads there are [`sync`]'s locks, channels and promises, and [`select!`] to wait for
//! several things at once. [`signal`] has the signals of the process. [`bridge`] has the doors into
//! and out of the scheduler: [`suspend`](bridge::suspend) and [`run_until`](bridge::run_until) turn
//! a callback into a return value, and a framework inside out.
//!
//! An ethread is born, runs and ends on one OS thread, its *shard*. So closures need no `Send`,
//! and [`Rc`](std::rc::Rc), [`RefCell`](std::cell::RefCell) and `thread_local!` keep working.
//! [`spawn`] works on any OS thread; [`run`] runs what was spawned there, [`run_main`] a program.
//! For more cores there are [`Builder::shards`]: a scheduler on each of several OS threads, on
//! which ethreads can be [spawned](runtime::Shard::spawn) from anywhere, and
//! `http::Server::on_shards`.
//!
//! # What suspends, and what blocks
//!
//! An ethread gives way only inside a call that says "suspends" in its documentation. Code between
//! two of them is never interrupted by another ethread of its shard.
//!
//! | call | what it does |
//! | --- | --- |
//! | [`sleep`](thread::sleep), [`yield_now`](thread::yield_now) | suspends |
//! | [`park`](thread::park), [`join`](thread::JoinHandle::join), also of another shard | suspends |
//! | [`ShardGroup::shutdown`](runtime::ShardGroup::shutdown) | suspends |
//! | [`suspend`](bridge::suspend), [`blocking`](fn@bridge::blocking) | suspends |
//! | [`block_on`](future::block_on) | suspends, if the future is not ready |
//! | locks, channels and the like of [`sync`], [`select!`] | suspends, if it has to wait |
//! | looking up a host name | suspends |
//! | open, read, write, list, remove and the like of [`fs`] | suspends |
//! | connect, accept, read, write of [`net`] and [`io`] | suspends, if it has to wait |
//! | the same, 128 times in a row without having to wait | suspends, for one turn |
//! | receiving a [`signal`] of the process | suspends, if it has to wait |
//! | reading a request's body, writing a streamed response | suspends, if it has to wait |
//! | `http::Server::{serve, run}`, also on shards, `http::ServerHandle::drained` | suspends |
//! | `http::WebServer::{read, write, close}` | suspends |
//! | [`spawn`], `unpark`, `cancel`, [`resume`](bridge::Suspended::resume) | goes on at once |
//! | [`on_ready`](bridge::on_ready), [`Instant::now`](time::Instant::now) | goes on at once |
//! | destructors of this crate's types | go on at once |
//! | `std::thread::sleep`, and `std::net`, `std::fs`, `std::process` | blocks the OS thread |
//! | `println!` to a pipe or terminal that is full | blocks the OS thread |
//! | a lock or a channel of `std::sync` that has to wait | blocks the OS thread |
//! | a computation | holds the OS thread, as long as it takes |
//!
//! Suspending lets the other ethreads run; what blocks the OS thread stops them all. On an OS
//! thread without ethreads, I/O and `sleep` block it as std's do; on a shard's own OS thread,
//! outside of [`run`], they drive the shard meanwhile.
//!
//! Files are never ready or not, so the calls of [`fs`] run on a pool of OS threads. What else
//! blocks belongs into [`bridge::blocking`], which runs it there too. An ethread that has held its
//! shard for more than 100 ms is named in the log, with the line where it last parked.
//!
//! # The guarantee
//!
//! Ready ethreads run in the order in which they became ready; an ethread that yields goes behind
//! all others, new ones included. After at most 64 runs the shard looks for events: messages from
//! other OS threads, descriptors, timers. If the last time was about 10 ms ago it looks for them
//! after the run that goes on; an ethread that an event wakes queues behind the others. An ethread
//! whose input or output is always ready yields after 128 operations. So nothing starves that does
//! not itself depend on an ethread that never suspends.
//!
//! # Panics and cancellation
//!
//! A panic ends its ethread, not its shard. [`join`](thread::JoinHandle::join) returns it, as std's
//! does. If the handle was dropped, the panic is logged and [`run`] reports it at its end. A
//! handler's panic is answered with 500.
//!
//! [`cancel`](thread::JoinHandle::cancel) unwinds an ethread from the suspension point where it
//! waits, or from the next one it comes to; destructors run, and code in between is never torn.
//! `catch_unwind` does not stop that for long; [`thread::catch_panic`] catches panics only, and
//! [`thread::uncancellable`] holds cancels back. At the end of [`run_main`] the ethreads that are
//! left are cancelled.
//!
//! An ethread that unwinds never suspends, because std counts panics per OS thread. In a
//! destructor that runs meanwhile, I/O that would wait fails with
//! [`WouldPark`](runtime::WouldPark), `sleep` and `yield_now` return at once, and
//! [`suspend`](bridge::suspend), which has no way to say no, aborts with a report. Spawn an ethread
//! for cleanup that waits.
//!
//! [`time::timeout`] bounds all that waits in a block of code, and [`thread::scope`] has children
//! that borrow. What ends what, and when, is on a page of its own: [`cancellation`].
//!
//! When every ethread is parked and nothing can ever wake one, `run` returns
//! [`RunError::Deadlock`], which lists each with its name, what it waits for, the line, and the
//! calls that it is in. Ethreads that wait for each other, by locks and joins, are told to the log
//! when the last of them begins to wait, even if the rest goes on.
//!
//! # Limits
//!
//! * Code that takes one OS thread for one stack is wrong in an ethread: do not suspend inside a
//!   `thread_local!` initialiser, nor inside a scope that keeps a pointer to its frame in a
//!   thread-local (scoped-tls, entered spans of tracing). Nothing can detect this.
//! * Do not run ethreads, nor join one, in the destructor of a thread-local: one that is parked may
//!   refer to a thread-local that is gone already. At the end of an OS thread none goes on by
//!   itself. [`std::process::exit`] runs these destructors where it is called: call it on the OS
//!   thread's own side if one of them may suspend.
//! * Do not lend a thread-local's value to another OS thread (by [`std::thread::scope`]) from an
//!   ethread that may be left behind: an ethread that outlives the grace period is leaked, and the
//!   value is gone when its OS thread ends. Nothing can detect this. (The OS threads of
//!   [`Builder::shards`](runtime::Builder::shards) stay, asleep, if ethreads are left behind.)
//! * A coroutine of your own (corosensei) leaves on its own stack only: do not call its yielder in
//!   the closure given to [`bridge::suspend`], which runs on the scheduler's side, nor in an
//!   ethread that borrows it. Deadlines, scopes and masks stay with the ethread in which a
//!   coroutine has entered them.
//! * A std lock, `OnceLock` or `LazyLock` that is held over a suspension hangs the shard when a
//!   second ethread wants it. The watchdog names who waits.
//! * Stacks have a fixed size: 512 KiB, 1 MiB in debug builds and for HTTP handlers, of which only
//!   touched pages cost memory. [`thread::Builder::stack_size`] sets another. An overflow ends the
//!   process with a message that names the ethread. The guard that it hits has 64 KiB; a frame of
//!   foreign code that is larger than that, and not probed, can step over it.
//! * A child of fork(2) shares the epoll instance of each shard with its parent, and what it does
//!   with a stream changes what the parent's shard is told: one that the child drops no longer
//!   wakes the parent's ethreads. Safe in the child are exec(2) at once, as `std::process::Command`
//!   does it, and `_exit(2)`. Nothing of this crate may run there, destructors included.
//! * Unwinding cannot cross C frames: a C function that calls back into code that suspends must be
//!   wrapped in [`thread::uncancellable`], and panics must not leave the callback.
//! * [`future::block_on`] drives futures; what needs the reactor of another runtime, such as
//!   tokio's sockets, needs that runtime. HTTP is 1.0 and 1.1, without TLS.
//! * Needs `panic = "unwind"` and a 64-bit Unix. Linux on x86-64 is what is tested.
//!
//! # Log
//!
//! The crate logs through the crate `log`, with targets that begin with `ethreads`. It prints
//! nothing by itself, but for what comes right before an abort, and the seed of a simulation that
//! panics.
//!
//! | level | what |
//! | --- | --- |
//! | error | a panic of an ethread that nobody joins, or of a destructor of its result |
//! | error | a handler, the writer of a body, a hook, or what took up an upgrade, that panicked |
//! | error | what names a connection, is around it or is dropped with it, that panicked |
//! | error | a handler that answered with a 1xx status, other than by `Response::upgrade` |
//! | error | a handler that failed with 5xx: the error, its causes, the place of the `?` |
//! | error | a pulled request that was dropped unanswered |
//! | error | an ethread or a connection for which there is no stack |
//! | error | connections for which there is no file descriptor, every 5 s at most |
//! | error | a simulation that failed, with its seed |
//! | error | ethreads that wait for each other, none of which can go on |
//! | error | a start of a resource that panicked, or what stops it |
//! | error | the panic of a shard's root, as the other shards go on |
//! | error | the report that comes before an abort |
//! | warn | an ethread that has held its shard for too long |
//! | warn | an ethread that has caught its own cancel 16 times |
//! | warn | ethreads that are left at the end of the grace period |
//! | warn | ethreads that are left at the end of their OS thread; by the watchdog's OS thread |
//! | warn | ethreads that were sent to a shard, and did not begin before its end |
//! | warn | a response that was broken off, connections that were cut at the end of a drain |
//! | warn | connections that were answered with 503 for being too many, every 5 s at most |
//! | warn | a server whose limits are above that of the process's descriptors |
//! | warn | that the watchdog could not be started |
//! | info | a signal that drains a server |
//! | debug | a request that was refused, or that a handler answered with an error below 500 |
//! | debug | a connection that failed, or was gone before it was accepted |
//!
//! Texts at error, warn and debug may hold what your errors say, and single bytes of what a peer
//! sent.
//!
//! # Features
//!
//! * `http`, on by default: the HTTP server. Its vocabulary (`StatusCode`, `Method`, header names
//!   and values) is the crate `http`, its shared bytes are the crate `bytes`.
//! * `sim`: a driver with a virtual clock and a seeded run order, for tests: an hour takes no time,
//!   and a seed repeats a run exactly. It has no network yet.
//!
//! # Environment
//!
//! * `ETHREADS_DRIVER`, `epoll` or `polling`: the driver of shards whose
//!   [`Builder`](Builder::driver) does not name one. The default is `epoll` on Linux, elsewhere
//!   `polling`, which works everywhere.
//!
//! # What is not promised
//!
//! The texts of errors, reports and log lines; the numbers in the guarantee above and the sizes of
//! stacks; the order of wake-ups beyond that guarantee; which of the calls that may suspend do so
//! when they need not wait. Counters in [`runtime::Stats`] may come and go. Before 1.0 a minor
//! version may break anything, and raise the minimum Rust version, now 1.88; the changelog says so.

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

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[cfg(feature = "sim")]
pub mod sim;

pub use bridge::future;
pub use runtime::{Builder, Deadlock, DriverKind, RunError, Runtime, run, run_main};
pub use thread::spawn;

// The README's programs, compiled and run with the doctests.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;
