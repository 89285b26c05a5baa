//! Each call that takes something from the system, in a process that the system refuses it to.
//!
//! `exhausted.txt` lists the calls, each with the tests that show the effect of a refusal: the
//! error or the panic that the docs promise, the limit by its name, a shard that goes on without
//! spinning, nothing lost, and success once the limit is lifted. `list.rs` checks the list against
//! the sources.
//!
//! A limit belongs to a process, so each test runs in a child process. A part that this machine or
//! this user cannot run is skipped with a sentence that begins with `skipped:`.

// Limits of a process and filters of system calls need raw calls.
#![allow(unsafe_code)]
// Unwrapping is how a test fails.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

// The rest of `support` is for the other tests.
#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

#[path = "exhausted/limits.rs"]
mod limits;
#[path = "exhausted/list.rs"]
mod list;

#[path = "exhausted/descriptors.rs"]
mod descriptors;
#[path = "exhausted/disk.rs"]
mod disk;
#[path = "exhausted/ports.rs"]
mod ports;
#[cfg(feature = "http")]
#[path = "exhausted/servers.rs"]
mod servers;
#[path = "exhausted/stacks.rs"]
mod stacks;
#[path = "exhausted/threads.rs"]
mod threads;
#[path = "exhausted/watches.rs"]
mod watches;
