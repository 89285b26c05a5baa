//! Decides which connections are served, wait, or are refused. The decision alone: it involves no
//! socket, no clock and no protocol.
//!
//! Guards hold what was admitted: a [`Permit`] for a served connection and a [`Place`] for a
//! waiting one. Dropping a guard gives back what it took, so no path can forget that: a panic, a
//! reset, a cancellation, or an ethread that could not be made.
#![forbid(unsafe_code)]

mod bounds;
mod global;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bounds::Verdict;
pub(super) use bounds::{Bounds, Counts};
pub(super) use global::GlobalLimit;

/// The state of one server's admission.
pub(super) struct Admission {
    bounds: Bounds,
    counts: Arc<Counts>,
    /// The counts shared with servers on other shards, if the bounds hold for all of them together.
    global: Option<Arc<GlobalLimit>>,
    /// Called when a connection that waits here may have a permit.
    freed: Box<dyn Fn()>,
}

/// What happens to a new connection.
#[derive(Debug)]
pub(super) enum Decision {
    Serve(Permit),
    /// The connection waits until [`Place::into_permit`] succeeds.
    Queue(Place),
    Refuse,
}

/// The right to be served, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Rc<Admission>);

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Rc<Admission>,
    /// Its share in the [`GlobalLimit`] has passed to a permit.
    promoted: bool,
}

impl Admission {
    /// `freed` is called when a permit is given back while a connection waits for one. It must not
    /// wait, as the call may come from a destructor.
    pub(super) fn new(
        bounds: Bounds,
        counts: Arc<Counts>,
        global: Option<Arc<GlobalLimit>>,
        freed: impl Fn() + 'static,
    ) -> Rc<Self> {
        debug_assert!(bounds.are_valid());
        Rc::new(Self {
            bounds,
            counts,
            global,
            freed: Box::new(freed),
        })
    }

    /// Decides about a new connection.
    pub(super) fn decide(self: &Rc<Self>) -> Decision {
        let verdict = match &self.global {
            Some(global) => global.enter(self.bounds),
            None => self.bounds.judge(self.serving(), self.queued()),
        };
        match verdict {
            Verdict::Serve => Decision::Serve(self.permit()),
            Verdict::Queue => {
                // Sequentially consistent, for `GlobalLimit::wake_one`.
                self.counts.queued.fetch_add(1, Ordering::SeqCst);
                Decision::Queue(Place {
                    admission: self.clone(),
                    promoted: false,
                })
            }
            Verdict::Refuse => {
                self.count_refusal();
                Decision::Refuse
            }
        }
    }

    /// Counts a connection with a permit as served, once nothing can turn it into a refusal any
    /// more.
    pub(super) fn count_served(&self) {
        self.counts.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal. [`decide`](Self::decide) counts those that it decides itself.
    pub(super) fn count_refusal(&self) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a connection that waits here may be served.
    pub(super) fn has_room_for_queued(&self) -> bool {
        self.queued() > 0 && self.has_room()
    }

    /// If no connection waits here, wakes another shard that has a waiting connection and room for
    /// it.
    pub(super) fn pass_on(&self) {
        if let Some(global) = &self.global
            && self.queued() == 0
            && global.has_room_for_queued(self.bounds)
        {
            global.wake_one();
        }
    }

    fn has_room(&self) -> bool {
        let serving = match &self.global {
            Some(global) => global.serving(),
            None => self.serving(),
        };
        self.bounds.have_room(serving)
    }

    fn serving(&self) -> usize {
        self.counts.serving.load(Ordering::Relaxed)
    }

    fn queued(&self) -> usize {
        self.counts.queued.load(Ordering::Relaxed)
    }

    fn permit(self: &Rc<Self>) -> Permit {
        self.counts.serving.fetch_add(1, Ordering::Relaxed);
        Permit(self.clone())
    }
}

impl Place {
    /// Turns the place of a waiting connection into a permit.
    ///
    /// # Errors
    ///
    /// The place itself, if there is no room.
    pub(super) fn into_permit(mut self) -> Result<Permit, Self> {
        let admission = &self.admission;
        let is_served = match &admission.global {
            Some(global) => global.promote(admission.bounds),
            None => admission.has_room(),
        };
        if !is_served {
            return Err(self);
        }
        let permit = admission.permit();
        self.promoted = true;
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let admission = &self.0;
        admission.counts.serving.fetch_sub(1, Ordering::Relaxed);
        match &admission.global {
            Some(global) => {
                global.leave();
                // This server's queue is not preferred: with many new connections here, the other
                // queues would starve.
                if global.has_room_for_queued(admission.bounds) {
                    global.wake_one();
                }
            }
            None if admission.has_room_for_queued() => (admission.freed)(),
            None => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let admission = &self.admission;
        if let Some(global) = &admission.global
            && !self.promoted
        {
            global.leave_queue();
        }
        admission.counts.queued.fetch_sub(1, Ordering::SeqCst);
        // Several permits may have been freed for a single look at this queue.
        admission.pass_on();
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("bounds", &self.bounds)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(ethreads_loom)))]
mod tests;

/// Exhaustive checks of all interleavings.
#[cfg(all(test, ethreads_loom))]
mod loom_tests;
