//! The interleavings of arenas that publish and retire chunks, and of a fault handler on another
//! OS thread. The chunks are numbers: no header is read.

use std::sync::Mutex;

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::runtime::base::primitives::bounded_model;

/// A chunk. No number of it is a number of another chunk.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
    stride: usize,
    slots: usize,
}

const A: Chunk = Chunk {
    start: 1 << 20,
    stride: 1 << 17,
    slots: 2,
};
const B: Chunk = Chunk {
    start: 3 << 20,
    stride: 1 << 18,
    slots: 3,
};

impl Chunk {
    fn publish(self, registry: &Registry) -> &'static ChunkRecord {
        registry.publish(self.start, self.stride)
    }

    /// The chunk with `guarded` guards in place.
    fn with(self, guarded: usize) -> Slots {
        Slots {
            start: self.start,
            stride: self.stride,
            guarded,
        }
    }
}

/// The chunks that a handler finds.
fn found(registry: &Registry) -> Vec<Slots> {
    let records = registry.records();
    records.filter_map(ChunkRecord::slots).collect()
}

#[test]
fn a_handler_mixes_no_chunks() {
    let all_seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let seen = all_seen.clone();
    bounded_model(3, move || {
        let registry = Arc::new(Registry::new());
        let record = A.publish(&registry);
        record.set_guarded(A.slots);
        let theirs = registry.clone();
        let arena = thread::spawn(move || {
            record.retire();
            let again = B.publish(&theirs);
            assert!(ptr::eq(again, record), "the record is free");
            again.set_guarded(B.slots);
        });
        for slots in found(&registry) {
            let one_of = [A.with(A.slots), B.with(0), B.with(B.slots)];
            assert!(one_of.contains(&slots), "{slots:x?}");
            seen.lock().unwrap().push(slots);
        }
        arena.join().unwrap();
        assert_eq!(found(&registry), [B.with(B.slots)]);
    });
    let seen = all_seen.lock().unwrap();
    assert!(seen.contains(&A.with(A.slots)));
    assert!(seen.contains(&B.with(0)) && seen.contains(&B.with(B.slots)));
}

/// The arena that claims the record is on another OS thread than the one that gave it up.
#[test]
fn a_handler_mixes_no_chunks_of_two_arenas() {
    bounded_model(3, || {
        let registry = Arc::new(Registry::new());
        let record = A.publish(&registry);
        let theirs = registry.clone();
        let first = thread::spawn(move || {
            record.set_guarded(A.slots);
            record.retire();
        });
        let second = thread::spawn(move || B.publish(&theirs).set_guarded(B.slots));
        for slots in found(&registry) {
            let of_a = [A.with(0), A.with(A.slots)];
            let of_b = [B.with(0), B.with(B.slots)];
            assert!(of_a.contains(&slots) || of_b.contains(&slots), "{slots:x?}");
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(found(&registry), [B.with(B.slots)]);
    });
}

/// Two arenas publish a chunk each at the same time.
fn publish_both(registry: &Arc<Registry>) {
    let theirs = registry.clone();
    let other = thread::spawn(move || A.publish(&theirs).set_guarded(A.slots));
    B.publish(registry).set_guarded(B.slots);
    other.join().unwrap();
    let mut found = found(registry);
    found.sort_by_key(|slots| slots.start);
    assert_eq!(found, [A.with(A.slots), B.with(B.slots)]);
}

#[test]
fn two_arenas_add_two_records() {
    loom::model(|| publish_both(&Arc::new(Registry::new())));
}

#[test]
fn two_arenas_do_not_claim_one_record() {
    loom::model(|| {
        let registry = Arc::new(Registry::new());
        B.publish(&registry).retire();
        publish_both(&registry);
        assert_eq!(registry.records().count(), 2);
    });
}
