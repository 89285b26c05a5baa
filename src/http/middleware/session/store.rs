//! Where sessions are kept.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::http::error::Result;

/// Keeps the sessions of [`sessions`](super::sessions): a map from ids to bytes, whose entries end.
///
/// The methods are straight-line code that may wait, for a database for example. Their errors are
/// answered as those of handlers are. Ids are 40 hexadecimal digits. Data is JSON.
///
/// # Examples
///
/// A store in a server that speaks the protocol of Redis, over one connection for each shard:
///
/// ```
/// use std::io::{self, BufRead, BufReader, Read, Write};
/// use std::time::Duration;
/// use ethreads::http::middleware::SessionStore;
/// use ethreads::net::TcpStream;
/// use ethreads::sync::Mutex;
///
/// /// A lock of this crate may be held while its ethread waits.
/// struct Redis(Mutex<BufReader<TcpStream>>);
///
/// impl Redis {
///     /// Sends a command, and returns the bytes that answer it; `None` for a nil.
///     fn command(&self, parts: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
///         let mut stream = self.0.lock().map_err(|_| io::Error::other("a reply was cut"))?;
///         let mut command = format!("*{}\r\n", parts.len()).into_bytes();
///         for part in parts {
///             write!(command, "${}\r\n", part.len())?;
///             command.extend_from_slice(part);
///             command.extend_from_slice(b"\r\n");
///         }
///         stream.get_mut().write_all(&command)?;
///         let mut line = String::new();
///         stream.read_line(&mut line)?;
///         let (kind, rest) = line.trim_end().split_at_checked(1).unwrap_or_default();
///         match kind {
///             "+" | ":" => Ok(Some(rest.into())),
///             "$" if rest.starts_with('-') => Ok(None),
///             "$" => {
///                 let len: usize = rest.parse().map_err(io::Error::other)?;
///                 let mut data = vec![0; len + 2];
///                 stream.read_exact(&mut data)?;
///                 data.truncate(len);
///                 Ok(Some(data))
///             }
///             _ => Err(io::Error::other(line)),
///         }
///     }
/// }
///
/// impl SessionStore for Redis {
///     fn load(&self, id: &str) -> ethreads::http::Result<Option<Vec<u8>>> {
///         Ok(self.command(&[b"GET", id.as_bytes()])?)
///     }
///
///     fn save(&self, id: &str, data: &[u8], max_age: Duration) -> ethreads::http::Result<()> {
///         let seconds = max_age.as_secs().max(1).to_string();
///         self.command(&[b"SET", id.as_bytes(), data, b"EX", seconds.as_bytes()])?;
///         Ok(())
///     }
///
///     fn update(&self, id: &str, data: &[u8], max_age: Duration) -> ethreads::http::Result<bool> {
///         let seconds = max_age.as_secs().max(1).to_string();
///         let end = [b"EX", seconds.as_bytes(), b"XX"];
///         let set = self.command(&[&[b"SET", id.as_bytes(), data][..], &end].concat())?;
///         Ok(set.is_some())
///     }
///
///     fn delete(&self, id: &str) -> ethreads::http::Result<()> {
///         self.command(&[b"DEL", id.as_bytes()])?;
///         Ok(())
///     }
/// }
/// ```
pub trait SessionStore: 'static {
    /// Returns the data of a session; `None` if there is no such session, or it has ended.
    ///
    /// # Errors
    ///
    /// If the store cannot tell; the request is answered with the error.
    fn load(&self, id: &str) -> Result<Option<Vec<u8>>>;

    /// Keeps the data of a session for `max_age` from now on, and replaces what there is.
    ///
    /// # Errors
    ///
    /// If the data could not be kept; the request is answered with the error.
    fn save(&self, id: &str, data: &[u8], max_age: Duration) -> Result<()>;

    /// Replaces the data of a session that is there, as [`save`](Self::save). Returns false, and
    /// keeps nothing, if there is no such session any more: a session that another request has
    /// ended must not come back.
    ///
    /// By default this is a `load` and a `save`. A store that can do both in one step should.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    fn update(&self, id: &str, data: &[u8], max_age: Duration) -> Result<bool> {
        if self.load(id)?.is_none() {
            return Ok(false);
        }
        self.save(id, data, max_age)?;
        Ok(true)
    }

    /// Ends a session, if there is one.
    ///
    /// # Errors
    ///
    /// If the session may still be there.
    fn delete(&self, id: &str) -> Result<()>;
}

macro_rules! by_reference {
    ($($Pointer:ident)*) => {$(
        impl<S: SessionStore + ?Sized> SessionStore for $Pointer<S> {
            fn load(&self, id: &str) -> Result<Option<Vec<u8>>> {
                (**self).load(id)
            }

            fn save(&self, id: &str, data: &[u8], max_age: Duration) -> Result<()> {
                (**self).save(id, data, max_age)
            }

            fn update(&self, id: &str, data: &[u8], max_age: Duration) -> Result<bool> {
                (**self).update(id, data, max_age)
            }

            fn delete(&self, id: &str) -> Result<()> {
                (**self).delete(id)
            }
        }
    )*};
}

by_reference!(Rc Arc Box);
