//! Forms with files: `multipart/form-data` (RFC 7578).
#![forbid(unsafe_code)]

mod field;
mod parser;
mod temp_file;

use std::fmt;

use http::StatusCode;

use self::parser::Parser;
use super::{has_type, wrong_type};
use crate::http::error::{Error, HandlerError, Result};
use crate::http::exchange::extract::FromRequest;
use crate::http::exchange::request::Request;

pub use self::field::MultipartField;
pub use self::temp_file::TempFile;

const FORM: &str = "multipart/form-data";

/// RFC 2046 section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// The fields of a form as `multipart/form-data` (RFC 7578), read one after the other as they
/// arrive. Browsers send forms with files in this form.
///
/// A body of another type is answered with 415, and one without a boundary, or with malformed
/// parts, with 400. A body that is larger than the [limit](crate::http::App::body_limit) of the app
/// or the [server](crate::http::Limits::body_bytes) is answered with 413, and so is a form beyond
/// one of the limits below. Errors of the fields and of their reads, returned with `?`, are
/// answered in this way, too.
///
/// The form may be moved to another ethread, and read while the response is sent: see
/// [`Request::take_body`]. A `100 Continue` that the client waits for is sent before the handler
/// runs.
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Multipart, Request, Result};
///
/// fn upload(mut form: Multipart) -> Result<String> {
///     let mut answer = String::new();
///     while let Some(mut field) = form.next_field()? {
///         let name = field.name().unwrap_or_default().to_owned();
///         if field.file_name().is_some() {
///             let file = field.to_temp_file()?;
///             answer += &format!("{name}: a file of {} bytes\n", file.len());
///         } else {
///             answer += &format!("{name}: {}\n", field.text()?);
///         }
///     }
///     Ok(answer)
/// }
///
/// // A route with a larger limit is an app of its own.
/// let uploads = App::new().post("/upload", upload).body_limit(1 << 30);
/// let app = App::new().merge(uploads);
///
/// let form = "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
/// let request = Request::post("/upload")
///     .header("content-type", "multipart/form-data; boundary=x")
///     .body(form);
/// let response = app.call(request.build()?);
/// assert_eq!(response.body().as_bytes(), Some(&b"a: 1\n"[..]));
/// # Ok::<(), ethreads::http::Error>(())
/// ```
#[doc(alias("upload", "form-data"))]
pub struct Multipart {
    parser: Parser,
}

impl Multipart {
    /// The default of [`part_limit`](Self::part_limit): 1,000 fields.
    pub const PARTS: u64 = parser::PARTS;

    /// The default of [`header_limit`](Self::header_limit): 8 KiB.
    pub const HEADER_BYTES: u64 = parser::HEADER_BYTES;

    /// The default of [`memory_limit`](Self::memory_limit): 2 MiB.
    pub const MEMORY_BYTES: u64 = parser::MEMORY_BYTES;

    /// Sets the maximum number of fields.
    #[must_use]
    pub fn part_limit(mut self, fields: u64) -> Self {
        self.parser.limits.parts = fields;
        self
    }

    /// Sets the maximum length, in bytes, of the header of a field.
    #[must_use]
    pub fn header_limit(mut self, bytes: u64) -> Self {
        self.parser.limits.header = bytes;
        self
    }

    /// Sets the maximum length, in bytes, of a field, however it is read. By default there is none
    /// but that of the whole body.
    #[must_use]
    pub fn field_limit(mut self, bytes: u64) -> Self {
        self.parser.limits.field = bytes;
        self
    }

    /// Sets the maximum length, in bytes, of a field that is collected into memory, by
    /// [`bytes`](MultipartField::bytes) or [`text`](MultipartField::text).
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.parser.limits.memory = bytes;
        self
    }

    /// Returns the next field, or `None` at the end of the form; suspends the caller until its
    /// header has arrived. What was not read of the field before it is skipped.
    ///
    /// # Errors
    ///
    /// If the form is malformed, if a limit is exceeded, or if the body cannot be read.
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here.
    pub fn next_field(&mut self) -> Result<Option<MultipartField<'_>>, Error> {
        let found = self.parser.next_part()?;
        Ok(found.then(|| MultipartField::new(&mut self.parser)))
    }
}

impl FromRequest for Multipart {
    const READS_BODY: bool = true;

    fn from_request(request: &mut Request) -> Result<Self> {
        if !has_type(request, |kind| kind == FORM) {
            return wrong_type(request, FORM);
        }
        let content_type = request.header("content-type").unwrap_or_default();
        let boundary = multer::parse_boundary(content_type);
        let is_right = |boundary: &String| (1..=LONGEST_BOUNDARY).contains(&boundary.len());
        let Some(boundary) = boundary.ok().filter(is_right) else {
            let text = "expected a boundary of 1 to 70 bytes in the type of the body\n";
            return Err(HandlerError::status(StatusCode::BAD_REQUEST, text));
        };
        let limit = request.body_limit();
        if request
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Err(Error::form_too_large(limit).into());
        }
        Ok(Self {
            parser: Parser::new(request.take_body(), boundary, limit),
        })
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart")
            .field("limits", &self.parser.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
