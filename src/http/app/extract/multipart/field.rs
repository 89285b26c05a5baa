//! A field of a form.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use http::HeaderMap;

use super::parser::Parser;
use super::temp_file::TempFile;
use crate::http::error::{Error, FormLimit};

/// A field of a form: a text, or a file. Made by
/// [`Multipart::next_field`](super::Multipart::next_field).
///
/// It is read as it arrives: a read suspends the ethread until bytes arrive. Names and types are
/// what the client says, so they are no paths to be used, and prove nothing.
pub struct MultipartField<'a> {
    parser: &'a mut Parser,
}

impl<'a> MultipartField<'a> {
    pub(super) fn new(parser: &'a mut Parser) -> Self {
        Self { parser }
    }

    fn part(&self) -> Option<&multer::Field<'static>> {
        self.parser.part()
    }

    /// Returns the name of the field; `None` if the client gives none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.part()?.name()
    }

    /// Returns the name of the file, as the client calls it; `None` for a field that is no file.
    ///
    /// The name may be that of any path, such as `../../etc/passwd`. Do not open it.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.part()?.file_name()
    }

    /// Returns the type that the client gives, as in `text/plain; charset=utf-8`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.headers().get("content-type")?.to_str().ok()
    }

    /// Returns the header of the field.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        static NONE: std::sync::OnceLock<HeaderMap> = std::sync::OnceLock::new();
        match self.part() {
            Some(part) => part.headers(),
            None => NONE.get_or_init(HeaderMap::new),
        }
    }

    /// Reads the rest of the field into memory, suspending the caller until all of it has arrived.
    ///
    /// # Errors
    ///
    /// If it is longer than [`Multipart::memory_limit`](super::Multipart::memory_limit), which
    /// answers 413; otherwise as [`next_field`](super::Multipart::next_field).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let limit = self.parser.limits.memory;
        let mut all = Vec::new();
        loop {
            let bytes = self.parser.next_bytes()?;
            if bytes.is_empty() {
                return Ok(all);
            }
            if (all.len() + bytes.len()) as u64 > limit {
                return Err(Error::form_limit(FormLimit::Memory, limit));
            }
            all.extend_from_slice(&bytes);
        }
    }

    /// Reads the rest of the field as text, suspending the caller until all of it has arrived.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes); and if it is not UTF-8, which answers 400.
    ///
    /// # Cancellation
    ///
    /// As [`bytes`](Self::bytes).
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::form_malformed("a field is not UTF-8"))
    }

    /// Saves the rest of the field as the file `path`, and returns its length; suspends the caller
    /// while it arrives, and while the [pool](crate::bridge::blocking) writes it.
    ///
    /// A file of that name is replaced, but only when all of the field has arrived: until then the
    /// data is in a file beside it, which is removed if this call fails or is cancelled.
    ///
    /// # Errors
    ///
    /// Those of the file system; otherwise as a [read](Read::read) of the field.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn save_to(&mut self, path: impl AsRef<Path>) -> io::Result<u64> {
        let path = path.as_ref();
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let mut file = TempFile::beside(folder.unwrap_or(Path::new(".")))?;
        self.write_to(&mut file)?;
        let len = file.len();
        file.persist(path)?;
        Ok(len)
    }

    /// Saves the rest of the field in a temporary file, which is removed when it is dropped;
    /// suspends the caller as [`save_to`](Self::save_to).
    ///
    /// The file is in [`std::env::temp_dir`], and only the user of this process may read it.
    ///
    /// # Errors
    ///
    /// As [`save_to`](Self::save_to).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn to_temp_file(&mut self) -> io::Result<TempFile> {
        let mut file = TempFile::new()?;
        self.write_to(&mut file)?;
        Ok(file)
    }

    fn write_to(&mut self, file: &mut TempFile) -> io::Result<()> {
        loop {
            let bytes = self.parser.next_bytes()?;
            if bytes.is_empty() {
                return file.finish();
            }
            file.append(&bytes)?;
        }
    }
}

impl Read for MultipartField<'_> {
    /// Reads what has arrived; suspends the ethread until something has. `Ok(0)` is the end of the
    /// field.
    ///
    /// # Errors
    ///
    /// As [`next_field`](super::Multipart::next_field). They carry an [`Error`], so `?` in a
    /// handler answers with its status.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.parser.read(buf)?)
    }
}

impl fmt::Debug for MultipartField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipartField")
            .field("name", &self.name())
            .field("file_name", &self.file_name())
            .field("content_type", &self.content_type())
            .finish_non_exhaustive()
    }
}
