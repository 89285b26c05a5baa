//! Serving from an OS thread's own code, outside of any run.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;

use crate::runtime::shut_down_from_host;

/// A call that serves. If serving has begun and the caller is the OS thread's own code, then the
/// end of the call ends the shard, as in [`run_main`](crate::run_main): the OS thread did nothing
/// but serve. Otherwise the ethreads spawned beside the server would be leaked when the OS thread
/// ends.
#[derive(Debug, Default)]
pub(in crate::http) struct AsRoot {
    has_begun: Cell<bool>,
}

impl AsRoot {
    pub(in crate::http) fn begin(&self) {
        self.has_begun.set(true);
    }

    /// Ends the shard if that is due. `served` is the result of the call.
    pub(in crate::http) fn end<T>(self, served: io::Result<T>) -> io::Result<T> {
        if !self.has_begun.get() {
            return served;
        }
        let ended = shut_down_from_host();
        served.and_then(|served| ended.map(|()| served))
    }
}
