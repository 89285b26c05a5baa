//! Several callers need a resource that takes a while to start, and one start should do for all.
//!
//! First the naive way: look whether it is there, start it if not, note that it is. Although only
//! one ethread runs at a time, each caller starts one, because the start suspends. Then the same
//! with a `Resource`: one caller starts it, the others wait for that start, whether it succeeds or
//! fails; and after a failure the next caller tries again.
//!
//! ```text
//! cargo run --release --example shared_resource
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ethreads::sync::Resource;
use ethreads::thread;

const CALLERS: usize = 4;

/// A resource that takes a while to start.
#[derive(Clone, Debug)]
struct Database {
    number: u32,
}

/// Starts databases, and counts them.
#[derive(Default)]
struct Starter {
    starts: Cell<u32>,
    /// How many of the next starts fail.
    failures: Cell<u32>,
}

impl Starter {
    fn start(&self) -> Result<Database, String> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        thread::sleep(Duration::from_millis(20)); // until its port accepts
        match self.failures.get() {
            0 => Ok(Database { number }),
            left => {
                self.failures.set(left - 1);
                Err(format!("database {number} does not come up"))
            }
        }
    }
}

/// Lets the callers ask at the same time, and prints what each of them gets.
fn ask(get: impl Fn() -> Result<Database, String> + 'static) {
    let get = Rc::new(get);
    let callers: Vec<_> = (1..=CALLERS)
        .map(|caller| {
            let get = get.clone();
            (caller, thread::spawn(move || get()))
        })
        .collect();
    for (caller, ethread) in callers {
        match ethread.join().expect("callers do not panic") {
            Ok(database) => println!("  caller {caller} uses database {}", database.number),
            Err(error) => println!("  caller {caller} is told: {error}"),
        }
    }
}

fn naive() {
    println!("naive: look, start, note");
    let starter = Rc::new(Starter::default());
    let (shared, theirs) = (RefCell::new(None), starter.clone());
    ask(move || {
        if let Some(database) = &*shared.borrow() {
            return Ok(Database::clone(database));
        }
        // Here the other callers run, and look too.
        let database = theirs.start()?;
        *shared.borrow_mut() = Some(database.clone());
        Ok(database)
    });
    println!("  {CALLERS} callers, {} starts", starter.starts.get());
}

fn use_it(shared: &Resource<Database, String>) -> Result<Database, String> {
    let lease = shared.get().map_err(|error| error.to_string())?;
    Ok(Database::clone(&lease))
}

fn coordinated() {
    println!("coordinated: start or wait");
    let starter = Rc::new(Starter::default());
    let theirs = starter.clone();
    let shared = Resource::new(move || theirs.start());
    ask(move || use_it(&shared));
    println!("  {CALLERS} callers, {} start", starter.starts.get());
}

fn failing() {
    println!("coordinated, and the first start fails");
    let starter = Rc::new(Starter::default());
    starter.failures.set(1);
    let theirs = starter.clone();
    let shared = Resource::new(move || theirs.start());
    let later = shared.clone();
    ask(move || use_it(&shared));
    let again = later.get().map(|database| database.number);
    match again {
        Ok(number) => println!("  a later caller uses database {number}"),
        Err(error) => println!("  a later caller is told: {error}"),
    }
    println!("  {} callers, {} starts", CALLERS + 1, starter.starts.get());
}

fn main() -> Result<(), ethreads::RunError> {
    ethreads::run_main(|| {
        naive();
        coordinated();
        failing();
    })
}
