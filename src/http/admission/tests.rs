//! The decision against a table, and against a naive model.

use std::cell::Cell;
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

/// An admission, and the number of calls of its `freed`.
fn admission(bounds: Bounds) -> (Rc<Admission>, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let counter = calls.clone();
    let freed = move || counter.set(counter.get() + 1);
    (Admission::new(bounds, Arc::default(), None, freed), calls)
}

fn numbers(admission: &Admission) -> (usize, usize) {
    (admission.serving(), admission.queued())
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
    // Admits ten connections that stay; one letter for each decision.
    let check = |bounds: Bounds, expected: &str| {
        let (admission, _) = admission(bounds);
        let decisions: Vec<_> = (0..10).map(|_| admission.decide()).collect();
        let letters: String = decisions
            .iter()
            .map(|decision| match decision {
                Decision::Serve(_) => 's',
                Decision::Queue(_) => 'q',
                Decision::Refuse => 'r',
            })
            .collect();
        assert_eq!(letters, expected, "{bounds:?}");
        drop(decisions);
        assert_eq!(numbers(&admission), (0, 0));
    };
    check(bounds(None, None), "ssssssssss");
    check(bounds(Some(3), None), "sssrrrrrrr");
    check(bounds(Some(3), Some(5)), "sssqqrrrrr");
    check(bounds(Some(1), Some(2)), "sqrrrrrrrr");
    check(bounds(Some(20), Some(30)), "ssssssssss");
}

/// Hunchentoot signals "free" below its *accept* limit, and so exceeds its thread limit.
#[test]
fn a_place_becomes_a_permit_below_the_thread_limit_only() {
    let (admission, calls) = admission(bounds(Some(2), Some(4)));
    let mut served: Vec<_> = (0..2)
        .filter_map(|_| match admission.decide() {
            Decision::Serve(permit) => Some(permit),
            _ => None,
        })
        .collect();
    let Decision::Queue(place) = admission.decide() else {
        panic!("at the thread limit it queues");
    };
    let place = place.into_permit().expect_err("both are still served");
    assert_eq!((numbers(&admission), calls.get()), ((2, 1), 0));
    served.pop();
    assert_eq!(calls.get(), 1);
    let permit = place.into_permit().expect("there is room");
    assert_eq!(numbers(&admission), (2, 0));
    drop((served, permit));
    assert_eq!((numbers(&admission), calls.get()), ((0, 0), 1));
}

#[test]
fn a_newcomer_does_not_overtake_the_waiters() {
    let (admission, _) = admission(bounds(Some(1), Some(3)));
    let first = admission.decide();
    let waiting = admission.decide();
    drop(first);
    // There is room, but the waiting connection has precedence.
    assert!(matches!(admission.decide(), Decision::Queue(_)));
    drop(waiting);
    assert!(matches!(admission.decide(), Decision::Serve(_)));
}

#[test]
fn a_panic_gives_the_permit_back() {
    let (admission, _) = admission(bounds(Some(1), None));
    for _ in 0..3 {
        let decision = admission.decide();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _held = decision;
            panic!("in its owner");
        }));
        assert!(caught.is_err());
    }
    assert_eq!(numbers(&admission), (0, 0));
    assert_eq!(admission.counts.refused.load(Ordering::Relaxed), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    /// A served connection ends; the number selects it.
    End(usize),
    /// A waiting connection gives up; the number selects it.
    GiveUp(usize),
    /// The waiting connections get permits while there is room.
    Promote,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Arrive),
        3 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => Just(Step::Promote),
    ];
    proptest::collection::vec(step, 0..200)
}

fn valid_bounds() -> impl Strategy<Value = Bounds> {
    let limited = (1..8_usize, proptest::option::of(1..8_usize));
    proptest::option::of(limited).prop_map(|limits| match limits {
        None => Bounds::default(),
        Some((threads, extra)) => bounds(Some(threads), extra.map(|extra| threads + extra)),
    })
}

proptest! {
    /// The counts match the guards, the limits hold, and `freed` is called whenever a permit is
    /// given back while a connection waits.
    #[test]
    fn holds_its_limits(bounds in valid_bounds(), steps in steps()) {
        let (admission, calls) = admission(bounds);
        let mut serving = Vec::new();
        let mut waiting = VecDeque::new();
        for step in steps {
            let before = (serving.len(), waiting.len(), calls.get());
            match step {
                Step::Arrive => match admission.decide() {
                    Decision::Serve(permit) => {
                        prop_assert!(waiting.is_empty());
                        serving.push(permit);
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
                Step::End(which) if !serving.is_empty() => {
                    drop(serving.swap_remove(which % serving.len()));
                    prop_assert_eq!(calls.get() > before.2, !waiting.is_empty());
                }
                Step::GiveUp(which) if !waiting.is_empty() => {
                    drop(waiting.remove(which % waiting.len()));
                }
                Step::Promote => while let Some(place) = waiting.pop_front() {
                    match place.into_permit() {
                        Ok(permit) => serving.push(permit),
                        Err(place) => {
                            waiting.push_front(place);
                            break;
                        }
                    }
                },
                _ => {}
            }
            prop_assert_eq!(numbers(&admission), (serving.len(), waiting.len()));
            prop_assert!(bounds.max_threads.is_none_or(|most| serving.len() <= most));
            let most = bounds.max_accept.or(bounds.max_threads);
            prop_assert!(most.is_none_or(|most| serving.len() + waiting.len() <= most));
        }
        drop((serving, waiting));
        prop_assert_eq!(numbers(&admission), (0, 0));
    }
}

/// One of several servers with shared limits.
struct Member {
    admission: Rc<Admission>,
    /// How often the server was woken to look at its queue.
    calls: Arc<AtomicUsize>,
    serving: Vec<Permit>,
    waiting: VecDeque<Place>,
}

fn members(count: usize, bounds: Bounds) -> Vec<Member> {
    let global = Arc::<GlobalLimit>::default();
    let member = |_| {
        let (calls, counts) = (Arc::<AtomicUsize>::default(), Arc::<Counts>::default());
        let (freed, woken) = (calls.clone(), calls.clone());
        global.add(counts.clone(), move || {
            _ = woken.fetch_add(1, Ordering::Relaxed)
        });
        let freed = move || _ = freed.fetch_add(1, Ordering::Relaxed);
        Member {
            admission: Admission::new(bounds, counts, Some(global.clone()), freed),
            calls,
            serving: Vec::new(),
            waiting: VecDeque::new(),
        }
    };
    (0..count).map(member).collect()
}

/// A new connection comes to one server whenever that server serves a connection, as under load,
/// while a connection waits at the other server.
#[test]
fn no_queue_starves_beside_a_busy_one() {
    let mut members = members(2, bounds(Some(1), Some(10)));
    let (idle, busy) = members.split_at_mut(1);
    let (idle, busy) = (&mut idle[0], &mut busy[0]);
    let Decision::Serve(mut permit) = busy.admission.decide() else {
        panic!("there is room");
    };
    let Decision::Queue(place) = idle.admission.decide() else {
        panic!("there is none");
    };
    for _ in 0..2 {
        let Decision::Queue(newcomer) = busy.admission.decide() else {
            panic!("there is none");
        };
        drop(permit);
        permit = newcomer.into_permit().expect("one has gone");
    }
    assert_eq!(idle.calls.load(Ordering::Relaxed), 1, "every second one");
    drop(permit);
    place.into_permit().expect("no place is left before it");
}

/// Two permits are given back before the woken server looks at its queue, in which one connection
/// waits. Another connection waits at another server.
#[test]
fn a_call_that_meets_another_one_is_passed_on() {
    for gives_up in [false, true] {
        let members = members(3, bounds(Some(2), Some(10)));
        let permits = [(); 2].map(|()| members[0].admission.decide());
        let [called, other] = [1, 2].map(|at| members[at].admission.decide());
        assert!(matches!(called, Decision::Queue(_)) && matches!(other, Decision::Queue(_)));
        drop(permits);
        let calls = |at: usize| members[at].calls.load(Ordering::Relaxed);
        assert_eq!([calls(1), calls(2)], [2, 0]);
        let permit = match called {
            Decision::Queue(place) if !gives_up => place.into_permit().ok(),
            given_up => {
                drop(given_up);
                None
            }
        };
        assert_eq!(calls(2), 1, "gives up: {gives_up}");
        drop(permit);
    }
}

proptest! {
    /// The same for several servers together: the connections served by all of them count, and when
    /// there is room, exactly one server with a waiting connection is woken.
    #[test]
    fn holds_limits_of_several_together(
        bounds in valid_bounds(),
        count in 1..4_usize,
        steps in proptest::collection::vec((0..4_usize, steps()), 0..20),
    ) {
        let mut members = members(count, bounds);
        let at_one = |(at, steps): (usize, Vec<Step>)| steps.into_iter().map(move |s| (at, s));
        let steps = steps.into_iter().flat_map(at_one);
        for (at, step) in steps {
            let all = |members: &[Member]| {
                let serving: usize = members.iter().map(|member| member.serving.len()).sum();
                (serving, members.iter().map(|member| member.waiting.len()).sum::<usize>())
            };
            let before = all(&members);
            let calls: Vec<_> = members.iter().map(|m| m.calls.load(Ordering::Relaxed)).collect();
            let member = &mut members[at % count];
            match step {
                Step::Arrive => match member.admission.decide() {
                    Decision::Serve(permit) => {
                        prop_assert_eq!(before.1, 0, "no connection overtakes a waiting one");
                        member.serving.push(permit);
                    }
                    Decision::Queue(place) => member.waiting.push_back(place),
                    Decision::Refuse => {
                        let limit = bounds.max_accept.or(bounds.max_threads);
                        prop_assert_eq!(Some(before.0 + before.1), limit);
                    }
                },
                Step::End(which) if !member.serving.is_empty() => {
                    drop(member.serving.swap_remove(which % member.serving.len()));
                    let called = |(member, before): (&Member, &usize)| {
                        let more = member.calls.load(Ordering::Relaxed) - before;
                        (more > 0).then_some((more, member.waiting.is_empty()))
                    };
                    let called: Vec<_> = members.iter().zip(&calls).filter_map(called).collect();
                    let expected = if before.1 > 0 { vec![(1, false)] } else { vec![] };
                    prop_assert_eq!(called, expected);
                }
                Step::GiveUp(which) if !member.waiting.is_empty() => {
                    drop(member.waiting.remove(which % member.waiting.len()));
                }
                Step::Promote => while let Some(place) = member.waiting.pop_front() {
                    match place.into_permit() {
                        Ok(permit) => member.serving.push(permit),
                        Err(place) => {
                            member.waiting.push_front(place);
                            break;
                        }
                    }
                },
                _ => {}
            }
            let (serving, waiting) = all(&members);
            prop_assert!(bounds.max_threads.is_none_or(|most| serving <= most));
            let most = bounds.max_accept.or(bounds.max_threads);
            prop_assert!(most.is_none_or(|most| serving + waiting <= most));
            for member in &members {
                let held = (member.serving.len(), member.waiting.len());
                prop_assert_eq!(numbers(&member.admission), held);
            }
        }
    }
}
