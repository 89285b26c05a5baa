//! Waiting and waking: park tokens, outcomes, reasons, and FIFO wait queues.
//!
//! `Wait::park` is the only way to block, and the [`Token`] of that very park is the only way to
//! end it. The first wake spends the token. A token of an earlier wait never ends a later wait.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// The line of user code that has called the library.
pub(crate) type CallSite = &'static Location<'static>;

/// How a park ended. The first of these events to happen counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Woken,
    /// The wait's own deadline has passed.
    TimedOut,
    /// The deadline of a scope around the wait has passed.
    Elapsed,
    Cancelled,
}

/// Names one park of one ethread. Stale tokens are harmless: waking them does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The ethread's index in its shard's slab.
    pub(in crate::runtime) index: u32,
    /// Which of several events that the park waits for, counted from one; zero if the park waits
    /// for one event only. A wake with this token passes the number to the ethread.
    pub(in crate::runtime) case: u32,
    /// The number of the park, counted per place and never reset.
    pub(in crate::runtime) park: u64,
}

impl Token {
    pub(in crate::runtime) fn new(index: u32, park: u64) -> Self {
        let case = 0;
        Self { index, case, park }
    }

    /// The token of the same park, for one of the events that the park waits for.
    pub(crate) fn for_case(self, case: u32) -> Self {
        Self { case, ..self }
    }
}

/// The slab index of the shard's own OS thread.
pub(in crate::runtime) const HOST: u32 = 0;

/// Stands in for an ethread's id, for code on an OS thread without ethreads.
pub(in crate::runtime) const OUTSIDE: u64 = u64::MAX;

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// The deadline of a wait of `timeout` that begins at `now`.
pub(crate) fn deadline_after(now: u64, timeout: Duration) -> u64 {
    // One less than `NEVER`: a timeout of centuries is still a timeout.
    u64::try_from(timeout.as_nanos())
        .unwrap_or(NEVER)
        .saturating_add(now)
        .min(NEVER - 1)
}

/// What an ethread waits for. Stored at each park, formatted only in a report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    pub(crate) kind: WaitKind,
    /// What the kind is about: a descriptor's number, an ethread's id.
    pub(crate) detail: u64,
    pub(crate) location: CallSite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitKind {
    Start,
    Yield,
    Park,
    Sleep,
    Join,
    Scope,
    Lock,
    Readers,
    Permits,
    Condition,
    Barrier,
    WaitGroup,
    Once,
    Signal,
    Send,
    Receive,
    Promise,
    Watch,
    Broadcast,
    Resource,
    Choice,
    Remote,
    Suspend,
    Future,
    Blocking,
    DuplexRead,
    DuplexWrite,
    // The kinds that I/O can end, side by side: `is_io` is called at each park and wake.
    ChoiceWithIo,
    Read,
    Write,
    Accept,
    Connect,
}

impl WaitKind {
    /// Whether I/O, such as an action of a descriptor's peer, can end this wait.
    #[inline]
    pub(crate) fn is_io(self) -> bool {
        matches!(
            self,
            Self::ChoiceWithIo | Self::Read | Self::Write | Self::Accept | Self::Connect
        )
    }

    /// Whether the wait depends on another ethread. The detail is then the id of that ethread.
    pub(in crate::runtime) fn has_peer(self) -> bool {
        matches!(self, Self::Join | Self::Lock | Self::Once)
    }
}

impl Reason {
    /// A reason of a kind without details.
    pub(crate) fn new(kind: WaitKind, location: CallSite) -> Self {
        let detail = 0;
        Self {
            kind,
            detail,
            location,
        }
    }

    /// The reason as text, with `peer` as the name of the ethread that the wait depends on.
    pub(in crate::runtime) fn in_words(&self, peer: &dyn fmt::Display) -> String {
        match self.kind {
            WaitKind::Join => format!("the end of ethread {peer}"),
            WaitKind::Lock => format!("a lock that ethread {peer} holds"),
            WaitKind::Once => format!("a value that ethread {peer} makes"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            WaitKind::Start => f.write_str("its first turn"),
            WaitKind::Yield => f.write_str("its next turn"),
            WaitKind::Park => f.write_str("unpark"),
            WaitKind::Sleep => f.write_str("the end of a sleep"),
            WaitKind::Scope => write!(f, "the end of {} children of a scope", self.detail),
            WaitKind::Permits => write!(f, "{} permits of a semaphore", self.detail),
            WaitKind::Condition => f.write_str("a notification of a condition variable"),
            WaitKind::Barrier => write!(f, "{} others at a barrier", self.detail),
            WaitKind::WaitGroup => f.write_str("the end of the members of a wait group"),
            WaitKind::Readers => write!(f, "a lock that {} read", self.detail),
            WaitKind::Lock if self.detail == 0 => f.write_str("a lock that others have"),
            WaitKind::Lock if self.detail == OUTSIDE => {
                f.write_str("a lock that was taken before there were ethreads")
            }
            WaitKind::Once if self.detail == OUTSIDE => {
                f.write_str("a value that was begun before there were ethreads")
            }
            WaitKind::Once if self.detail == 0 => f.write_str("a value that no ethread makes yet"),
            WaitKind::Join | WaitKind::Lock | WaitKind::Once => {
                f.write_str(&self.in_words(&format_args!("#{}", self.detail)))
            }
            WaitKind::Signal => f.write_str("a signal"),
            WaitKind::Send => f.write_str("room in a channel"),
            WaitKind::Receive => f.write_str("a message of a channel"),
            WaitKind::Promise => f.write_str("a promise"),
            WaitKind::Watch => f.write_str("a change of a watched value"),
            WaitKind::Broadcast => f.write_str("a message of a broadcast"),
            WaitKind::Resource => f.write_str("a resource that starts or stops"),
            WaitKind::Choice | WaitKind::ChoiceWithIo => {
                write!(f, "one of {} things", self.detail)
            }
            WaitKind::Remote => f.write_str("an event from any OS thread"),
            WaitKind::Suspend => f.write_str("resume"),
            WaitKind::Future => f.write_str("the waker of a future"),
            WaitKind::Blocking => f.write_str("a blocking call on the pool"),
            WaitKind::DuplexRead => f.write_str("input of a stream in memory"),
            WaitKind::DuplexWrite => f.write_str("room in a stream in memory"),
            WaitKind::Read => write!(f, "input on fd {}", self.detail),
            WaitKind::Write => write!(f, "room for output on fd {}", self.detail),
            WaitKind::Accept => write!(f, "a connection on fd {}", self.detail),
            WaitKind::Connect => write!(f, "the connection of fd {}", self.detail),
        }
    }
}

/// The length of `rest` from which on dead waiters are looked for.
const PRUNE_FROM: usize = 8;

/// Waiters in order of arrival. A single waiter, the usual case, needs no allocation.
#[derive(Debug)]
pub(crate) struct WaitList {
    /// The first waiter. [`NO_TOKEN`] if the queue is empty, or if the first waiter is at the front
    /// of `rest`.
    first: Token,
    /// Boxed, as almost no queue needs it.
    #[allow(clippy::box_collection)]
    rest: Option<Box<VecDeque<Token>>>,
}

/// Stands for the absence of a token: no ethread has this index.
pub(in crate::runtime) const NO_TOKEN: Token = Token {
    index: u32::MAX,
    case: 0,
    park: 0,
};

impl Default for WaitList {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self {
            first: NO_TOKEN,
            rest: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NO_TOKEN && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    #[inline]
    pub(crate) fn push_back(&mut self, token: Token) {
        if self.is_empty() {
            self.first = token;
        } else {
            self.rest.get_or_insert_default().push_back(token);
        }
    }

    /// Puts a waiter back in front that was woken and met "would block" again: it keeps its place
    /// in the queue.
    #[inline(always)]
    pub(crate) fn push_front(&mut self, token: Token) {
        let first = std::mem::replace(&mut self.first, token);
        if first != NO_TOKEN {
            let rest = self.rest.get_or_insert_default();
            rest.push_front(first);
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Token> {
        match std::mem::replace(&mut self.first, NO_TOKEN) {
            NO_TOKEN => self.rest.as_mut()?.pop_front(),
            token => Some(token),
        }
    }

    /// Removes waiters that are not live any more, so that they do not pile up. Looks at the
    /// waiters only when their number has doubled, which keeps the cost of each arrival constant.
    pub(crate) fn prune(&mut self, live: impl Fn(Token) -> bool) {
        if let Some(rest) = &mut self.rest
            && rest.len() >= PRUNE_FROM
            && rest.len().is_power_of_two()
        {
            rest.retain(|token| live(*token));
        }
    }

    /// Removes the waiter that parked with `token`, if it is still in the queue.
    pub(crate) fn remove(&mut self, token: Token) {
        if self.first == token {
            self.first = NO_TOKEN;
        } else if let Some(rest) = &mut self.rest
            && let Some(place) = rest.iter().position(|waiter| *waiter == token)
        {
            rest.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        PushBack,
        PushFront,
        Pop,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::PushBack),
            1 => Just(Step::PushFront),
            2 => Just(Step::Pop),
            1 => (0usize..8).prop_map(Step::Remove),
        ]
    }

    #[test]
    fn waiters_that_are_gone_do_not_pile_up() {
        for live in [0, 1, 7, 8, 100] {
            let mut list = WaitList::default();
            let is_live = |token: Token| token.park < live;
            for park in 0..10_000 {
                list.prune(is_live);
                list.push_back(Token {
                    index: 0,
                    case: 0,
                    park,
                });
                let rest = list.rest.as_ref().map_or(0, |rest| rest.len() as u64);
                assert!(rest <= (2 * live).max(PRUNE_FROM as u64), "{live}: {rest}");
            }
            let left = std::iter::from_fn(|| list.pop_front());
            let left = left.filter(|token| is_live(*token));
            let left: Vec<_> = left.map(|token| token.park).collect();
            assert_eq!(left, (0..live).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(steps in prop::collection::vec(step(), 0..60)) {
            let mut list = WaitList::default();
            let mut model = VecDeque::new();
            for (park, step) in steps.into_iter().enumerate() {
                let park = park as u64;
                let token = Token { index: 0, case: 0, park };
                match step {
                    Step::PushBack => { list.push_back(token); model.push_back(park); }
                    Step::PushFront => {
                        list.push_front(Token { index: 0, case: 0, park });
                        model.push_front(park);
                    }
                    Step::Pop => {
                        let popped = list.pop_front().map(|token| token.park);
                        prop_assert_eq!(popped, model.pop_front());
                    }
                    Step::Remove(n) => {
                        if let Some(&park) = model.get(n) {
                            list.remove(Token { index: 0, case: 0, park });
                            model.remove(n);
                        }
                        // Another ethread's token with the same park number is not in the queue.
                        list.remove(Token { index: 1, case: 0, park });
                    }
                }
                prop_assert_eq!(list.is_empty(), model.is_empty());
            }
            while let Some(token) = list.pop_front() {
                prop_assert_eq!(Some(token.park), model.pop_front());
            }
            prop_assert!(model.is_empty());
        }
    }
}
