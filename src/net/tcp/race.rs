//! Connecting to one of several addresses: happy eyeballs, RFC 8305.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::socket::Socket;
use crate::runtime::base::wait::CallSite;
use crate::runtime::driver::socket;
use crate::runtime::scheduler::current;
use crate::sync::select::{Either, Operation, any, at, perform_io, writable};
use crate::time::Instant;

type Attempt = Socket<std::net::TcpStream>;

/// How long an attempt may take before the next one begins: the "Connection Attempt Delay" that RFC
/// 8305 recommends in section 5.
const DELAY: Duration = Duration::from_millis(250);

/// Whether a wait for several attempts is possible here.
pub(super) fn can_be_held() -> bool {
    current::with(|scheduler| scheduler.is_some()) && !std::thread::panicking()
}

/// Connects to the first of the addresses that accepts.
///
/// One ethread waits for all attempts that are under way, and for the time of the next one. The
/// attempts that have not won are closed with their list, however this function ends.
///
/// # Errors
///
/// That of the attempt that was the last to fail; `TimedOut` at the deadline of a scope.
pub(super) fn connect(addrs: Vec<SocketAddr>, location: CallSite) -> io::Result<Attempt> {
    let mut left = interleave(addrs).into_iter();
    // In the order in which they began.
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut next_at = Instant::now();
    loop {
        let failed = match wait(&attempts, left.len() > 0, next_at, location) {
            Ok(Event::Due) => {
                let addr = left.next().expect("only then a time is waited for");
                match begin(&addr) {
                    Ok((socket, true)) => return Ok(socket),
                    Ok((socket, false)) => {
                        attempts.push(socket);
                        next_at = Instant::now() + DELAY;
                        continue;
                    }
                    // The next attempt is already due.
                    Err(error) => error,
                }
            }
            Ok(Event::Ready(place, ready)) => {
                match ready.and_then(|()| is_connected(&attempts[place])) {
                    Ok(true) => return Ok(attempts.swap_remove(place)),
                    Ok(false) => continue,
                    Err(error) => {
                        attempts.remove(place);
                        // This was the latest attempt, so the next one has no reason to wait any
                        // longer.
                        if place == attempts.len() {
                            next_at = Instant::now();
                        }
                        error
                    }
                }
            }
            Err(error) => {
                // A connection that was made in time counts, even if it was not reported yet.
                let stands = |socket: &Attempt| matches!(is_connected(socket), Ok(true));
                return attempts.into_iter().find(stands).ok_or(error);
            }
        };
        if attempts.is_empty() && left.len() == 0 {
            return Err(failed);
        }
    }
}

/// Begins to connect; false means that the attempt goes on, and [`is_connected`] tells the outcome.
fn begin(addr: &SocketAddr) -> io::Result<(Attempt, bool)> {
    let attempt = Attempt::new(socket::tcp(addr)?);
    let connected = has_succeeded(socket::connect(attempt.fd(), addr))?;
    Ok((attempt, connected))
}

fn is_connected(attempt: &Attempt) -> io::Result<bool> {
    has_succeeded(socket::connected(attempt.fd()))
}

/// Whether an attempt has led to a connection; false if it goes on, as an interrupted connect does
/// too (connect(2)).
fn has_succeeded(result: io::Result<()>) -> io::Result<bool> {
    use io::ErrorKind::{Interrupted, WouldBlock};
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}

enum Event {
    /// The attempt in this place may have ended.
    Ready(usize, io::Result<()>),
    /// The next attempt is to begin.
    Due,
}

fn wait(
    attempts: &[Attempt],
    has_next: bool,
    next_at: Instant,
    location: CallSite,
) -> io::Result<Event> {
    let ends = any(attempts.iter().map(writable)).map(|(place, ready)| Event::Ready(place, ready));
    if !has_next {
        return perform_io(ends, location);
    }
    let event = ends.or(at(next_at)).map(|event| match event {
        Either::First(end) => end,
        Either::Second(()) => Event::Due,
    });
    perform_io(event, location)
}

/// Alternates the two families, so that an unreachable family does not hold up the other; the first
/// address stays the first one (RFC 8305, section 4).
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_with_ipv6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs
        .into_iter()
        .partition(|addr| addr.is_ipv6() == begins_with_ipv6);
    let mut turns = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return turns,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For `46` the first address is an IPv4 one, the second an IPv6 one; the port is the index.
    fn addrs(families: &str) -> Vec<SocketAddr> {
        let addr = |(port, family)| match family {
            '4' => SocketAddr::from(([127, 0, 0, 1], port)),
            _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
        };
        (0..).zip(families.chars()).map(addr).collect()
    }

    #[test]
    fn families_take_turns_in_their_own_order() {
        let table: [(&str, &[u16]); 8] = [
            ("", &[]),
            ("4", &[0]),
            ("44", &[0, 1]),
            ("46", &[0, 1]),
            ("6644", &[0, 2, 1, 3]),
            ("4466", &[0, 2, 1, 3]),
            ("66664", &[0, 4, 1, 2, 3]),
            ("46664", &[0, 1, 4, 2, 3]),
        ];
        for (families, expected) in table {
            let ports = interleave(addrs(families)).into_iter();
            let ports: Vec<_> = ports.map(|addr| addr.port()).collect();
            assert_eq!(ports, expected, "{families}");
        }
    }
}
