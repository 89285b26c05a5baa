//! Conversions from and to descriptors and std's types.
#![forbid(unsafe_code)]

/// Implements the conversions of a handle, a tuple of one owner of a descriptor:
/// `conversions!(descriptor of Stdin);` those that lend the descriptor, and
/// `conversions!(TcpStream of Socket, std::net::TcpStream);` all conversions, for an owner with
/// `adopt` and `into_inner`. The caller imports what these name.
///
/// An incoming descriptor is made non-blocking. An outgoing one is deregistered first, and made
/// blocking again unless the program has asked for the non-blocking mode.
macro_rules! conversions {
    (descriptor of $ours:ident) => {
        impl AsFd for $ours {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $ours {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }
    };
    ($ours:ident of $Owner:ident, $std:ty) => {
        conversions!(descriptor of $ours);

        impl Source for $ours {
            fn registration(&self) -> &Registration {
                self.0.registration()
            }
        }

        impl From<OwnedFd> for $ours {
            /// Switches the descriptor to non-blocking mode.
            fn from(fd: OwnedFd) -> Self {
                Self($Owner::adopt(fd))
            }
        }

        impl From<$ours> for OwnedFd {
            /// Restores the blocking mode, unless the program has asked for the other mode.
            fn from(ours: $ours) -> Self {
                ours.0.into_inner().into()
            }
        }

        impl From<$std> for $ours {
            /// Switches the descriptor to non-blocking mode.
            fn from(std: $std) -> Self {
                Self::from(OwnedFd::from(std))
            }
        }

        impl From<$ours> for $std {
            /// Restores the blocking mode, unless the program has asked for the other mode.
            fn from(ours: $ours) -> Self {
                Self::from(OwnedFd::from(ours))
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
    };
}

pub(crate) use conversions;
