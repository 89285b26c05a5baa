//! Runs a blocking call of std on the pool of OS threads.
#![forbid(unsafe_code)]

use std::io;
use std::panic::Location;

use crate::runtime::task::pool;

/// Makes a call on the pool. A panic of the call is resumed here.
#[track_caller]
pub(super) fn offload<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    pool::run_io(call, Location::caller())?
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn a_panic_on_the_pool_goes_on_in_the_caller() {
        let run = || {
            let call = || -> io::Result<()> { panic::panic_any(17) };
            panic::catch_unwind(|| offload(call)).unwrap_err()
        };
        let payload = crate::run_main(run).unwrap();
        assert_eq!(payload.downcast_ref(), Some(&17));
    }
}
