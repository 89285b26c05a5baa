//! Work on other OS threads that ends as an event here, while the loop goes on.
//!
//! First an OS thread of the program's own does a job and then triggers an event: the waiter for
//! the event runs on the loop's thread, and sees the result of the job. Then `work`: an operation
//! runs on the pool of OS threads and returns a promise, which is fulfilled, or rejected with the
//! operation's error.
//!
//! Run with:
//!
//! ```text
//! cargo run --release --example background_job
//! ```

use std::thread as os;
use std::time::Duration;

use ethreads::sync::{Promise, PromiseError, remote};
use ethreads::{RunError, bridge, thread, time};

const TICK: Duration = Duration::from_millis(20);
const JOB: Duration = Duration::from_millis(90);

/// Does `operation` on another OS thread.
fn work<T, E>(operation: impl FnOnce() -> Result<T, E> + Send + 'static) -> Promise<T, E>
where
    T: Clone + Send + 'static,
    E: Clone + Send + 'static,
{
    let (promise, resolver) = Promise::new();
    // The value or the error comes back to this OS thread, and to all waiters for the promise.
    ethreads::spawn(move || resolver.settle(bridge::blocking(operation)));
    promise
}

/// A long operation, which would hold up the loop.
fn divide(a: u32, b: u32) -> Result<u32, String> {
    os::sleep(JOB);
    a.checked_div(b)
        .ok_or_else(|| format!("{a} cannot be divided by {b}"))
}

fn main() -> Result<(), RunError> {
    ethreads::run_main(|| {
        let loop_thread = os::current().id();
        let ticker = thread::Builder::new().daemon(true).spawn(|| {
            let mut ticks = time::interval(TICK);
            loop {
                ticks.tick();
                println!("event loop still running");
            }
        });
        let _ticker = ticker.expect("a stack can be had").cancel_on_drop();

        println!("a job on an OS thread of its own");
        let (event, trigger) = remote::Promise::<_, String>::new();
        os::spawn(move || trigger.settle(divide(84, 2)));
        let answer = event.wait().expect("it is no division by zero");
        assert_eq!(os::current().id(), loop_thread);
        println!("the event has come to the loop's thread, with {answer}");

        println!("two operations for the pool");
        let (good, bad) = (work(|| divide(10, 5)), work(|| divide(1, 0)));
        println!(
            "the first one gives {}",
            good.wait().expect("it can be divided")
        );
        match bad.wait() {
            Err(PromiseError::Rejected(error)) => println!("the second one fails: {error}"),
            other => unreachable!("{other:?}"),
        }
    })
}
