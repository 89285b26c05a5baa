//! The hostile value: one type with many traits. A chosen trait method does a chosen hostile act
//! when the library calls it.

// The source type of the conversions is of this crate, the target types are not.
#![allow(clippy::from_over_into)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use ethreads::sync::{Mutex, channel};
use ethreads::{bridge, net, runtime, thread, time};

/// What a hostile value does when the library calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostility {
    Panic,
    /// With a payload that panics when it is dropped.
    PanicAgain,
    /// With a payload that waits when it is dropped.
    PanicAndWait,
    Yield,
    Sleep,
    Spawn,
    /// Takes a mutex that another ethread holds.
    Lock,
    /// Sends to another ethread on a channel without capacity.
    Send,
    /// Waits for an OS thread of the pool.
    Offload,
    /// Runs into a deadline of its own.
    Elapse,
    CancelSelf,
    /// Calls back into the object under test.
    Reenter,
}

pub(crate) const ALL: [Hostility; 12] = [
    Hostility::Panic,
    Hostility::PanicAgain,
    Hostility::PanicAndWait,
    Hostility::Yield,
    Hostility::Sleep,
    Hostility::Spawn,
    Hostility::Lock,
    Hostility::Send,
    Hostility::Offload,
    Hostility::Elapse,
    Hostility::CancelSelf,
    Hostility::Reenter,
];

impl Hostility {
    pub(crate) fn panics(self) -> bool {
        matches!(self, Self::Panic | Self::PanicAgain | Self::PanicAndWait)
    }

    /// Whether the call in which it happens unwinds.
    pub(crate) fn unwinds(self) -> bool {
        self.panics() || self == Self::CancelSelf
    }
}

thread_local! {
    /// What [`Hostility::Reenter`] calls.
    static AGAIN: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    /// The kit of values that `Default` makes.
    static KIT: RefCell<Option<Kit>> = const { RefCell::new(None) };
}

/// The state that the values of one run of a row share.
#[derive(Clone, Debug)]
pub(crate) struct Kit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hostility: Hostility,
    /// The method that is hostile.
    at: &'static str,
    /// How many more calls of the method are hostile.
    armed: AtomicUsize,
    /// How many calls of the method come before the hostile ones.
    spared: AtomicUsize,
    strikes: AtomicUsize,
    born: AtomicUsize,
    dropped: AtomicUsize,
    /// The path and the address that a value converts to.
    path: OnceLock<PathBuf>,
    addr: OnceLock<SocketAddr>,
}

impl Kit {
    pub(crate) fn new(at: &'static str, hostility: Hostility) -> Self {
        let kit = Self(Arc::new(Shared {
            hostility,
            at,
            armed: AtomicUsize::new(0),
            spared: AtomicUsize::new(0),
            strikes: AtomicUsize::new(0),
            born: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            path: OnceLock::new(),
            addr: OnceLock::new(),
        }));
        AGAIN.set(None);
        KIT.set(Some(kit.clone()));
        kit
    }

    /// The kit of the run on this OS thread.
    pub(crate) fn of_this_thread() -> Option<Self> {
        KIT.try_with(|kit| kit.borrow().clone()).ok().flatten()
    }

    /// Makes this the kit of the current OS thread, too.
    pub(crate) fn enter(&self) {
        KIT.set(Some(self.clone()));
    }

    pub(crate) fn hostility(&self) -> Hostility {
        self.0.hostility
    }

    /// Makes values hostile in `times` calls from now on, after `spared` other calls.
    pub(crate) fn arm(&self, times: usize, spared: usize) {
        self.0.spared.store(spared, Ordering::SeqCst);
        self.0.armed.store(times, Ordering::SeqCst);
    }

    pub(crate) fn strikes(&self) -> usize {
        self.0.strikes.load(Ordering::SeqCst)
    }

    /// How many values have been made, and how many of them were dropped.
    pub(crate) fn lives(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (load(&self.0.born), load(&self.0.dropped))
    }

    /// Sets what [`Hostility::Reenter`] calls on this OS thread.
    pub(crate) fn again(&self, again: impl Fn() + 'static) {
        AGAIN.set(Some(Rc::new(again)));
    }

    pub(crate) fn value(&self) -> Hostile {
        self.0.born.fetch_add(1, Ordering::SeqCst);
        Hostile { kit: self.clone() }
    }

    pub(crate) fn path(&self, path: impl Into<PathBuf>) -> Hostile {
        let _ = self.0.path.set(path.into());
        self.value()
    }

    pub(crate) fn addr(&self, addr: SocketAddr) -> Hostile {
        let _ = self.0.addr.set(addr);
        self.value()
    }

    /// A descriptor whose owner is hostile.
    pub(crate) fn fd(&self, fd: impl Into<OwnedFd>) -> Port {
        Port {
            fd: fd.into(),
            hostile: self.value(),
        }
    }

    /// A hostile writer for the text of a value.
    pub(crate) fn pen(&self) -> Pen {
        Pen {
            kit: self.clone(),
            text: String::new(),
        }
    }

    /// The hostile act of a closure.
    pub(crate) fn call(&self) {
        self.strike("Fn");
    }

    pub(crate) fn strike(&self, at: &'static str) {
        let shared = &*self.0;
        // An unwind or a wait during a panic would abort the process, as documented.
        if shared.at != at || std::thread::panicking() {
            return;
        }
        // Takes one, if there is one.
        let take = |count: &AtomicUsize| {
            let one_less = |count: usize| count.checked_sub(1);
            let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            taken.is_ok()
        };
        if take(&shared.spared) || !take(&shared.armed) {
            return;
        }
        shared.strikes.fetch_add(1, Ordering::SeqCst);
        act(shared.hostility);
    }
}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic::resume_unwind(Box::new("a payload was dropped"));
        }
    }
}

/// Waits when it is dropped.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        if !std::thread::panicking() && runtime::stats().is_some() {
            thread::yield_now();
        }
    }
}

fn act(hostility: Hostility) {
    match hostility {
        // `resume_unwind` bypasses the panic hook, which would print every payload.
        Hostility::Panic => panic::resume_unwind(Box::new("hostile")),
        Hostility::PanicAgain => panic::resume_unwind(Box::new(Explosive)),
        Hostility::PanicAndWait => panic::resume_unwind(Box::new(Slow)),
        Hostility::Reenter => {
            let again = AGAIN.with_borrow(Clone::clone);
            if let Some(again) = again {
                again();
            }
        }
        // An OS thread of the pool has no scheduler for the remaining acts.
        _ if runtime::stats().is_none() => {}
        Hostility::Yield => thread::yield_now(),
        Hostility::Sleep => thread::sleep(Duration::from_micros(50)),
        Hostility::Spawn => {
            drop(thread::spawn(thread::yield_now));
            thread::spawn(thread::yield_now).join().unwrap();
        }
        Hostility::Lock => {
            // Leaked, so that the guard can be given to another ethread.
            let mutex: &'static Mutex<()> = Box::leak(Box::default());
            let guard = mutex.lock();
            let holds = thread::spawn(move || drop(guard));
            drop(mutex.lock());
            holds.join().unwrap();
        }
        Hostility::Send => {
            let (sender, receiver) = channel::bounded(0);
            let receives = thread::spawn(move || receiver.recv());
            sender.send(()).unwrap();
            receives.join().unwrap().unwrap();
        }
        Hostility::Offload => bridge::blocking(|| ()),
        Hostility::Elapse => {
            let late = time::timeout(Duration::ZERO, || thread::sleep(Duration::from_secs(3600)));
            late.unwrap_err();
        }
        Hostility::CancelSelf => bridge::suspend(drop),
    }
}

/// A value whose every trait method may be hostile.
pub(crate) struct Hostile {
    kit: Kit,
}

impl Hostile {
    pub(crate) fn strike(&self, at: &'static str) {
        self.kit.strike(at);
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.kit.0.dropped.fetch_add(1, Ordering::SeqCst);
        self.kit.strike("Drop");
    }
}

impl Clone for Hostile {
    fn clone(&self) -> Self {
        self.kit.strike("Clone");
        self.kit.value()
    }
}

impl Default for Hostile {
    fn default() -> Self {
        let kit = KIT.with_borrow(Clone::clone).unwrap();
        kit.strike("Default");
        kit.value()
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kit.strike("Debug");
        f.write_str("Hostile")
    }
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kit.strike("Display");
        f.write_str("hostile")
    }
}

impl Error for Hostile {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kit.strike("Error");
        None
    }
}

impl Hash for Hostile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kit.strike("Hash");
        state.write_u8(1);
    }
}

impl Read for Hostile {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.kit.strike("Read");
        Ok(0)
    }
}

impl Future for Hostile {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.kit.strike("Future");
        Poll::Ready(())
    }
}

impl Wake for Hostile {
    fn wake(self: Arc<Self>) {
        self.kit.strike("Wake");
    }
}

impl AsRef<Path> for Hostile {
    fn as_ref(&self) -> &Path {
        self.kit.strike("AsRef");
        self.kit.0.path.get().unwrap()
    }
}

impl AsRef<[u8]> for Hostile {
    fn as_ref(&self) -> &[u8] {
        self.kit.strike("AsRef");
        b"hostile"
    }
}

impl net::ToSocketAddrs for Hostile {
    type Iter = Each<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.kit.strike("ToSocketAddrs");
        Ok(self.kit.each([*self.kit.0.addr.get().unwrap()]))
    }
}

impl Into<String> for Hostile {
    fn into(self) -> String {
        self.kit.strike("Into");
        "hostile".to_owned()
    }
}

impl Into<Option<usize>> for Hostile {
    fn into(self) -> Option<usize> {
        self.kit.strike("Into");
        Some(1)
    }
}

impl Into<Cow<'static, str>> for Hostile {
    fn into(self) -> Cow<'static, str> {
        self.kit.strike("Into");
        Cow::Borrowed("hostile")
    }
}

#[cfg(feature = "http")]
mod messages {
    use std::fs::File;
    use std::sync::Arc;

    use bytes::Bytes;
    use ethreads::http::Body;
    use http::{HeaderName, HeaderValue};

    use super::Hostile;

    impl From<Hostile> for HeaderName {
        fn from(value: Hostile) -> Self {
            value.strike("Into");
            Self::from_static("x-hostile")
        }
    }

    impl From<Hostile> for HeaderValue {
        fn from(value: Hostile) -> Self {
            value.strike("Into");
            Self::from_static("hostile")
        }
    }

    impl From<Hostile> for Bytes {
        fn from(value: Hostile) -> Self {
            value.strike("Into");
            Self::from_static(b"hostile")
        }
    }

    impl Into<Body> for Hostile {
        fn into(self) -> Body {
            self.strike("Into");
            Body::from("hostile")
        }
    }

    impl Into<Option<HeaderValue>> for Hostile {
        fn into(self) -> Option<HeaderValue> {
            self.strike("Into");
            None
        }
    }

    impl Into<Arc<File>> for Hostile {
        fn into(self) -> Arc<File> {
            self.strike("Into");
            Arc::new(File::open("Cargo.toml").unwrap())
        }
    }
}

/// A descriptor whose owner is hostile.
#[derive(Debug)]
pub(crate) struct Port {
    fd: OwnedFd,
    hostile: Hostile,
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hostile.kit.strike("AsFd");
        self.fd.as_fd()
    }
}

/// A writer of text that may be hostile.
pub(crate) struct Pen {
    kit: Kit,
    pub(crate) text: String,
}

impl fmt::Write for Pen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        self.kit.strike("Write");
        Ok(())
    }
}

/// An iterator that may be hostile.
pub(crate) struct Each<T> {
    kit: Kit,
    left: std::vec::IntoIter<T>,
}

impl Kit {
    pub(crate) fn each<T>(&self, items: impl IntoIterator<Item = T>) -> Each<T> {
        Each {
            kit: self.clone(),
            left: items.into_iter().collect::<Vec<_>>().into_iter(),
        }
    }
}

impl<T> Iterator for Each<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.kit.strike("Iterator");
        self.left.next()
    }
}
