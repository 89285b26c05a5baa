//! Which drivers there are, and how one is chosen.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

/// A driver that a runtime can be built on.
///
/// The environment variable `ETHREADS_DRIVER` (`epoll` or `polling`) chooses the default;
/// [`Builder::driver`](crate::Builder::driver) overrides it.
///
/// # Examples
///
/// ```
/// use ethreads::{DriverKind, Runtime, runtime};
///
/// let stats = Runtime::builder().driver(DriverKind::Polling).run(runtime::stats)?;
/// assert_eq!(stats.map(|stats| stats.driver), Some(DriverKind::Polling));
/// # Ok::<(), ethreads::RunError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverKind {
    /// Edge-triggered epoll with an eventfd and a timerfd of its own. Linux only, and the default
    /// there.
    Epoll,
    /// The portable driver, on the crate `polling`.
    Polling,
    /// Virtual clock and seeded run order, without sockets. See [`sim`](crate::sim).
    #[cfg(feature = "sim")]
    Sim {
        /// The seed of the run order and of the driver's random numbers.
        seed: u64,
    },
}

/// The variable that chooses the default driver.
const DRIVER_VARIABLE: &str = "ETHREADS_DRIVER";

impl DriverKind {
    /// The driver of shards that were not built with an explicit one.
    pub(crate) fn from_environment() -> io::Result<Self> {
        match std::env::var(DRIVER_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            _ if cfg!(target_os = "linux") => Ok(Self::Epoll),
            _ => Ok(Self::Polling),
        }
    }

    fn from_name(name: &str) -> io::Result<Self> {
        match name {
            "epoll" => Ok(Self::Epoll),
            "polling" => Ok(Self::Polling),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{DRIVER_VARIABLE}={other:?}: expected `epoll` or `polling`"),
            )),
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::Polling => "polling",
            #[cfg(feature = "sim")]
            Self::Sim { .. } => "sim",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_drivers_parse_back() {
        for kind in [DriverKind::Epoll, DriverKind::Polling] {
            assert_eq!(DriverKind::from_name(&kind.to_string()).unwrap(), kind);
        }
        let error = DriverKind::from_name("kqueue").unwrap_err();
        assert!(
            error.to_string().contains("expected `epoll` or `polling`"),
            "{error}"
        );
    }
}
