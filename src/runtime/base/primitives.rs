//! What the protocols between OS threads are made of: std's, or, with
//! `RUSTFLAGS="--cfg ethreads_loom"`, those of a checker that goes through all interleavings.
#![forbid(unsafe_code)]

#[cfg(ethreads_loom)]
pub(crate) use loom::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence},
    },
    thread::{self, Thread},
};
#[cfg(not(ethreads_loom))]
pub(crate) use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence},
    },
    thread::{self, Thread},
};

/// A function that is `const`. It is not for the checker, whose primitives are made at run time.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(ethreads_loom))]
        $(#[$attribute])* $visibility const fn $($rest)*
        #[cfg(ethreads_loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}

/// A static with primitives in it. The models use none: each execution of one needs its own.
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

/// As `loom::model`, with at most so many preemptions. Beyond them the interleavings of three
/// threads, or of many stores, are too many.
#[cfg(all(test, ethreads_loom))]
pub(crate) fn bounded_model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}
