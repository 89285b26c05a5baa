//! Files of a directory as responses.
#![forbid(unsafe_code)]

mod conditions;
mod find;
mod listing;
mod multipart;
mod path;
mod ranges;
mod types;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED,
    LOCATION, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use self::conditions::{Validators, Verdict};
use self::find::{Found, FoundFile, Search};
use self::path::Wanted;
use self::ranges::Ranges;
use crate::http::error::{HandlerError, Result};
use crate::http::exchange::handler::Handler;
use crate::http::exchange::request::Request;
use crate::http::message::{Body, IntoResponse, Response};
use crate::http::proto::accept_encoding::Accepted;
use crate::runtime::driver::beneath::Beneath;
use crate::runtime::driver::wall_seconds;

/// A handler that serves the files of a directory.
///
/// The file is named by the `{*rest}` parameter of the route, or by the whole path where the route
/// has none. No path leads out of the directory: neither `..`, nor an escaped `/`, nor a link.
/// Names that begin with a dot are hidden. Only regular files are served. The directory is opened
/// once; if another one gets its name, the first one is still served.
///
/// * GET and HEAD are answered; other methods get a 405, missing files a 404, and files that the
///   process may not read a 403. The app [renders](crate::http::App::on_error) these answers.
/// * Each file has an `ETag`, made of its length and the time of its last change, and
///   `Last-Modified`. All conditions of RFC 9110 section 13 are evaluated, in its order.
/// * `Range` is answered with one part of the file or with several. More than 16 ranges do not
///   count, and ranges that overlap are merged.
/// * A directory is answered with its [index](Self::index). Without a slash at the end of the path,
///   the answer redirects to the path with one.
/// * The extension gives the content type. Texts are declared as UTF-8.
///
/// A file that is in memory is served without a call of the [pool](crate::bridge::blocking), as
/// far as the system can tell (Linux, since 5.12). Else one call opens the file, and reads it if it
/// has at most 64 KiB. A larger file is sent as by [`Body::file`]. A file that is replaced while it
/// is sent arrives as it was. A file that becomes shorter ends the connection.
///
/// # Examples
///
/// ```
/// use ethreads::http::{App, Files, Request};
///
/// # let public = std::env::temp_dir().join(format!("ethreads-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&public)?;
/// # std::fs::write(public.join("logo.svg"), "<svg/>")?;
/// let files = Files::new(&public)?.precompressed().cache_control("max-age=3600");
/// let app = App::new().get("/static/{*path}", files);
/// let response = app.call(Request::get("/static/logo.svg"));
/// assert_eq!(response.headers().get(&"content-type".parse()?).unwrap(), "image/svg+xml");
/// assert_eq!(app.call(Request::get("/static/../Cargo.toml")).status(), 404);
/// # std::fs::remove_dir_all(public)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("ServeDir", "static", "sendfile"))]
pub struct Files {
    root: Arc<Beneath>,
    index: Option<Arc<str>>,
    lists: bool,
    hidden: bool,
    precompressed: bool,
    cache_control: Option<HeaderValue>,
}

impl Files {
    /// Serves the files below `root`.
    ///
    /// The directory is opened by this call, which may read the disk.
    ///
    /// # Errors
    ///
    /// If the directory cannot be opened.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(Beneath::new(root.as_ref())?),
            index: Some("index.html".into()),
            lists: false,
            hidden: false,
            precompressed: false,
            cache_control: None,
        })
    }

    /// Answers requests for a directory with this file in it, instead of `index.html`. An empty
    /// name stands for none.
    ///
    /// # Panics
    ///
    /// If the name contains a `/` or a NUL byte.
    #[must_use]
    #[track_caller]
    pub fn index(mut self, name: &str) -> Self {
        let is_name = !name.contains(['/', '\0']) && name != "..";
        assert!(is_name, "`{name}` is no name of a file in a directory");
        self.index = (!name.is_empty()).then(|| name.into());
        self
    }

    /// Answers requests for a directory without an index with a page that lists its files and
    /// directories. Names that are not UTF-8 are left out.
    #[must_use]
    pub fn listing(mut self) -> Self {
        self.lists = true;
        self
    }

    /// Also serves and lists names that begin with a dot.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Follows symbolic links that lead to files below the directory; links that lead out of it
    /// are still missing files. Only Linux follows links, since 5.6.
    #[must_use]
    pub fn links(mut self) -> Self {
        match Arc::get_mut(&mut self.root) {
            Some(root) => root.follow_links(),
            None => debug_assert!(false, "a search ends before the call that made it"),
        }
        self
    }

    /// Answers with a compressed sibling of the file, if there is one that the client takes:
    /// `app.js.br`, `app.js.zst` or `app.js.gz` instead of `app.js`, which must exist, too.
    ///
    /// A sibling must be made again when the file changes.
    #[must_use]
    pub fn precompressed(mut self) -> Self {
        self.precompressed = true;
        self
    }

    /// Sends this value of `Cache-Control` with each file.
    ///
    /// # Panics
    ///
    /// If the value is not allowed in a header, for example because of a line end.
    #[must_use]
    #[track_caller]
    pub fn cache_control(mut self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.cache_control = Some(value),
            Err(error) => panic!("value of `Cache-Control`: {error}"),
        }
        self
    }

    fn answer(&self, request: &Request) -> Result<Response> {
        let is_head = *request.method() == Method::HEAD;
        if !is_head && *request.method() != Method::GET {
            let error = HandlerError::status(
                StatusCode::METHOD_NOT_ALLOWED,
                "files answer GET and HEAD only\n",
            );
            return Err(error.with_header(ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        let Some(wanted) = Wanted::parse(path::rest_of(request), self.hidden)? else {
            return Err(missing());
        };
        let headers = request.headers();
        let mut accepted = Accepted::default();
        if self.precompressed {
            accepted = Accepted::parse(headers.get_all("accept-encoding"));
        }
        let search = Search {
            root: self.root.clone(),
            wanted,
            index: self.index.clone(),
            lists: self.lists,
            accepted,
            reads: !is_head && !headers.contains("range"),
        };
        let folder = self.lists.then(|| search.wanted.path.clone());
        match search.run() {
            Ok(Found::File(found)) => self.file(request, *found),
            Ok(Found::Directory) => redirect(request),
            Ok(Found::Entries(entries)) => {
                let path = folder.unwrap_or_default();
                let page = listing::page(&path, entries, self.hidden);
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                Ok(Response::typed(html, page.into()))
            }
            Ok(Found::Missing) => Err(missing()),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    let status = StatusCode::FORBIDDEN;
                    HandlerError::status(status, "forbidden\n").with_source(error)
                }
                _ => error.into(),
            }),
        }
    }

    fn file(&self, request: &Request, found: FoundFile) -> Result<Response> {
        let validators = Validators::new(&found.metadata, found.coding);
        let ranges = match validators.judge(request.headers()) {
            Verdict::Failed => {
                let status = StatusCode::PRECONDITION_FAILED;
                return Err(HandlerError::status(status, "the file is another one\n"));
            }
            Verdict::NotModified => {
                let mut response = Response::new(StatusCode::NOT_MODIFIED);
                self.describe(&mut response, &validators);
                return Ok(response);
            }
            Verdict::Send { ranges } => ranges,
        };
        let len = found.metadata.len();
        let field = request.headers().get("range");
        // RFC 9110 section 14.2: of GET only.
        let field = field.filter(|_| ranges && *request.method() == Method::GET);
        let ranges = field.map_or(Ranges::Whole, |field| Ranges::parse(field, len));
        let content_type = types::content_type(&found.path);
        let coding = found.coding;
        let mut response = match ranges {
            Ranges::Whole => {
                let body = match found.bytes {
                    Some(bytes) => bytes.into(),
                    None => Body::file_range(found.file, 0, len),
                };
                Response::typed(content_type, body)
            }
            Ranges::Parts(parts) => match &parts[..] {
                [part] => {
                    let body = Body::file_range(found.file, part.start, part.end - part.start);
                    let range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
                    Response::typed(content_type, body)
                        .with_status(StatusCode::PARTIAL_CONTENT)
                        .with_header(CONTENT_RANGE, range)
                }
                _ => {
                    let (kind, body) = multipart::body(found.file, len, parts, &content_type);
                    Response::typed(kind, body).with_status(StatusCode::PARTIAL_CONTENT)
                }
            },
            Ranges::Unsatisfiable => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let range = HeaderValue::try_from(format!("bytes */{len}"))?;
                let error = HandlerError::status(status, "no such part of the file\n");
                return Err(error.with_header(CONTENT_RANGE, range));
            }
        };
        self.describe(&mut response, &validators);
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        Ok(response)
    }

    /// Adds the fields that a 304 has, too.
    fn describe(&self, response: &mut Response, validators: &Validators) {
        let headers = response.headers_mut();
        if let Some(tag) = validators.tag() {
            headers.insert(ETAG, tag);
        }
        if let Some(date) = validators.last_modified(wall_seconds()) {
            headers.insert(LAST_MODIFIED, date);
        }
        if self.precompressed {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(value) = &self.cache_control {
            headers.insert(CACHE_CONTROL, value.clone());
        }
    }
}

fn missing() -> HandlerError {
    HandlerError::status(StatusCode::NOT_FOUND, "not found\n")
}

/// Redirects to the path with a slash at its end. The target is relative to that of the request, so
/// it names no other host, and holds behind a proxy that changes the path.
fn redirect(request: &Request) -> Result<Response> {
    let name = request.path().rsplit('/').next().unwrap_or_default();
    let query = request.query().map(|query| format!("?{query}"));
    let target = format!("./{name}/{}", query.unwrap_or_default());
    let response = Response::new(StatusCode::PERMANENT_REDIRECT);
    Ok(response.try_with_header(LOCATION, target)?)
}

impl Handler for Files {
    fn handle(&self, request: &mut Request) -> Response {
        match self.answer(request) {
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("index", &self.index)
            .field("lists", &self.lists)
            .field("hidden", &self.hidden)
            .field("precompressed", &self.precompressed)
            .finish_non_exhaustive()
    }
}
