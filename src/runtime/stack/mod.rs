//! Guarded stacks: an arena of them for each shard.
//!
//! Address space is mapped in chunks and cut into slots of one size class each:
//!
//! ```text
//! slot      +64 KiB                              base                      top
//!  | guard   | usable, 2^k bytes      <- grows    | room | colour   | header |
//! ```
//!
//! Any access to the guard faults. The header, one cache line at the very top, says which ethread
//! runs on the stack, for the handler of that fault. Below it lie up to 896 bytes of colour:
//! without them the busiest lines of all stacks would compete for one set of the first-level cache.
//! The room holds the state of the coroutine that uses the stack. All of this and a shallow call
//! chain share one page.
//!
//! A slot is *ready* (guarded, never used), *live* (handed out as a [`Stack`]), *hot* (free, its
//! pages still in place) or *cold* (free, its pages given back). Slots are guarded when they are
//! first needed and never again: guards outlive the give-back of pages.

mod arena;
pub(crate) mod backtrace;
mod chunk;
pub(crate) mod coroutine;
mod layout;
pub(in crate::runtime) mod overflow;
mod registry;

pub use arena::StackCounters;
pub(crate) use arena::{Arena, StackConfig};
pub use chunk::GuardKind;
pub(crate) use layout::{Class, Stack};
