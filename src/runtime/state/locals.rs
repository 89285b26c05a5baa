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
pub(in crate::runtime) type Locals = RefCell<BTreeMap<u32, Vec<Entry>>>;

/// The value of a key, if it has one here.
pub(crate) fn find(entries: &[Entry], key: usize) -> Option<Rc<dyn Any>> {
    let entry = entries.iter().find(|entry| entry.key == key);
    entry.map(|entry| entry.value.clone())
}

/// The value of the entry's key, which is the entry's own if the key had none. The entry is not
/// dropped here: that is user code, and the caller has borrowed the entries.
pub(crate) fn find_or_add(entries: &mut Vec<Entry>, entry: &Entry) -> Rc<dyn Any> {
    find(entries, entry.key).unwrap_or_else(|| {
        entries.push(entry.clone());
        entry.value.clone()
    })
}
