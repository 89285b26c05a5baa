//! Conversions of sockets from and to descriptors and std's types.

// `FromRawFd` is an unsafe trait: its caller is responsible for the descriptor.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::socket::Socket;
use super::unix::{UnixDatagram, UnixListener, UnixStream};
use super::{TcpListener, TcpStream, UdpSocket};
use crate::io::conversions;
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::Source;

conversions!(TcpListener of Socket, std::net::TcpListener);
conversions!(TcpStream of Socket, std::net::TcpStream);
conversions!(UdpSocket of Socket, std::net::UdpSocket);
conversions!(UnixStream of Socket, std::os::unix::net::UnixStream);
conversions!(UnixListener of Socket, std::os::unix::net::UnixListener);
conversions!(UnixDatagram of Socket, std::os::unix::net::UnixDatagram);
