//! Many schedulers: one per OS thread, nothing shared but what is `Send`.

use std::sync::Arc;

use super::run::{Builder, RunError};

/// A number of OS threads, each with a scheduler of its own. Made by [`Builder::shards`].
#[derive(Clone, Debug)]
#[must_use = "shards do nothing before `run`"]
pub struct Shards {
    pub(super) builder: Builder,
    pub(super) count: usize,
}

impl Shards {
    /// Starts the OS threads, runs `f` as the root ethread of each with the shard's number, from 0
    /// on, and waits until all have ended. Their results come in the order of the numbers.
    ///
    /// An ethread never leaves its shard; what crosses is `Send`. A server opens a listener with
    /// `SO_REUSEPORT` on each, and the kernel spreads the connections.
    ///
    /// # Errors
    ///
    /// Each shard's own, as [`Builder::run`]; [`RunError::Io`] for one whose OS thread could not
    /// be started.
    ///
    /// # Panics
    ///
    /// With the panic of a shard's root, once all have ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let squares = ethreads::Runtime::builder().shards(3).run(|shard| shard * shard);
    /// let squares: Result<Vec<_>, _> = squares.into_iter().collect();
    /// assert_eq!(squares?, [0, 1, 4]);
    /// # Ok::<(), ethreads::RunError>(())
    /// ```
    pub fn run<F, T>(self, f: F) -> Vec<Result<T, RunError>>
    where
        F: Fn(usize) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let f = Arc::new(f);
        let threads: Vec<_> = (0..self.count)
            .map(|shard| {
                let (builder, f) = (self.builder.clone(), f.clone());
                std::thread::Builder::new()
                    .name(format!("shard {shard}"))
                    .spawn(move || builder.run(move || f(shard)))
            })
            .collect();
        // All are waited for before a panic goes on: none is left behind.
        let ends: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.map(|t| t.join()))
            .collect();
        ends.into_iter()
            .map(|end| match end {
                Ok(Ok(result)) => result,
                Ok(Err(payload)) => std::panic::resume_unwind(payload),
                Err(error) => Err(error.into()),
            })
            .collect()
    }
}
