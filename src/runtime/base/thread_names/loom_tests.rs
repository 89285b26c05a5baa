//! The interleavings of ethreads that begin and end in one place of the slab, and of a reader on
//! another OS thread.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::runtime::base::primitives::bounded_model;

/// The name of the ethread with this id: of two words, of one, or none.
fn name_of(id: u64) -> Option<&'static str> {
    [
        None,
        Some("the first thread"),
        Some("second"),
        None,
        Some("the 4th ethread!"),
    ][id as usize]
}

/// Reads the name slot while ethreads with these ids use it one after the other. The end of each
/// clears the slot if `clears`, and else leaves it as it is.
fn read_beside(ids: [u64; 2], clears: bool) {
    let seen = [(); 5].map(|()| std::sync::atomic::AtomicBool::new(false));
    let all_seen = std::sync::Arc::new(seen);
    let seen = all_seen.clone();
    bounded_model(3, move || {
        let name_slot = Arc::new(NameSlot::default());
        let theirs = name_slot.clone();
        let shard = thread::spawn(move || {
            for id in ids {
                theirs.set(id, name_of(id));
                if clears {
                    theirs.clear();
                }
            }
        });
        let mut last = 0;
        for _ in 0..2 {
            if let Some(copy) = name_slot.snapshot() {
                assert_eq!(copy.name(), name_of(copy.id));
                assert!(copy.id >= last, "its place was set again");
                last = copy.id;
                seen[copy.id as usize].store(true, Ordering::Relaxed);
            }
        }
        shard.join().unwrap();
        let left = name_slot.snapshot().map(|copy| copy.id);
        assert_eq!(left, (!clears).then_some(ids[1]));
    });
    for id in ids {
        assert!(all_seen[id as usize].load(Ordering::Relaxed), "{id}");
    }
}

#[test]
fn a_name_is_that_of_its_id() {
    read_beside([1, 4], true);
    read_beside([1, 4], false);
}

#[test]
fn a_shorter_name_has_nothing_of_the_one_before() {
    read_beside([1, 2], true);
    read_beside([2, 3], false);
}

#[test]
fn a_longer_name_is_there_with_its_id() {
    read_beside([2, 4], true);
    read_beside([3, 4], false);
}
