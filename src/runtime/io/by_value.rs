//! Reading and writing by value, for a type whose references do both.
#![forbid(unsafe_code)]

/// Implements `Read` or `Write` for a type as for a reference to it:
/// `by_value!(impl Read for UnixStream);`.
macro_rules! by_value {
    (impl $(<$T:ident: $Bound:ident>)? Read for $Type:ty) => {
        impl $(<$T: $Bound>)? Read for $Type {
            #[inline]
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(bufs)
            }

            #[track_caller]
            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                (&*self).read_to_end(buf)
            }

            #[track_caller]
            fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
                (&*self).read_to_string(buf)
            }
        }
    };
    (impl $(<$T:ident: $Bound:ident>)? Write for $Type:ty) => {
        impl $(<$T: $Bound>)? Write for $Type {
            #[inline]
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                (&*self).flush()
            }
        }
    };
}

pub(crate) use by_value;
