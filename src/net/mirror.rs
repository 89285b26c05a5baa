//! The methods of std that several kinds of sockets have, each in one place.
#![forbid(unsafe_code)]

/// Gives a socket, a tuple of one `Socket`, a group of methods: `mirror!(timeouts of UdpSocket);`.
macro_rules! mirror {
    (handle of $Socket:ident) => {
        impl $Socket {
            #[inline]
            pub(in crate::net) fn from_socket(socket: Socket) -> Self {
                Self(socket)
            }

            pub(in crate::net) fn into_socket(self) -> Socket {
                self.0
            }

            pub(in crate::net) fn socket(&self) -> &Socket {
                &self.0
            }

            fn fd(&self) -> BorrowedFd<'_> {
                self.0.fd()
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
                socket::take_error(self.fd())
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
    (timeouts of $Socket:ident) => {
        impl $Socket {
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
    (ttl of $Socket:ident) => {
        impl $Socket {
            /// Sets `IP_TTL`.
            ///
            /// # Errors
            ///
            /// Those of setsockopt(2).
            pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
                socket::set_ttl(self.fd(), ttl)
            }

            /// Returns `IP_TTL`.
            ///
            /// # Errors
            ///
            /// Those of getsockopt(2).
            pub fn ttl(&self) -> io::Result<u32> {
                socket::ttl(self.fd())
            }
        }
    };
}

pub(super) use mirror;
