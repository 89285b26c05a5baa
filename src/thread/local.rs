//! Values that belong to a single ethread.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::runtime::scheduler::current;
use crate::runtime::state::locals::{CloneForChild, Entry, find, find_or_add};

thread_local! {
    /// The values of code that runs outside of ethreads on this OS thread.
    static OUTSIDE: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// A value per ethread. A `thread_local!` is a value per OS thread, which all ethreads of a shard
/// share.
///
/// A key belongs in a `static`. An ethread's value is made when the ethread first asks for it. The
/// ethread drops the value at its end, after its closure and before its result can be joined.
/// Children may inherit the value, see [`Local::inherited`]. Outside of ethreads, the value is the
/// OS thread's. Unlike in `thread_local!`, making the value may suspend.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use ethreads::thread;
///
/// static DEPTH: thread::Local<Cell<u32>> = thread::Local::new(|| Cell::new(0));
///
/// ethreads::run_main(|| {
///     DEPTH.set(3);
///     let child = thread::spawn(|| DEPTH.get());
///     assert_eq!(child.join().expect("no panic"), 0);
///     assert_eq!(DEPTH.get(), 3);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
///
/// A request's number, for all ethreads that are spawned on behalf of the request:
///
/// ```
/// use ethreads::thread;
///
/// static REQUEST: thread::Local<std::cell::Cell<u64>> =
///     thread::Local::inherited(|| std::cell::Cell::new(0), Clone::clone);
///
/// ethreads::run_main(|| {
///     REQUEST.set(7);
///     let helper = thread::spawn(|| REQUEST.get());
///     assert_eq!(helper.join().expect("no panic"), 7);
/// })?;
/// # Ok::<(), ethreads::RunError>(())
/// ```
pub struct Local<T: 'static> {
    init: fn() -> T,
    inherit: Option<fn(&T) -> T>,
}

impl<T: 'static> Local<T> {
    /// Makes a key whose values are initialized by `init`.
    #[must_use]
    pub const fn new(init: fn() -> T) -> Self {
        Self {
            init,
            inherit: None,
        }
    }

    /// Makes a key whose values are inherited by child ethreads. If an ethread has a value when it
    /// spawns a child, the child's value is what `inherit` makes of it at that time.
    #[must_use]
    pub const fn inherited(init: fn() -> T, inherit: fn(&T) -> T) -> Self {
        Self {
            init,
            inherit: Some(inherit),
        }
    }

    /// Calls `f` with the value of the caller; makes the value if there is none yet.
    ///
    /// # Panics
    ///
    /// With the panic of the closure that makes the value. On an OS thread that is ending, if its
    /// own values have been dropped.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.value())
    }

    fn value(&'static self) -> Rc<T> {
        let key = std::ptr::from_ref(self).addr();
        let found = current::with(|scheduler| scheduler.and_then(|s| s.local(key)));
        let found = found.unwrap_or_else(|| OUTSIDE.with_borrow(|entries| find(entries, key)));
        // Nothing is borrowed while the value is made: `init` may ask for other values, or suspend.
        let value = found.unwrap_or_else(|| {
            let entry = Entry {
                key,
                value: Rc::new((self.init)()),
                clone_for_child: self.clone_for_child(),
            };
            let kept = current::with(|scheduler| match scheduler {
                Some(scheduler) => scheduler.set_local(entry),
                None => Err(entry),
            });
            kept.unwrap_or_else(|entry| {
                OUTSIDE.with_borrow_mut(|entries| find_or_add(entries, &entry))
            })
        });
        value
            .downcast()
            .unwrap_or_else(|_| unreachable!("the key is this one's"))
    }

    fn clone_for_child(&self) -> Option<CloneForChild> {
        let inherit = self.inherit?;
        Some(Rc::new(move |value: &dyn Any| {
            let value = value.downcast_ref::<T>();
            Rc::new(inherit(value.expect("the value is of this key"))) as Rc<dyn Any>
        }))
    }
}

impl<T: 'static> Local<Cell<T>> {
    /// Sets the caller's value.
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Returns a copy of the caller's value.
    #[must_use]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the caller's value, and leaves the default.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Replaces the caller's value, and returns the old one.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> Local<RefCell<T>> {
    /// Calls `f` with the caller's value.
    ///
    /// # Panics
    ///
    /// If the value is mutably borrowed.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with a mutable reference to the caller's value.
    ///
    /// # Panics
    ///
    /// If the value is borrowed.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

impl<T: 'static> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
