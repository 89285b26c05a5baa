//! Why a resource is not available.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Why there is no resource.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError<E> {
    /// The start has failed with this error, which all waiters of that start share.
    Failed(Rc<E>),
    /// The start has exceeded this timeout.
    TimedOut(Duration),
    /// The start has panicked, with this text.
    Panicked(Rc<str>),
    /// The resource was stopped while it started.
    Stopped,
    /// The caller unwinds, and so cannot wait.
    WouldPark,
}

impl<E> Clone for StartError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::TimedOut(limit) => Self::TimedOut(*limit),
            Self::Panicked(text) => Self::Panicked(text.clone()),
            Self::Stopped => Self::Stopped,
            Self::WouldPark => Self::WouldPark,
        }
    }
}

impl<E: fmt::Display> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the resource could not be started: {error}"),
            Self::TimedOut(limit) => write!(
                f,
                "the resource has not started within {limit:?}; `start_timeout` allows it more"
            ),
            Self::Panicked(text) => write!(f, "the start of the resource panicked: {text}"),
            Self::Stopped => f.write_str("the resource was stopped while it started"),
            Self::WouldPark => f.write_str(
                "the resource does not run, and an ethread that unwinds cannot wait for it",
            ),
        }
    }
}

impl<E: Error + 'static> Error for StartError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}
