//! What the protocols between OS threads are made of: std's, or, with
//! `RUSTFLAGS="--cfg ethreads_loom"`, those of a checker that goes through all interleavings.
#![forbid(unsafe_code)]

#[cfg(ethreads_loom)]
pub(crate) use loom::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    thread::{self, Thread},
};
#[cfg(not(ethreads_loom))]
pub(crate) use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    thread::{self, Thread},
};
