//! The settings of a scheduler, and the defaults.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::switch_hook::SwitchHook;
use crate::runtime::driver::DriverKind;
use crate::runtime::stack::StackConfig;

/// The settings of a scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) driver: Option<DriverKind>,
    pub(crate) stacks: StackConfig,
    pub(crate) stack_size: usize,
    pub(crate) grace: Duration,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) serve_inbox: bool,
    /// Never dropped, so that it needs no place where a destructor of user code may run.
    pub(crate) switch_hook: Option<&'static dyn SwitchHook>,
}

/// The default usable stack size. Debug builds use more stack for the same code.
pub(crate) const DEFAULT_STACK_SIZE: usize = if cfg!(debug_assertions) {
    1 << 20
} else {
    512 << 10
};

/// How long a shutdown waits for cancelled ethreads.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// How long an ethread may block its shard before the watchdog logs it.
pub(crate) const DEFAULT_WATCHDOG: Duration = Duration::from_millis(100);

impl Default for Settings {
    fn default() -> Self {
        Self {
            driver: None,
            stacks: StackConfig::default(),
            stack_size: DEFAULT_STACK_SIZE,
            grace: DEFAULT_GRACE,
            watchdog: Some(DEFAULT_WATCHDOG),
            serve_inbox: false,
            switch_hook: None,
        }
    }
}
