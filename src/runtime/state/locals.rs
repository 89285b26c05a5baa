//! The values that ethreads have of `thread::Local` keys.
//!
//! They are kept by place. A place is empty when an ethread begins in it: to drop them is the last
//! thing that an ethread does on its stack.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value, and how a child gets one of it.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Unique among all keys, in the process.
    pub(crate) key: usize,
    pub(crate) value: Rc<dyn Any>,
    pub(crate) clone_for_child: Option<CloneForChild>,
}

/// Makes the value of a child from that of its parent.
pub(crate) type CloneForChild = Rc<dyn Fn(&dyn Any) -> Rc<dyn Any>>;

/// The values of a shard's ethreads, by their places. Most ethreads have none, and most shards.
#[derive(Default)]
pub(in crate::runtime) struct Locals(pub(in crate::runtime) RefCell<BTreeMap<u32, Vec<Entry>>>);
