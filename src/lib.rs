//! Cooperative green threads.

#[cfg(not(panic = "unwind"))]
compile_error!("ethreads needs `panic = \"unwind\"`: cancelled ethreads end by unwinding");
#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("ethreads supports 64-bit Linux, macOS and FreeBSD");

pub mod bridge;
#[cfg(feature = "http")]
pub mod http;
pub mod io;
pub mod net;
pub mod runtime;
pub mod thread;
pub mod time;

pub use runtime::{Builder, Deadlock, DriverKind, RunError, Runtime, run, run_main};
pub use thread::spawn;
