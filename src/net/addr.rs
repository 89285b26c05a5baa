//! Conversion of literals and host names to socket addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::panic::Location;
use std::{iter, option, slice, vec};

use crate::runtime::base::wait::CallSite;
use crate::runtime::io::source::check_world;
use crate::runtime::task::pool;

/// What can be turned into socket addresses, as [`std::net::ToSocketAddrs`].
///
/// Addresses and literals are converted at once. A name is looked up by the system's resolver on an
/// OS thread of the pool while the calling ethread is suspended; other ethreads run meanwhile.
///
/// # Examples
///
/// ```
/// use ethreads::net::ToSocketAddrs;
///
/// ethreads::run_main(|| {
///     let literal: Vec<_> = "127.0.0.1:80".to_socket_addrs()?.collect();
///     assert_eq!(literal, ["127.0.0.1:80".parse().unwrap()]);
///     assert!(("localhost", 80).to_socket_addrs()?.all(|addr| addr.ip().is_loopback()));
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they should be tried.
    type Iter: Iterator<Item = SocketAddr>;

    /// Converts at once, or looks a name up; suspends the ethread for a look-up.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a string that names no host and port; the errors of the resolver;
    /// `Unsupported` for a name under the simulation driver.
    ///
    /// # Cancellation
    ///
    /// A look-up is a suspension point. A cancelled one goes on in the pool, and its result is
    /// dropped.
    #[track_caller]
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Calls `f` with each address until it succeeds; otherwise returns the last error.
#[track_caller]
pub(super) fn each_addr<A: ToSocketAddrs, T>(
    addr: A,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for addr in addr.to_socket_addrs()? {
        match f(addr) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| invalid("could not resolve to any addresses")))
}

#[cold]
pub(super) fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn look_up(host: &str, port: u16, location: CallSite) -> io::Result<vec::IntoIter<SocketAddr>> {
    check_world()?;
    let host = host.to_owned();
    let resolve = move || {
        let addrs = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))?;
        Ok(addrs.collect::<Vec<_>>().into_iter())
    };
    pool::run_io(resolve, location)?
}

/// One address, which is converted at once.
macro_rules! one_addr {
    ($($Addr:ty),+) => {$(
        impl ToSocketAddrs for $Addr {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                Ok(Some(SocketAddr::from(*self)).into_iter())
            }
        }
    )+};
}

one_addr!(SocketAddr, SocketAddrV4, SocketAddrV6);
one_addr!((IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => look_up(host, port, Location::caller()),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(addr) = self.parse() {
            return Ok(vec![addr].into_iter());
        }
        let (host, port) = self
            .rsplit_once(':')
            .ok_or_else(|| invalid("invalid socket address"))?;
        let port = port.parse().map_err(|_| invalid("invalid port value"))?;
        (host, port).to_socket_addrs()
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Copied<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().copied())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}
