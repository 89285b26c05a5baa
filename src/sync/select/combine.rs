//! Operations that are made of other operations.
#![forbid(unsafe_code)]

use std::fmt;

use super::sealed::{Park, Parts};

/// The result of one of two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Either<A, B> {
    /// The result of the first operation.
    First(A),
    /// The result of the second operation.
    Second(B),
}

/// A choice between two operations; see [`Operation::or`](super::Operation::or).
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Parts, B: Parts> Parts for Or<A, B> {
    type Done = Either<A::Done, B::Done>;

    fn count(&self) -> u32 {
        self.first.count() + self.second.count()
    }

    fn is_io(&self, case: u32) -> bool {
        match case.checked_sub(self.first.count()) {
            None => self.first.is_io(case),
            Some(case) => self.second.is_io(case),
        }
    }

    fn attempt(&mut self, case: u32) -> Option<Self::Done> {
        match case.checked_sub(self.first.count()) {
            None => self.first.attempt(case).map(Either::First),
            Some(case) => self.second.attempt(case).map(Either::Second),
        }
    }

    fn enlist(&mut self, park: &Park<'_>, first: u32) {
        self.first.enlist(park, first);
        self.second.enlist(park, first + self.first.count());
    }

    fn deadline(&self, first: u32) -> Option<(u64, u32)> {
        let second = self.second.deadline(first + self.first.count());
        let both = self.first.deadline(first).into_iter().chain(second);
        both.min_by_key(|&(at, _)| at)
    }

    fn commit(&mut self, case: u32) -> Self::Done {
        match case.checked_sub(self.first.count()) {
            None => {
                self.second.withdraw();
                Either::First(self.first.commit(case))
            }
            Some(case) => {
                self.first.withdraw();
                Either::Second(self.second.commit(case))
            }
        }
    }

    fn withdraw(&mut self) {
        self.first.withdraw();
        self.second.withdraw();
    }
}

/// An operation whose result is mapped by a closure; see [`Operation::map`](super::Operation::map).
#[must_use = "an operation does nothing until it is performed"]
pub struct Map<O, F> {
    operation: O,
    /// `None` once the closure has been called.
    f: Option<F>,
}

impl<O, F> Map<O, F> {
    pub(super) fn new(operation: O, f: F) -> Self {
        Self {
            operation,
            f: Some(f),
        }
    }

    fn apply<A, R>(&mut self, done: A) -> R
    where
        F: FnOnce(A) -> R,
    {
        let f = self.f.take().expect("an operation completes once");
        f(done)
    }
}

impl<O: Parts, R, F: FnOnce(O::Done) -> R> Parts for Map<O, F> {
    type Done = R;

    fn count(&self) -> u32 {
        self.operation.count()
    }

    fn is_io(&self, case: u32) -> bool {
        self.operation.is_io(case)
    }

    fn attempt(&mut self, case: u32) -> Option<R> {
        let done = self.operation.attempt(case)?;
        Some(self.apply(done))
    }

    fn enlist(&mut self, park: &Park<'_>, first: u32) {
        self.operation.enlist(park, first);
    }

    fn deadline(&self, first: u32) -> Option<(u64, u32)> {
        self.operation.deadline(first)
    }

    fn commit(&mut self, case: u32) -> R {
        let done = self.operation.commit(case);
        self.apply(done)
    }

    fn withdraw(&mut self) {
        self.operation.withdraw();
    }
}

impl<O: fmt::Debug, F> fmt::Debug for Map<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// A choice between several operations of the same type; see [`any`](super::any()).
#[derive(Clone, Debug)]
#[must_use = "an operation does nothing until it is performed"]
pub struct Any<O> {
    operations: Vec<O>,
    /// For each operation, the number of cases up to its end.
    ends: Vec<u32>,
}

impl<O: Parts> Any<O> {
    pub(super) fn new(operations: impl IntoIterator<Item = O>) -> Self {
        let operations: Vec<_> = operations.into_iter().collect();
        let mut end = 0;
        let ends = operations.iter().map(|operation| {
            end += operation.count();
            end
        });
        Self {
            ends: ends.collect(),
            operations,
        }
    }

    /// The operation that a case belongs to, and the number of the case within that operation.
    fn operation_of(&self, case: u32) -> (usize, u32) {
        let index = self.ends.partition_point(|&end| end <= case);
        (index, case - self.start(index))
    }

    fn start(&self, index: usize) -> u32 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl<O: Parts> Parts for Any<O> {
    type Done = (usize, O::Done);

    fn count(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn is_io(&self, case: u32) -> bool {
        let (index, case) = self.operation_of(case);
        self.operations[index].is_io(case)
    }

    fn attempt(&mut self, case: u32) -> Option<Self::Done> {
        let (index, case) = self.operation_of(case);
        let done = self.operations[index].attempt(case)?;
        Some((index, done))
    }

    fn enlist(&mut self, park: &Park<'_>, first: u32) {
        for index in 0..self.operations.len() {
            let first = first + self.start(index);
            self.operations[index].enlist(park, first);
        }
    }

    fn deadline(&self, first: u32) -> Option<(u64, u32)> {
        let deadlines = self.operations.iter().enumerate();
        let deadlines = deadlines
            .filter_map(|(index, operation)| operation.deadline(first + self.start(index)));
        deadlines.min_by_key(|&(at, _)| at)
    }

    fn commit(&mut self, case: u32) -> Self::Done {
        let (index, case) = self.operation_of(case);
        for (other, operation) in self.operations.iter_mut().enumerate() {
            if other != index {
                operation.withdraw();
            }
        }
        (index, self.operations[index].commit(case))
    }

    fn withdraw(&mut self) {
        self.operations.iter_mut().for_each(Parts::withdraw);
    }
}
