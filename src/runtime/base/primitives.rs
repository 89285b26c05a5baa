//! The primitives of the protocols between OS threads: std's, or, with
//! `RUSTFLAGS="--cfg ethreads_loom"`, those of loom, which checks all interleavings.
#![forbid(unsafe_code)]

#[cfg(ethreads_loom)]
use loom as os;
#[cfg(not(ethreads_loom))]
use std as os;

pub(crate) use os::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence},
    },
    thread::{self, Thread},
};

/// A function that is `const`. Under loom it is not `const`, as loom makes its primitives at run
/// time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(ethreads_loom))]
        $(#[$attribute])* $visibility const fn $($rest)*
        #[cfg(ethreads_loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}

/// A static that contains primitives. The loom models use no such static: each execution of a model
/// needs primitives of its own.
macro_rules! static_of_primitives {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(ethreads_loom))]
        $(#[$attribute])* static $name: $type = $value;
        #[cfg(ethreads_loom)]
        $(#[$attribute])* static $name: std::sync::LazyLock<$type> =
            std::sync::LazyLock::new(|| $value);
    };
}

pub(crate) use {const_fn, static_of_primitives};

/// As `loom::model`, with at most `preemptions` preemptions. Without this bound, three threads, or
/// many stores, have too many interleavings.
#[cfg(all(test, ethreads_loom))]
pub(crate) fn bounded_model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}
