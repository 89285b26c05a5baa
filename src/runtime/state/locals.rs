//! The values of `thread::Local` keys that ethreads have.
//!
//! Values are stored by place. A place is empty when an ethread begins in it: the last thing that
//! an ethread does on its stack is to drop its values.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value, and how the value of a child is made from it.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Unique among all keys, in the process.
    pub(crate) key: usize,
    pub(crate) value: Rc<dyn Any>,
    pub(crate) clone_for_child: Option<CloneForChild>,
}

/// Makes the value of a child from that of its parent.
pub(crate) type CloneForChild = Rc<dyn Fn(&dyn Any) -> Rc<dyn Any>>;

/// The values of a shard's ethreads, by their places. Most ethreads and most shards have none.
#[derive(Default)]
pub(in crate::runtime) struct Locals(pub(in crate::runtime) RefCell<BTreeMap<u32, Vec<Entry>>>);
