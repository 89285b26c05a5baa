//! Anonymous pipes.

// `FromRawFd` is an unsafe trait: its caller is responsible for the descriptor.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use super::convert::conversions;
use super::eport::Eport;
use crate::runtime::driver::ops;
use crate::runtime::io::by_value::by_value;
use crate::runtime::io::registration::Registration;
use crate::runtime::io::source::{Source, check_world};

/// Makes a pipe, as [`std::io::pipe`].
///
/// # Errors
///
/// Those of pipe(2), for example when there are too many open files; `Unsupported` under the
/// simulation driver.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use ethreads::io;
///
/// ethreads::run_main(|| {
///     let (mut reader, mut writer) = io::pipe()?;
///     ethreads::spawn(move || writer.write_all(b"hello"));
///     let mut text = String::new();
///     reader.read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     std::io::Result::Ok(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    check_world()?;
    let (reader, writer) = ops::pipe()?;
    Ok((
        PipeReader(Eport::adopt(reader)),
        PipeWriter(Eport::adopt(writer)),
    ))
}

/// The reading end of a pipe, as [`std::io::PipeReader`]: a read suspends the ethread until there
/// is something to read or the last writer is gone.
#[derive(Debug)]
pub struct PipeReader(Eport<OwnedFd>);

/// The writing end of a pipe, as [`std::io::PipeWriter`]: a write suspends the ethread until there
/// is room.
#[derive(Debug)]
pub struct PipeWriter(Eport<OwnedFd>);

impl Read for &PipeReader {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(bufs)
    }
}

by_value!(impl Read for PipeReader);

impl Write for &PipeWriter {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_value!(impl Write for PipeWriter);

/// Both ends are alike.
macro_rules! ends {
    ($($end:ident from $std:ty;)+) => {$(
        impl $end {
            /// Returns another handle of this end.
            ///
            /// # Errors
            ///
            /// Those of dup(2), for example when there are too many open files.
            pub fn try_clone(&self) -> io::Result<Self> {
                self.0.get_ref().try_clone().map(Self::from)
            }
        }

        conversions!($end of Eport, $std);

        impl From<$end> for Stdio {
            /// Restores the blocking mode, which a child process expects.
            fn from(end: $end) -> Self {
                Self::from(OwnedFd::from(end))
            }
        }
    )+};
}

ends! {
    PipeReader from std::io::PipeReader;
    PipeWriter from std::io::PipeWriter;
}
