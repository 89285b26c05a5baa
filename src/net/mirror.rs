//! The methods of std that several kinds of sockets have, each in one place.
#![forbid(unsafe_code)]

/// Gives a socket, a tuple of one `Socket`, a group of methods: `mirror!(ttl of UdpSocket);`.
/// The caller imports what these name.
///
/// `tests/tidy.rs` reads these lines: it takes `$Stream` for each type in `mirror!(stream of ...)`.
macro_rules! mirror {
    (socket of $Socket:ident, $Addr:ty) => {
        impl fmt::Debug for $Socket {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.std().fmt(f)
            }
        }

        impl $Socket {
            /// Returns the socket's own address.
            ///
            /// # Errors
            ///
            /// Those of getsockname(2).
            pub fn local_addr(&self) -> io::Result<$Addr> {
                self.0.std().local_addr()
            }

            /// Returns another handle of the same socket. Timeouts and the non-blocking flag are
            /// common to both.
            ///
            /// # Errors
            ///
            /// Those of dup(2), for example when there are too many open files.
            pub fn try_clone(&self) -> io::Result<Self> {
                self.0.try_clone().map(Self)
            }

            /// Takes the socket's stored error (`SO_ERROR`).
            ///
            /// # Errors
            ///
            /// Those of getsockopt(2).
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.std().take_error()
            }

            /// Lets operations that would wait fail with `WouldBlock` instead. This is a flag of
            /// the handle and its clones, not of accepted streams; the descriptor itself is always
            /// non-blocking.
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.0.set_nonblocking(nonblocking);
                Ok(())
            }
        }
    };
    (peer of $Socket:ident, $Addr:ty) => {
        impl $Socket {
            /// Returns the address of the peer.
            ///
            /// # Errors
            ///
            /// `NotConnected` if the socket is not connected, or the connection is gone.
            pub fn peer_addr(&self) -> io::Result<$Addr> {
                self.0.std().peer_addr()
            }

            /// Sets how long an operation may wait to read or receive before it fails with
            /// `TimedOut`; `None` is for ever.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for zero.
            pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_timeout(Direction::Read, timeout)
            }

            /// Sets how long an operation may wait to write or send before it fails with
            /// `TimedOut`; `None` is for ever.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for zero.
            pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_timeout(Direction::Write, timeout)
            }

            /// Returns what [`set_read_timeout`](Self::set_read_timeout) has set.
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.timeout(Direction::Read))
            }

            /// Returns what [`set_write_timeout`](Self::set_write_timeout) has set.
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.timeout(Direction::Write))
            }
        }
    };
    // Calls of std's socket: `mirror!(calls of UdpSocket { fn ttl(&self) -> io::Result<u32>; });`.
    (calls of $Socket:ident {$(
        $(#[$docs:meta])*
        fn $name:ident(&self $(, $arg:ident: $Arg:ty)*) -> $Result:ty;
    )+}) => {
        impl $Socket {$(
            $(#[$docs])*
            pub fn $name(&self $(, $arg: $Arg)*) -> $Result {
                self.0.std().$name($($arg),*)
            }
        )+}
    };
    (shutdown of $Socket:ident) => {
        mirror!(calls of $Socket {
            /// Shuts down the reading half, the writing half or both. All waiters there are woken:
            /// a read returns `Ok(0)`, a write fails.
            ///
            /// # Errors
            ///
            /// `NotConnected` if the socket is not connected, or the connection is gone.
            fn shutdown(&self, how: Shutdown) -> io::Result<()>;
        });
    };
    (ttl of $Socket:ident) => {
        mirror!(calls of $Socket {
            /// Sets `IP_TTL`.
            ///
            /// # Errors
            ///
            /// Those of setsockopt(2).
            fn set_ttl(&self, ttl: u32) -> io::Result<()>;

            /// Returns `IP_TTL`.
            ///
            /// # Errors
            ///
            /// Those of getsockopt(2).
            fn ttl(&self) -> io::Result<u32>;
        });
    };
    // `$addr` makes the address of the peer of what the system returns.
    (datagram of $Datagram:ident, $Addr:ty, $addr:path) => {
        impl $Datagram {
            /// Receives a datagram and its sender; suspends the ethread until one comes. Bytes that
            /// do not fit into the buffer are lost.
            ///
            /// # Errors
            ///
            /// `TimedOut` after the read timeout; those of recvfrom(2), errors of earlier datagrams
            /// among them.
            ///
            /// # Cancellation
            ///
            /// A cancelled ethread unwinds from here; no datagram is lost.
            #[track_caller]
            pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, $Addr)> {
                let (n, from) = self.0.recv_from(buf, false)?;
                Ok((n, $addr(from)?))
            }

            /// Receives a datagram; suspends the ethread until one comes. Bytes that do not fit
            /// into the buffer are lost. A connected socket receives from its peer only.
            ///
            /// # Errors
            ///
            /// As [`recv_from`](Self::recv_from).
            ///
            /// # Cancellation
            ///
            /// As [`recv_from`](Self::recv_from).
            #[track_caller]
            pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.recv(buf, false)
            }

            /// Sends a datagram to the connected address; suspends the ethread until there is room
            /// for it.
            ///
            /// # Errors
            ///
            /// As [`send_to`](Self::send_to); `ConnectionRefused` if no socket was at the address
            /// of an earlier datagram.
            ///
            /// # Cancellation
            ///
            /// A cancelled ethread unwinds from here, and nothing was sent.
            #[track_caller]
            pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
                self.0.send(buf)
            }
        }
    };
    (pair of $Socket:ident, $pair:path) => {
        impl $Socket {
            /// Makes two sockets that are connected with each other.
            ///
            /// # Errors
            ///
            /// Those of socketpair(2); `Unsupported` under the simulation driver.
            pub fn pair() -> io::Result<(Self, Self)> {
                check_world()?;
                let (a, b) = $pair()?;
                Ok((Self(Socket::new(a)), Self(Socket::new(b))))
            }
        }
    };
    (listener of $Listener:ident, $Stream:ident, $Addr:ty, $addr:path) => {
        impl $Listener {
            /// Accepts a connection; suspends the ethread until there is one. Of several waiting
            /// ethreads, the one that has waited longest is served first.
            ///
            /// # Errors
            ///
            /// Those of accept(2). Some concern one connection (`ConnectionAborted`), some are
            /// temporary (too many open files); the listener stays usable, and the call can be
            /// repeated.
            ///
            /// # Cancellation
            ///
            /// A cancelled ethread unwinds from here; no connection is lost.
            #[inline]
            #[track_caller]
            pub fn accept(&self) -> io::Result<($Stream, $Addr)> {
                let (stream, from) = self.0.accept()?;
                Ok(($Stream(stream), $addr(from)?))
            }

            /// Returns an iterator of [`accept`](Self::accept)ed connections, which never ends.
            /// Each step suspends the ethread like an accept.
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { listener: self }
            }
        }

        #[doc = concat!(
            "The connections that a listener accepts. Made by [`",
            stringify!($Listener),
            "::incoming`].",
        )]
        #[derive(Debug)]
        #[must_use = "nothing is accepted before the iterator is asked"]
        pub struct Incoming<'a> {
            listener: &'a $Listener,
        }

        impl Iterator for Incoming<'_> {
            type Item = io::Result<$Stream>;

            #[track_caller]
            fn next(&mut self) -> Option<Self::Item> {
                Some(self.listener.accept().map(|(stream, _)| stream))
            }
        }
    };
    // `$left` says what is left after so many bytes of those asked for were moved.
    (stream of $Stream:ident, $left:expr) => {
        impl Read for &$Stream {
            /// Reads what has arrived; suspends the ethread until there is data, or the read
            /// timeout is over (`TimedOut`). `Ok(0)` is the end.
            #[inline]
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.read(buf, $left)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_vectored(bufs, $left)
            }
        }

        impl Write for &$Stream {
            /// Writes as much as the connection takes at once; suspends the ethread until there is
            /// room, or the write timeout is over (`TimedOut`).
            #[inline]
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.write(buf, $left)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.0.write_vectored(bufs, $left)
            }

            /// Does nothing: nothing is buffered here.
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        by_value!(impl Read for $Stream);
        by_value!(impl Write for $Stream);
    };
}

pub(super) use mirror;
