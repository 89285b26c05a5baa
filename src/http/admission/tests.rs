//! The decision against a table, and against a naive model.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::runtime::base::primitives::AtomicUsize;

fn bounds(max_threads: Option<usize>, max_accept: Option<usize>) -> Bounds {
    Bounds {
        max_threads,
        max_accept,
    }
}

fn admission(bounds: Bounds) -> Rc<Admission> {
    Admission::new(bounds, Arc::default(), None)
}

fn arrive(admission: &Rc<Admission>) -> Decision<'_> {
    match admission.slot() {
        Some(slot) => Decision::Handle(slot),
        None => admission.decide(|| ()),
    }
}

fn numbers(admission: &Admission) -> (usize, usize) {
    (admission.counts.handling(), admission.queued())
}

#[test]
fn bounds_need_room_for_one_and_a_queue_above_the_threads() {
    let check = |threads, accept, expected| {
        assert_eq!(
            bounds(threads, accept).are_valid(),
            expected,
            "{threads:?} {accept:?}"
        );
    };
    check(None, None, true);
    check(Some(1), None, true);
    check(Some(1), Some(2), true);
    check(Some(100), Some(120), true);
    check(Some(0), None, false);
    check(Some(0), Some(1), false);
    check(None, Some(20), false);
    check(Some(10), Some(10), false);
    check(Some(10), Some(9), false);
}

#[test]
fn decisions_come_in_hunchentoots_order() {
    // Ten requests that stay; one letter for each decision.
    let check = |bounds: Bounds, expected: &str| {
        let admission = admission(bounds);
        let decisions: Vec<_> = (0..10).map(|_| arrive(&admission)).collect();
        let letters: String = decisions
            .iter()
            .map(|decision| match decision {
                Decision::Handle(_) => 'h',
                Decision::Queue(_) => 'q',
                Decision::Refuse => 'r',
            })
            .collect();
        assert_eq!(letters, expected, "{bounds:?}");
        // The waiting ones go first, so that no slot is granted.
        decisions.into_iter().rev().for_each(drop);
        assert_eq!(numbers(&admission), (0, 0));
    };
    check(bounds(None, None), "hhhhhhhhhh");
    check(bounds(Some(3), None), "hhhrrrrrrr");
    check(bounds(Some(3), Some(5)), "hhhqqrrrrr");
    check(bounds(Some(1), Some(2)), "hqrrrrrrrr");
    check(bounds(Some(20), Some(30)), "hhhhhhhhhh");
}

/// Hunchentoot signals "free" below its *accept* limit, and so exceeds its thread limit.
#[test]
fn a_slot_that_comes_back_goes_to_the_first_that_waits() {
    let admission = admission(bounds(Some(2), Some(4)));
    let mut slots: Vec<_> = (0..2).filter_map(|_| admission.slot()).collect();
    assert!(admission.slot().is_none());
    let woken = Rc::new(RefCell::new(Vec::new()));
    let places = [1, 2].map(|number| {
        let woken = woken.clone();
        match admission.decide(move || woken.borrow_mut().push(number)) {
            Decision::Queue(place) => place,
            other => panic!("at the thread limit it queues: {other:?}"),
        }
    });
    assert_eq!(numbers(&admission), (2, 2));
    assert!(places[0].slot().is_none());
    slots.pop();
    assert_eq!((&*woken.borrow(), numbers(&admission)), (&vec![1], (2, 1)));
    // A later request does not overtake the one that has its slot, and has not taken it yet.
    assert!(admission.slot().is_none());
    let slot = places[0].slot().expect("it was woken");
    assert!(places[0].slot().is_none(), "once");
    assert!(places[1].slot().is_none());
    drop(slot);
    assert_eq!(*woken.borrow(), [1, 2]);
    // The slot that was not taken comes back with the place.
    drop((places, slots));
    assert_eq!(numbers(&admission), (0, 0));
    assert_eq!(admission.counts.free.get(), 2);
}

#[test]
fn a_place_that_is_given_up_holds_up_no_other() {
    let admission = admission(bounds(Some(1), Some(4)));
    let slot = admission.slot();
    let mut places: Vec<_> = (0..3).map(|_| arrive(&admission)).collect();
    places.remove(1);
    assert_eq!(numbers(&admission), (1, 2));
    drop(slot);
    for decision in places {
        let Decision::Queue(place) = decision else {
            panic!("there was no slot");
        };
        assert!(place.slot().is_some());
    }
    assert_eq!(numbers(&admission), (0, 0));
}

#[test]
fn a_panic_gives_the_slot_back() {
    let admission = admission(bounds(Some(1), None));
    for _ in 0..3 {
        let slot = admission.slot();
        assert!(slot.is_some());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _held = slot;
            panic!("in its owner");
        }));
        assert!(caught.is_err());
    }
    assert_eq!(numbers(&admission), (0, 0));
    assert_eq!(admission.counts.refused.load(Ordering::Relaxed), 0);
}

#[test]
fn connections_count_while_they_are_open() {
    let counts = Arc::<Counts>::default();
    let global = GlobalLimit::new(2);
    for global in [None, Some(global)] {
        let connections = Connections::new(2, counts.clone(), global);
        let permits = [connections.permit(), connections.permit()];
        assert!(!connections.have_room());
        // One that is about to close makes room beyond the limit.
        let beyond = connections.permit();
        drop(permits);
        assert!(connections.have_room());
        assert_eq!(counts.serving.load(Ordering::Relaxed), 1);
        drop(beyond);
    }
    assert_eq!(counts.serving.load(Ordering::Relaxed), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    /// A request that has its slot ends; the number selects it.
    End(usize),
    /// A waiting request gives up; the number selects it.
    GiveUp(usize),
    /// The server looks at its queue, as it was woken.
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Arrive),
        3 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 0..200)
}

fn valid_bounds() -> impl Strategy<Value = Bounds> {
    let limited = (1..40_usize, proptest::option::of(1..8_usize));
    proptest::option::of(limited).prop_map(|limits| match limits {
        None => Bounds::default(),
        Some((threads, extra)) => bounds(Some(threads), extra.map(|extra| threads + extra)),
    })
}

/// What a request holds: a slot that it has got at once, or its place.
type Held<'a> = (Option<Slot<'a>>, Option<Place>);

proptest! {
    /// The counts match the guards, the limits hold, requests are granted in order, and no slot is
    /// free while a request waits.
    #[test]
    fn holds_its_limits(bounds in valid_bounds(), steps in steps()) {
        let admission = admission(bounds);
        let mut handling = Vec::new();
        let mut waiting = VecDeque::<Place>::new();
        for step in steps {
            let before = (handling.len(), waiting.len());
            match step {
                Step::Arrive => match arrive(&admission) {
                    Decision::Handle(slot) => {
                        prop_assert!(waiting.is_empty());
                        handling.push((Some(slot), None));
                    }
                    Decision::Queue(place) => {
                        prop_assert!(bounds.max_accept.is_some());
                        waiting.push_back(place);
                    }
                    Decision::Refuse => {
                        let limit = bounds.max_accept.or(bounds.max_threads);
                        prop_assert_eq!(Some(before.0 + before.1), limit);
                    }
                },
                Step::End(which) if !handling.is_empty() => {
                    drop(handling.swap_remove(which % handling.len()));
                    if let Some(place) = waiting.pop_front() {
                        prop_assert!(place.is_granted());
                        handling.push((None, Some(place)));
                    }
                }
                Step::GiveUp(which) if !waiting.is_empty() => {
                    drop(waiting.remove(which % waiting.len()));
                }
                Step::Look => admission.tend(),
                _ => {}
            }
            prop_assert!(!waiting.iter().any(Place::is_granted));
            prop_assert_eq!(numbers(&admission), (handling.len(), waiting.len()));
            prop_assert!(bounds.max_threads.is_none_or(|most| handling.len() <= most));
            let most = bounds.max_accept.or(bounds.max_threads);
            prop_assert!(most.is_none_or(|most| handling.len() + waiting.len() <= most));
        }
        drop((waiting, handling));
        prop_assert_eq!(numbers(&admission), (0, 0));
    }
}

/// One of several servers with shared limits.
struct Member {
    admission: Rc<Admission>,
    /// How often the server was woken to look at its queue.
    calls: Arc<AtomicUsize>,
}

fn members(count: usize, bounds: Bounds) -> (Arc<GlobalLimit>, Vec<Member>) {
    let global = GlobalLimit::new(count);
    let member = |_| {
        let (calls, counts) = (Arc::<AtomicUsize>::default(), Arc::<Counts>::default());
        let woken = calls.clone();
        global.add(counts.clone(), move || {
            _ = woken.fetch_add(1, Ordering::Relaxed)
        });
        Member {
            admission: Admission::new(bounds, counts, Some(global.clone())),
            calls,
        }
    };
    let members = (0..count).map(member).collect();
    (global, members)
}

impl Member {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Place {
        match arrive(&self.admission) {
            Decision::Queue(place) => place,
            other => panic!("there is no slot: {other:?}"),
        }
    }
}

/// A new request comes to one server whenever that server handles one, as under load, while a
/// request waits at the other server.
#[test]
fn no_queue_starves_beside_a_busy_one() {
    let (_global, members) = members(2, bounds(Some(1), Some(10)));
    let [idle, busy] = &members[..] else {
        unreachable!("there are two")
    };
    let mut held: Held<'_> = (Some(busy.admission.decide(|| ()).handled()), None);
    let place = idle.queue();
    for _ in 0..2 {
        let newcomer = busy.queue();
        drop(held);
        busy.admission.tend();
        assert!(newcomer.is_granted());
        held = (None, Some(newcomer));
    }
    assert_eq!(idle.calls(), 1, "every second one");
    drop(held);
    idle.admission.tend();
    assert!(place.is_granted(), "no place is left before it");
}

/// A slot comes back, and the server where another request waits is woken. Before it looks at its
/// queue, a new request comes to the first server.
#[test]
fn a_newcomer_does_not_take_the_slot_for_which_another_server_was_woken() {
    let (_global, members) = members(2, bounds(Some(1), Some(10)));
    let [idle, busy] = &members[..] else {
        unreachable!("there are two")
    };
    let slot = busy.admission.decide(|| ()).handled();
    let place = idle.queue();
    drop(slot);
    let newcomer = busy.queue();
    idle.admission.tend();
    assert!(place.is_granted() && !newcomer.is_granted());
    drop(place);
    busy.admission.tend();
    assert!(newcomer.is_granted());
}

impl<'a> Decision<'a> {
    fn handled(self) -> Slot<'a> {
        match self {
            Decision::Handle(slot) => slot,
            other => panic!("there is a slot: {other:?}"),
        }
    }
}

/// Two slots come back before the woken server looks at its queue, in which one request waits.
/// Another request waits at another server.
#[test]
fn a_call_that_meets_another_one_is_passed_on() {
    for gives_up in [false, true] {
        let (_global, members) = members(3, bounds(Some(2), Some(10)));
        let slots = [(); 2].map(|()| members[0].admission.decide(|| ()).handled());
        let [called, _other] = [1, 2].map(|at| members[at].queue());
        drop(slots);
        assert_eq!([members[1].calls(), members[2].calls()], [2, 0]);
        match gives_up {
            true => drop(called),
            false => members[1].admission.tend(),
        }
        assert_eq!(members[2].calls(), 1, "gives up: {gives_up}");
    }
}

#[test]
fn kept_slots_are_called_back_by_the_first_that_waits() {
    let (global, members) = members(2, bounds(Some(16), Some(20)));
    let [keeper, other] = &members[..] else {
        unreachable!("there are two")
    };
    drop(keeper.admission.decide(|| ()).handled());
    assert_eq!(keeper.admission.counts.free.get(), 2, "an eighth of all");
    let held: Vec<_> = (0..14)
        .map(|_| arrive(&other.admission).handled())
        .collect();
    let places = [other.queue(), other.queue()];
    assert_eq!(keeper.calls(), 1);
    keeper.admission.tend();
    assert_eq!((keeper.admission.counts.free.get(), other.calls()), (0, 1));
    other.admission.tend();
    assert!(places.iter().all(Place::is_granted));
    drop((held, places));
    // What a server keeps comes back at its end.
    drop(members);
    assert_eq!(
        format!("{global:?}"),
        "GlobalLimit { leased: 0, queued: 0, .. }"
    );
}

#[test]
fn without_a_queue_no_slot_is_kept() {
    let (_global, members) = members(2, bounds(Some(16), None));
    drop(arrive(&members[0].admission).handled());
    assert_eq!(members[0].admission.counts.free.get(), 0);
    let held: Vec<_> = (0..16).map(|_| arrive(&members[1].admission)).collect();
    let is_handled = |decision: &Decision<'_>| matches!(decision, Decision::Handle(_));
    assert!(held.iter().all(is_handled));
}

proptest! {
    /// The same for several servers together. When all woken servers have looked at their queues, a
    /// request waits only if no slot is free anywhere.
    #[test]
    fn holds_limits_of_several_together(
        bounds in valid_bounds(),
        count in 1..4_usize,
        steps in proptest::collection::vec((0..4_usize, steps()), 0..20),
    ) {
        let (_global, members) = members(count, bounds);
        let mut held: Vec<Vec<Held<'_>>> = members.iter().map(|_| Vec::new()).collect();
        let mut waiting: Vec<VecDeque<Place>> = members.iter().map(|_| VecDeque::new()).collect();
        let at_one = |(at, steps): (usize, Vec<Step>)| steps.into_iter().map(move |s| (at, s));
        for (at, step) in steps.into_iter().flat_map(at_one) {
            let at = at % count;
            let member = &members[at];
            match step {
                Step::Arrive => match arrive(&member.admission) {
                    Decision::Handle(slot) => held[at].push((Some(slot), None)),
                    Decision::Queue(place) => waiting[at].push_back(place),
                    Decision::Refuse => {}
                },
                Step::End(which) if !held[at].is_empty() => {
                    let which = which % held[at].len();
                    drop(held[at].swap_remove(which));
                }
                Step::GiveUp(which) if !waiting[at].is_empty() => {
                    let which = which % waiting[at].len();
                    drop(waiting[at].remove(which));
                }
                Step::Look => {
                    while members.iter().any(|member| member.calls.swap(0, Ordering::Relaxed) > 0) {
                        members.iter().for_each(|member| member.admission.tend());
                    }
                    let waits = waiting.iter().flatten().any(|place| !place.is_granted());
                    if waits {
                        let counts = || members.iter().map(|member| &member.admission.counts);
                        let free: u64 = counts().map(|counts| counts.free.get()).sum();
                        let handled: usize = counts().map(|counts| counts.handling()).sum();
                        prop_assert_eq!((free, Some(handled)), (0, bounds.max_threads));
                    }
                }
                _ => {}
            }
            for (at, waiting) in waiting.iter_mut().enumerate() {
                while waiting.front().is_some_and(Place::is_granted) {
                    held[at].extend(waiting.pop_front().map(|place| (None, Some(place))));
                }
                prop_assert_eq!(numbers(&members[at].admission), (held[at].len(), waiting.len()));
            }
            let handled: usize = held.iter().map(Vec::len).sum();
            let waits: usize = waiting.iter().map(VecDeque::len).sum();
            prop_assert!(bounds.max_threads.is_none_or(|most| handled <= most));
            let most = bounds.max_accept.or(bounds.max_threads);
            prop_assert!(most.is_none_or(|most| handled + waits <= most));
        }
        drop((waiting, held));
    }
}
