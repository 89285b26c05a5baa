//! The long form of `run_main`: a scheduler with custom settings.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::time::Duration;

use super::driver::DriverKind;
use super::run::{refuse_nested, run_new};
use super::run_error::RunError;
use super::scheduler::settings::Settings;
use super::scheduler::switch_hook::SwitchHook;
use super::shards::Shards;
use super::stack::GuardKind;

/// A scheduler with custom settings, for this OS thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use ethreads::{Runtime, thread};
///
/// let answer = Runtime::builder()
///     .stack_size(64 * 1024)
///     .grace(Duration::from_secs(1))
///     .run(|| {
///         thread::sleep(Duration::from_millis(1));
///         42
///     })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[derive(Debug)]
pub enum Runtime {}

impl Runtime {
    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
        }
    }
}

/// Settings of a runtime. Made by [`Runtime::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `run`"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// Sets the driver. The default is the driver that the environment variable `ETHREADS_DRIVER`
    /// names, else epoll on Linux and `polling` elsewhere.
    pub fn driver(mut self, driver: DriverKind) -> Self {
        self.settings.driver = Some(driver);
        self
    }

    /// Sets how stacks are guarded; the default is the cheapest way that this kernel supports.
    pub fn guard(mut self, guard: GuardKind) -> Self {
        self.settings.stacks.guard = guard;
        self
    }

    /// Sets the usable size, in bytes, of the stacks of ethreads that set no size of their own. The
    /// default is 512 KiB, and 1 MiB in debug builds. The size is rounded up to a power of two, at
    /// least 16 KiB, at most 1 GiB. Only touched pages cost memory.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.settings.stack_size = bytes;
        self
    }

    /// Sets how many free stacks keep their pages for the next ethread; the default is 1,024.
    pub fn hot_stacks(mut self, stacks: usize) -> Self {
        self.settings.stacks.hot = stacks;
        self
    }

    /// Sets how long the shutdown waits for cancelled ethreads; the default is 5 s. Ethreads that
    /// have not ended by then are leaked, with one line in the log.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets how long an ethread may block the shard before a warning is logged; the default is
    /// 100 ms. `None` turns these warnings off. The watchdog's OS thread runs in any case, as it
    /// makes busy shards poll for events in time: see [the module](crate::runtime#scheduling).
    pub fn watchdog(mut self, threshold: Option<Duration>) -> Self {
        self.settings.watchdog = threshold;
        self
    }

    /// Sets whether the shard waits for messages from other OS threads even if it knows of no
    /// sender, instead of reporting a deadlock; the default is false.
    pub fn serve_inbox(mut self, serve: bool) -> Self {
        self.settings.serve_inbox = serve;
        self
    }

    /// Sets a hook that is called on the shard's OS thread whenever an ethread begins to run and
    /// whenever it leaves its stack; see [`SwitchHook`]. The default is none, which costs nothing.
    ///
    /// The hook is never dropped. One with values of its own is made by [`Box::leak`]; shards share
    /// it.
    pub fn switch_hook(mut self, hook: &'static dyn SwitchHook) -> Self {
        self.settings.switch_hook = Some(hook);
        self
    }

    /// Sets up one shard with these settings on each of `count` OS threads: see [`Shards`]. Zero
    /// means one shard for each CPU that the process may use; the CPU limit of a cgroup counts,
    /// too.
    pub fn shards(self, count: usize) -> Shards {
        Shards::new(self.settings, count)
    }

    /// Runs `f` as the root ethread of a new scheduler on this OS thread, like
    /// [`run_main`](crate::run_main). The scheduler ends with the root ethread.
    ///
    /// # Errors
    ///
    /// As [`run_main`](crate::run_main). [`RunError::Io`] of kind `AlreadyExists` if this OS thread
    /// has a scheduler already; [`RunError::Io`] if a setting is out of its range.
    ///
    /// # Panics
    ///
    /// If called inside an ethread. A panic of `f` is raised again.
    #[track_caller]
    pub fn run<F, T>(self, f: F) -> Result<T, RunError>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let location = Location::caller();
        refuse_nested("Builder::run")?;
        run_new(self.settings, f, location)
    }
}
