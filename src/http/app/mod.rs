//! Applications: routes, middleware, state, and how errors look.
//!
//! An [`App`] maps methods and paths to handlers. See [`App`] for the rules.
#![forbid(unsafe_code)]

mod builder;
pub mod error_pages;
pub(in crate::http) mod extract;
pub(in crate::http) mod files;
mod handler;
mod needs;
mod next;
mod pattern;
mod render;
mod router;
mod run;
#[cfg(feature = "tower")]
pub(in crate::http) mod service;
mod spec;
pub(in crate::http) mod sse;
mod table;
#[cfg(test)]
mod tests;
mod tunnelling;

pub use builder::{App, Plugin};
pub use next::Next;
