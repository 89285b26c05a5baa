//! Conversions of sockets from and to descriptors and std's types.

// `FromRawFd` is an unsafe trait: its caller is responsible for the descriptor.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::socket::Socket;
use super::unix::{UnixDatagram, UnixListener, UnixStream};
use super::{TcpListener, TcpStream, UdpSocket};
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::Source;

/// All sockets convert in the same way: an incoming descriptor is made non-blocking; an outgoing
/// one is deregistered first, and made blocking again unless `set_nonblocking` was called.
macro_rules! conversions {
    ($($ours:ident from $std:ty;)+) => {$(
        impl AsFd for $ours {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket().fd()
            }
        }

        impl Source for $ours {
            fn registration(&self) -> &Registration {
                self.socket().registration()
            }
        }

        impl AsRawFd for $ours {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl From<OwnedFd> for $ours {
            /// Switches the descriptor to non-blocking mode.
            fn from(fd: OwnedFd) -> Self {
                Self::from_socket(Socket::adopt(fd))
            }
        }

        impl From<$ours> for OwnedFd {
            /// Restores the blocking mode, unless `set_nonblocking` was called.
            fn from(socket: $ours) -> Self {
                socket.into_socket().into_std().into()
            }
        }

        impl FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller guarantees what this function demands: `fd` is open and owned.
                Self::from(unsafe { OwnedFd::from_raw_fd(fd) })
            }
        }

        impl IntoRawFd for $ours {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl From<$std> for $ours {
            /// Switches the descriptor to non-blocking mode.
            fn from(socket: $std) -> Self {
                Self::from(OwnedFd::from(socket))
            }
        }

        impl From<$ours> for $std {
            /// Restores the blocking mode, unless `set_nonblocking` was called.
            fn from(socket: $ours) -> Self {
                socket.into_socket().into_std()
            }
        }
    )+};
}

conversions! {
    TcpListener from std::net::TcpListener;
    TcpStream from std::net::TcpStream;
    UdpSocket from std::net::UdpSocket;
    UnixStream from std::os::unix::net::UnixStream;
    UnixListener from std::os::unix::net::UnixListener;
    UnixDatagram from std::os::unix::net::UnixDatagram;
}
