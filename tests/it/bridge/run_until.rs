//! `run_until`: ordinary code drives the scheduler until a value comes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use ethreads::bridge::{self, Exit, Suspended};
use ethreads::net::{TcpListener, TcpStream};
use ethreads::{RunError, spawn, thread};

use crate::support::{collect_log, deadlock, fresh, text};

/// A log to which all ethreads of a test append.
type Log = Rc<RefCell<Vec<&'static str>>>;

/// The slot where ethreads find the exit of a run.
type Door<T> = Rc<RefCell<Option<Exit<T>>>>;

fn finish<T>(door: &Door<T>, value: T) {
    door.take().expect("a run lasts until this").finish(value);
}

fn run_until_finished<T>(door: &Door<T>) -> Result<T, RunError> {
    bridge::run_until(|exit| *door.borrow_mut() = Some(exit))
}

#[test]
fn it_returns_right_after_the_closure_and_before_others_that_are_ready() {
    fresh(|| {
        let (log, door) = (Log::default(), Door::default());
        let (theirs, exit) = (log.clone(), door.clone());
        spawn(move || {
            theirs.borrow_mut().push("suspends");
            bridge::suspend(|me: Suspended<()>| {
                // The suspended ethread becomes ready, but does not run either.
                me.resume(()).unwrap();
                finish(&exit, 1);
                theirs.borrow_mut().push("end of closure");
            });
            theirs.borrow_mut().push("resumed");
        });
        let theirs = log.clone();
        spawn(move || theirs.borrow_mut().push("ready"));
        assert_eq!(run_until_finished(&door).unwrap(), 1);
        assert_eq!(*log.borrow(), ["suspends", "end of closure"]);
        // All ethreads are where they were.
        ethreads::run().unwrap();
        assert_eq!(log.borrow()[2..], ["ready", "resumed"]);
    });
}

#[test]
fn an_ethread_that_finishes_it_goes_on_to_its_next_wait() {
    fresh(|| {
        let (log, door) = (Log::default(), Door::default());
        let (theirs, exit) = (log.clone(), door.clone());
        spawn(move || {
            finish(&exit, "value");
            theirs.borrow_mut().push("before its wait");
            thread::yield_now();
            theirs.borrow_mut().push("after its wait");
        });
        let theirs = log.clone();
        spawn(move || theirs.borrow_mut().push("ready"));
        assert_eq!(run_until_finished(&door).unwrap(), "value");
        assert_eq!(*log.borrow(), ["before its wait"]);
        ethreads::run().unwrap();
        assert_eq!(log.borrow()[1..], ["ready", "after its wait"]);
    });
}

#[test]
fn one_that_is_finished_at_once_runs_nothing() {
    fresh(|| {
        let ran = Rc::new(Cell::new(false));
        let flag = ran.clone();
        spawn(move || flag.set(true));
        assert_eq!(bridge::run_until(|exit| exit.finish(5)).unwrap(), 5);
        assert!(!ran.get());
        ethreads::run().unwrap();
        assert!(ran.get());
    });
}

#[test]
fn a_promise_without_a_resolver_is_an_error() {
    fresh(|| {
        let dropped = bridge::run_until::<()>(drop);
        assert!(matches!(dropped, Err(RunError::Abandoned)));

        // An ethread drops the exit, while another ethread could go on for ever.
        let sleeper = spawn(|| thread::sleep(Duration::from_secs(3600)));
        let door: Door<()> = Rc::default();
        let theirs = door.clone();
        let idle = thread::Builder::new()
            .name("idle")
            .spawn(move || {
                drop(theirs.take());
                thread::park();
            })
            .unwrap();
        assert!(matches!(
            run_until_finished(&door),
            Err(RunError::Abandoned)
        ));
        sleeper.cancel();

        // The ethread that holds the exit is stuck itself. It may finish a run that is over.
        let theirs = door.clone();
        let holder = spawn(move || {
            let exit = theirs.take().unwrap();
            thread::park();
            exit.finish(());
        });
        deadlock(run_until_finished(&door));
        holder.thread().unpark();
        idle.thread().unpark();
        ethreads::run().unwrap();
        assert_eq!(bridge::run_until(|exit| exit.finish(3)).unwrap(), 3);
    });
}

#[test]
fn runs_nest_and_each_waits_for_its_own() {
    fresh(|| {
        let (outer, inner) = (Door::default(), Door::default());
        let (first, second) = (outer.clone(), inner.clone());
        spawn(move || {
            // The value of the outer run comes while the inner run is active.
            finish(&first, "outer");
            thread::yield_now();
            finish(&second, "inner");
            thread::yield_now();
        });
        let value = bridge::run_until(|exit| {
            *outer.borrow_mut() = Some(exit);
            assert_eq!(run_until_finished(&inner).unwrap(), "inner");
        });
        assert_eq!(value.unwrap(), "outer");
        ethreads::run().unwrap();
    });
}

#[test]
fn a_panic_of_the_beginning_leaves_the_shard_as_it_is() {
    fresh(|| {
        let door: Door<u8> = Rc::default();
        let theirs = door.clone();
        let begins = AssertUnwindSafe(|| {
            bridge::run_until::<u8>(|exit| {
                *theirs.borrow_mut() = Some(exit);
                panic!("in the beginning")
            })
        });
        let payload = panic::catch_unwind(begins).unwrap_err();
        assert_eq!(text(&*payload), "in the beginning");
        let late = door.clone();
        spawn(move || finish(&late, 1));
        ethreads::run().unwrap();
        assert!(door.borrow().is_none());
    });
}

#[test]
fn a_panic_without_a_join_is_counted_by_the_next_run() {
    collect_log();
    fresh(|| {
        let door = Door::default();
        let theirs = door.clone();
        spawn(|| panic!("while it ran until something else"));
        spawn(move || finish(&theirs, ()));
        run_until_finished(&door).unwrap();
        assert!(matches!(ethreads::run(), Err(RunError::Panicked(1))));
        ethreads::run().unwrap();
    });
}

#[test]
fn timers_and_sockets_go_on_in_the_next_run() {
    fresh(|| {
        let door = Door::default();
        let exit = door.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            finish(&exit, "accepted");
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let client = spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            thread::sleep(Duration::from_millis(1));
            stream.write_all(b"later").unwrap();
        });
        assert_eq!(run_until_finished(&door).unwrap(), "accepted");
        assert!(!client.is_finished() && !server.is_finished());
        ethreads::run().unwrap();
        client.join().unwrap();
        assert_eq!(server.join().unwrap(), "later");
    });
}

/// A request and the client that waits for its answer.
type Asked = (String, Suspended<String>);

/// A server in the style of Guile's: the loops of the framework, of the acceptor and of each client
/// are plain loops, and each has its own control flow.
#[derive(Default)]
struct Web {
    /// The exit of the framework's wait for a request.
    reader: Door<Asked>,
    /// Requests that came while the framework did something else.
    asked: RefCell<VecDeque<Asked>>,
}

impl Web {
    fn listen(self: &Rc<Self>) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let web = self.clone();
        let acceptor = move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                let web = web.clone();
                spawn(move || web.serve(stream));
            }
        };
        let acceptor = thread::Builder::new().daemon(true).spawn(acceptor);
        drop(acceptor.unwrap());
        addr
    }

    /// The loop of a client: sends each request to the framework, and writes the answer.
    fn serve(&self, stream: TcpStream) {
        for line in BufReader::new(&stream).lines() {
            let request = line.unwrap();
            let answer = bridge::suspend(|me| match self.reader.take() {
                Some(exit) => exit.finish((request, me)),
                None => self.asked.borrow_mut().push_back((request, me)),
            });
            writeln!(&stream, "{answer}").unwrap();
        }
    }

    /// The framework's side: returns the next request of any client.
    fn read(&self) -> Asked {
        let asked = self.asked.borrow_mut().pop_front();
        asked.unwrap_or_else(|| run_until_finished(&self.reader).unwrap())
    }
}

#[test]
fn a_framework_an_acceptor_and_clients_are_each_in_charge() {
    const CLIENTS: usize = 3;
    const REQUESTS: usize = 4;
    fresh(|| {
        let web = Rc::new(Web::default());
        let addr = web.listen();
        let peers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                spawn(move || {
                    let stream = TcpStream::connect(addr).unwrap();
                    let mut answers = BufReader::new(&stream).lines();
                    for n in 0..REQUESTS {
                        writeln!(&stream, "{client}.{n}").unwrap();
                        let answer = answers.next().unwrap().unwrap();
                        assert_eq!(answer, format!("re: {client}.{n}"));
                    }
                })
            })
            .collect();
        // The framework: a plain loop on the OS thread's own stack.
        let mut seen = vec![0; CLIENTS];
        for _ in 0..CLIENTS * REQUESTS {
            let (request, client) = web.read();
            let (number, n) = request.split_once('.').unwrap();
            let number: usize = number.parse().unwrap();
            assert_eq!(n.parse(), Ok(seen[number]), "each client's in order");
            seen[number] += 1;
            client.resume(format!("re: {request}")).unwrap();
        }
        assert_eq!(seen, [REQUESTS; CLIENTS]);
        // The last answers are still on their way.
        ethreads::run().unwrap();
        peers.into_iter().for_each(|peer| peer.join().unwrap());
    });
}
