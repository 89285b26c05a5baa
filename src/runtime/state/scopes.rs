//! The scopes that ethreads are in: deadlines, groups of children, and masks.
//!
//! Pure data: a slab of the shard, in which each scope knows the one around it. A control block
//! knows the innermost scope of its ethread. A park needs the earliest deadline of all scopes
//! around it. The innermost scope stores that deadline, so it costs one read however deep the
//! scopes are nested.
#![forbid(unsafe_code)]

use slab::Slab;

use crate::runtime::base::wait::{CallSite, NEVER};

/// The place of a scope in its shard's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeIndex(u32);

impl ScopeIndex {
    /// The index of no scope.
    pub(in crate::runtime) const NONE: Self = Self(u32::MAX);
}

/// A scope's number, unique in its shard; never zero.
pub(crate) type ScopeId = u64;

/// A scope of an ethread, for the party that cancels it. Valid while the scope is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopePlace {
    /// The place of the ethread.
    pub(in crate::runtime) ethread: u32,
    pub(in crate::runtime) scope: ScopeId,
}

/// The effect of a scope on the code in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    /// Bounds every wait by this time.
    Deadline(u64),
    /// The code in the scope unwinds when the scope is cancelled.
    Group,
    /// Hides the scopes around it.
    Mask,
}

/// The scopes of a shard.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    scopes: Slab<Scope>,
    last: ScopeId,
}

#[derive(Debug)]
struct Scope {
    id: ScopeId,
    outer: ScopeIndex,
    is_mask: bool,
    is_cancelled: bool,
    /// How many calls in it have failed since its deadline has passed.
    errors: u8,
    /// How often the code in the scope was unwound because of it.
    raises: u8,
    /// The scope's own deadline.
    own: u64,
    /// The earliest deadline of this scope and of the scopes around it that no mask hides.
    deadline: u64,
    /// The scope that has this deadline; the outermost if several have it.
    owner: ScopeIndex,
    location: CallSite,
}

impl Scopes {
    /// Adds a scope within `outer`.
    pub(in crate::runtime) fn enter(
        &mut self,
        outer: ScopeIndex,
        kind: ScopeKind,
        location: CallSite,
    ) -> (ScopeIndex, ScopeId) {
        self.last += 1;
        let index = self.scopes.insert(Scope {
            id: self.last,
            outer,
            is_mask: kind == ScopeKind::Mask,
            is_cancelled: false,
            errors: 0,
            raises: 0,
            own: match kind {
                ScopeKind::Deadline(deadline) => deadline,
                _ => NEVER,
            },
            deadline: NEVER,
            owner: ScopeIndex::NONE,
            location,
        });
        let index = ScopeIndex(index as u32);
        self.bound(index);
        (index, self.last)
    }

    /// Finds the earliest deadline at a scope, from the earliest deadline at the scope around it.
    fn bound(&mut self, index: ScopeIndex) {
        let scope = &self.scopes[index.0 as usize];
        let around = self.get(scope.outer).filter(|_| !scope.is_mask);
        let around = around.map_or((NEVER, ScopeIndex::NONE), |s| (s.deadline, s.owner));
        let (deadline, owner) = if scope.own < around.0 {
            (scope.own, index)
        } else {
            around
        };
        let scope = &mut self.scopes[index.0 as usize];
        (scope.deadline, scope.owner) = (deadline, owner);
    }

    /// Removes a scope from the chain that begins at `innermost`, and returns where the chain
    /// begins then. The scope need not be the first: code that switches stacks by itself may leave
    /// scopes in another order than the order of their nesting.
    pub(in crate::runtime) fn leave(&mut self, innermost: ScopeIndex, id: ScopeId) -> ScopeIndex {
        let mut inside = Vec::new();
        let mut at = innermost;
        while let Some(scope) = self.get(at) {
            if scope.id != id {
                inside.push(at);
                at = scope.outer;
                continue;
            }
            let outer = scope.outer;
            self.scopes.remove(at.0 as usize);
            let Some(next) = inside.last() else {
                return outer;
            };
            self.scopes[next.0 as usize].outer = outer;
            while let Some(index) = inside.pop() {
                self.bound(index);
            }
            break;
        }
        innermost
    }

    /// Removes all scopes of a chain.
    pub(in crate::runtime) fn forget(&mut self, mut innermost: ScopeIndex) {
        while let Some(scope) = self.scopes.try_remove(innermost.0 as usize) {
            innermost = scope.outer;
        }
    }

    fn get(&self, index: ScopeIndex) -> Option<&Scope> {
        self.scopes.get(index.0 as usize)
    }

    /// The scope with this id, if it is in the chain.
    fn find(&mut self, innermost: ScopeIndex, id: ScopeId) -> Option<&mut Scope> {
        let mut at = innermost;
        while self.get(at)?.id != id {
            at = self.get(at)?.outer;
        }
        self.scopes.get_mut(at.0 as usize)
    }

    /// The scopes around a place, from the inside out.
    fn chain(&self, innermost: ScopeIndex) -> impl Iterator<Item = &Scope> {
        std::iter::successors(self.get(innermost), |scope| self.get(scope.outer))
    }

    /// The earliest deadline at a place; [`NEVER`] if there is none.
    pub(in crate::runtime) fn deadline(&self, innermost: ScopeIndex) -> u64 {
        self.get(innermost).map_or(NEVER, |scope| scope.deadline)
    }

    /// The scope that the earliest deadline at a place comes from: its number, and the line where
    /// it was opened.
    pub(in crate::runtime) fn owner(&self, innermost: ScopeIndex) -> Option<(ScopeId, CallSite)> {
        let owner = self.get(self.get(innermost)?.owner)?;
        Some((owner.id, owner.location))
    }

    /// Counts a call that fails because the deadline at a place has passed.
    pub(in crate::runtime) fn count_error(&mut self, innermost: ScopeIndex) -> u8 {
        let owner = self.get(innermost).map(|scope| scope.owner);
        let owner = owner.and_then(|owner| self.scopes.get_mut(owner.0 as usize));
        owner.map_or(0, |owner| count_up(&mut owner.errors))
    }

    /// Counts an unwinding to a scope of this chain.
    pub(in crate::runtime) fn count_raise(&mut self, innermost: ScopeIndex, id: ScopeId) -> u8 {
        let scope = self.find(innermost, id);
        scope.map_or(0, |scope| count_up(&mut scope.raises))
    }

    /// Cancels a scope of this chain; false if the scope has been left.
    pub(in crate::runtime) fn cancel(&mut self, innermost: ScopeIndex, id: ScopeId) -> bool {
        let scope = self.find(innermost, id);
        scope.map(|scope| scope.is_cancelled = true).is_some()
    }

    /// The outermost of the cancelled scopes at a place that no mask hides.
    pub(in crate::runtime) fn cancelled(&self, innermost: ScopeIndex) -> Option<ScopeId> {
        let seen = self.chain(innermost).take_while(|scope| !scope.is_mask);
        let cancelled = seen.filter(|scope| scope.is_cancelled);
        cancelled.last().map(|scope| scope.id)
    }

    /// Whether any scope of this chain is cancelled, hidden or not.
    pub(in crate::runtime) fn any_cancelled(&self, innermost: ScopeIndex) -> bool {
        self.chain(innermost).any(|scope| scope.is_cancelled)
    }

    /// Whether a scope is in this chain.
    pub(in crate::runtime) fn contains(&self, innermost: ScopeIndex, id: ScopeId) -> bool {
        self.chain(innermost).any(|scope| scope.id == id)
    }

    /// How many scopes there are.
    pub(in crate::runtime) fn len(&self) -> usize {
        self.scopes.len()
    }
}

/// Adds one, and returns the result.
pub(in crate::runtime) fn count_up(count: &mut u8) -> u8 {
    *count = count.saturating_add(1);
    *count
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use proptest::prelude::*;

    use super::*;

    /// The naive form: a list from the outside in.
    #[derive(Clone, Debug)]
    struct Model {
        id: ScopeId,
        kind: ScopeKind,
        cancelled: bool,
    }

    fn visible(model: &[Model]) -> &[Model] {
        let mask = model
            .iter()
            .rposition(|scope| scope.kind == ScopeKind::Mask);
        &model[mask.map_or(0, |mask| mask + 1)..]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(ScopeKind),
        Leave,
        Cancel(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u64..5).prop_map(|at| Step::Enter(ScopeKind::Deadline(at))),
            2 => Just(Step::Enter(ScopeKind::Group)),
            1 => Just(Step::Enter(ScopeKind::Mask)),
            3 => Just(Step::Leave),
            2 => (0usize..6).prop_map(Step::Cancel),
        ]
    }

    proptest! {
        #[test]
        fn nest_as_a_list_does(steps in prop::collection::vec(step(), 0..60)) {
            let mut scopes = Scopes::default();
            let mut innermost = ScopeIndex::NONE;
            let mut model: Vec<Model> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(kind) => {
                        let (index, id) = scopes.enter(innermost, kind, Location::caller());
                        innermost = index;
                        model.push(Model { id, kind, cancelled: false });
                    }
                    Step::Leave => {
                        if let Some(scope) = model.pop() {
                            innermost = scopes.leave(innermost, scope.id);
                        }
                    }
                    Step::Cancel(at) => {
                        if let Some(scope) = model.get_mut(at) {
                            scope.cancelled = true;
                            prop_assert!(scopes.cancel(innermost, scope.id));
                        }
                    }
                }
                let seen = visible(&model);
                let deadlines = seen.iter().filter_map(|scope| match scope.kind {
                    ScopeKind::Deadline(at) => Some((at, scope.id)),
                    _ => None,
                });
                // The first of the earliest ones is the outermost.
                let earliest = deadlines.min_by_key(|&(at, _)| at);
                prop_assert_eq!(scopes.deadline(innermost), earliest.map_or(NEVER, |(at, _)| at));
                let owner = scopes.owner(innermost).map(|(id, _)| id);
                prop_assert_eq!(owner, earliest.map(|(_, id)| id));
                let cancelled = seen.iter().find(|scope| scope.cancelled);
                prop_assert_eq!(scopes.cancelled(innermost), cancelled.map(|scope| scope.id));
                let any = model.iter().any(|scope| scope.cancelled);
                prop_assert_eq!(scopes.any_cancelled(innermost), any);
                prop_assert_eq!(scopes.len(), model.len());
            }
        }
    }

    #[test]
    fn scopes_may_be_left_in_any_order() {
        let mut scopes = Scopes::default();
        let here = Location::caller();
        let (outer, outer_id) = scopes.enter(ScopeIndex::NONE, ScopeKind::Deadline(7), here);
        let (inner, inner_id) = scopes.enter(outer, ScopeKind::Deadline(5), here);
        let (innermost, innermost_id) = scopes.enter(inner, ScopeKind::Group, here);
        assert_eq!(scopes.leave(innermost, inner_id), innermost);
        assert_eq!(scopes.deadline(innermost), 7);
        assert_eq!(scopes.owner(innermost).map(|(id, _)| id), Some(outer_id));
        assert_eq!(scopes.leave(innermost, outer_id), innermost);
        assert_eq!(scopes.deadline(innermost), NEVER);
        assert!(!scopes.contains(innermost, outer_id));
        assert_eq!(scopes.leave(innermost, outer_id), innermost, "it is gone");
        assert_eq!(scopes.leave(innermost, innermost_id), ScopeIndex::NONE);
        assert_eq!(scopes.len(), 0);
    }
}
