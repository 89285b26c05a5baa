//! Compression of responses while they are sent.
#![forbid(unsafe_code)]

#[cfg(feature = "brotli")]
mod brotli;
mod codec;
mod codecs;
mod encoder;
mod gain;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::mem;
use std::rc::Rc;

use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};

use self::codecs::{Codecs, Levels};
use self::encoder::Encoder;
use self::gain::{Gain, is_text, may_gain};
use super::vary::add_vary;
use crate::http::app::{App, Plugin};
use crate::http::exchange::request::Request;
use crate::http::message::{Body, Headers, Response};
use crate::http::proto::accept_encoding::Accepted;
use crate::http::proto::grammar::members;

pub use crate::http::proto::accept_encoding::Coding;

/// Compresses responses while they are sent; see [`Compression`].
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::compression;
/// use ethreads::http::{App, Request};
///
/// let app = App::new().get("/", || "hello\n".repeat(1000)).apply(compression());
/// let response = app.call(Request::get("/").header("accept-encoding", "gzip, br, zstd"));
/// # #[cfg(feature = "gzip")]
/// assert!(response.body().len() < Some(600));
/// # let _ = response;
/// ```
#[must_use]
pub fn compression() -> Compression {
    Compression {
        codings: codecs::built().collect(),
        min_size: Compression::MIN_SIZE,
        types: Box::new(is_text),
        levels: Levels::default(),
    }
}

/// A plugin that compresses responses while they are sent. Middleware inside of it see the
/// responses as they were.
///
/// A response is compressed if the client takes a [coding](Self::codings) (`Accept-Encoding`, RFC
/// 9110 section 12.5.3) and the response gains by it:
///
/// * its `Content-Type` is one of a [text](Self::types), and its body is not known to be
///   [short](Self::min_size);
/// * it is not a part of something (206 or `Content-Range`), has no `Content-Encoding`, no digest,
///   and no `Cache-Control: no-transform`, and its status allows a body.
///
/// Responses that are not in memory are compressed as they are made. A
/// [`flush`](std::io::Write::flush) of a body's writer, and so each event of an
/// [`Sse`](crate::http::Sse), reaches the client at once. A short body in memory is compressed at
/// once, and sent as it was if it has not become shorter.
///
/// A compressed response has no `Content-Length` unless its length is known, and no
/// `Accept-Ranges`. A strong `ETag` becomes a weak one, also in a 304 to a client that has named
/// the weak one. Each response that may be compressed has `Vary: Accept-Encoding`. The answer to a
/// HEAD has the fields of the answer to a GET.
///
/// The default levels are the cheapest ones, as an app that answers many requests pays for each of
/// them. An encoder takes 370 KiB (gzip), 1.1 MiB (zstd), or 3 MiB (brotli), for as long as its
/// response lasts; those of gzip and zstd are used again by later responses of the shard.
///
/// # Security
///
/// Over an encrypted connection, the length of a compressed response tells about its content. Do
/// not compress a page that has both a secret and a text that an attacker can choose (the attack
/// BREACH).
///
/// # Examples
///
/// ```
/// use ethreads::http::middleware::{Coding, compression};
/// use ethreads::http::App;
///
/// let compression = compression()
///     .codings([Coding::Brotli, Coding::Gzip])
///     .min_size(256)
///     .types(|content_type| content_type.starts_with("text/"));
/// let app = App::new().get("/", || "hello\n").apply(compression);
/// # drop(app);
/// ```
#[doc(alias("CompressionLayer", "gzip", "deflate", "Content-Encoding"))]
pub struct Compression {
    codings: Vec<Coding>,
    min_size: u64,
    types: Box<dyn Fn(&str) -> bool>,
    levels: Levels,
}

impl Compression {
    /// The default of [`min_size`](Self::min_size): 1 KiB. A shorter response fits into one packet
    /// anyway.
    pub const MIN_SIZE: u64 = 1024;

    /// Sets the codings to use, the preferred one first. The client's weights come first. The
    /// default has all codings that are built in (features `zstd`, `gzip` and `brotli`), in this
    /// order, which is that of their cost. A coding that is not built in is left out.
    ///
    /// # Examples
    ///
    /// The smallest responses, at a higher cost:
    ///
    /// ```
    /// use ethreads::http::middleware::{Coding, compression};
    ///
    /// let small = compression().codings([Coding::Brotli, Coding::Zstd, Coding::Gzip]);
    /// # drop(small);
    /// ```
    #[must_use]
    pub fn codings(mut self, codings: impl IntoIterator<Item = Coding>) -> Self {
        self.codings = codings.into_iter().collect();
        self.codings
            .retain(|coding| codecs::built().any(|built| built == *coding));
        self
    }

    /// Sets the minimum length of a body, in bytes, from which it is compressed, where its length
    /// is known: 1 KiB by default ([`MIN_SIZE`](Self::MIN_SIZE)). A body of unknown length is
    /// always compressed.
    #[must_use]
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// Sets which types gain by compression. The function is given the type without its
    /// parameters, such as `text/html`. The default takes `text/*`, JSON, XML, JavaScript,
    /// WebAssembly, SVG, and the uncompressed forms of fonts, icons and bitmaps.
    #[must_use]
    pub fn types(mut self, gains: impl Fn(&str) -> bool + 'static) -> Self {
        self.types = Box::new(gains);
        self
    }

    /// Sets the level of gzip, from 1, the fastest and the default, to 9. The default of other
    /// programs, 6, takes two to four times as long, and makes JSON about a quarter smaller.
    ///
    /// # Panics
    ///
    /// If the level is not from 1 to 9.
    #[cfg(feature = "gzip")]
    #[must_use]
    #[track_caller]
    pub fn gzip_level(mut self, level: u32) -> Self {
        assert!((1..=9).contains(&level), "a level of gzip is from 1 to 9");
        self.levels.gzip = level;
        self
    }

    /// Sets the quality of brotli, from 0 to 11; 5 by default. From 10 on, a response takes a
    /// hundred times as long. The window has 256 KiB.
    ///
    /// # Panics
    ///
    /// If the quality is not from 0 to 11.
    #[cfg(feature = "brotli")]
    #[must_use]
    #[track_caller]
    pub fn brotli_quality(mut self, quality: u32) -> Self {
        assert!(quality <= 11, "a quality of brotli is from 0 to 11");
        self.levels.brotli = quality;
        self
    }

    /// Sets the level of zstd, from 1, the fastest and the default, to 19. The window has at most
    /// 256 KiB.
    ///
    /// # Panics
    ///
    /// If the level is not from 1 to 19.
    #[cfg(feature = "zstd")]
    #[must_use]
    #[track_caller]
    pub fn zstd_level(mut self, level: i32) -> Self {
        assert!((1..=19).contains(&level), "a level of zstd is from 1 to 19");
        self.levels.zstd = level;
        self
    }

    fn compress(&self, codecs: &Rc<Codecs>, request: &Request, mut response: Response) -> Response {
        if response.status() == StatusCode::NOT_MODIFIED {
            not_modified(request, &mut response);
            return response;
        }
        let is_head = request.state.head.is_head();
        let Some(gain) = may_gain(&response, is_head, self.min_size, &self.types) else {
            return response;
        };
        add_vary(response.headers_mut(), "accept-encoding");
        let accepted = Accepted::parse(request.headers().get_all("accept-encoding"));
        let Some(coding) = accepted.best_of(&self.codings) else {
            return response;
        };
        match gain {
            Gain::Whole => {
                let plain = response.body().as_bytes().unwrap_or_default();
                match codecs.whole(coding, plain) {
                    Ok(Some(compressed)) => *response.body_mut() = compressed.into(),
                    Ok(None) => return response,
                    Err(error) => {
                        log::warn!("a response was not compressed: {error}");
                        return response;
                    }
                }
            }
            Gain::Stream { declared } => {
                let plain = mem::take(response.body_mut());
                let plain = match declared {
                    Some(len) => Body::sized_writer(len, |out| plain.write_to(out)),
                    None => plain,
                };
                let codecs = codecs.clone();
                *response.body_mut() = Body::writer(move |out| {
                    let mut encoder = Encoder::new(&codecs, coding, out)?;
                    plain.write_to(&mut encoder)?;
                    encoder.finish()
                });
            }
            Gain::Head => {}
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        headers.remove(&CONTENT_LENGTH);
        headers.remove(&ACCEPT_RANGES);
        weaken(headers);
        response
    }
}

impl Plugin for Compression {
    fn apply_to(self, app: App) -> App {
        let codecs = Rc::new(Codecs::new(self.levels));
        app.around(move |request, next| {
            let response = next.run(request);
            self.compress(&codecs, request, response)
        })
    }
}

impl fmt::Debug for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compression")
            .field("codings", &self.codings)
            .field("min_size", &self.min_size)
            .field("levels", &self.levels)
            .finish_non_exhaustive()
    }
}

/// RFC 9110 section 8.8.3: the bytes are other ones, so the tag may not promise the same bytes.
fn weaken(headers: &mut Headers) {
    let Some(tag) = headers.get(&ETAG).filter(|tag| !is_weak(tag)) else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    if let Ok(weak) = HeaderValue::from_bytes(&weak) {
        headers.insert(ETAG, weak);
    }
}

fn is_weak(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"W/")
}

/// Gives a 304 the tag of the compressed response that the client has, since the client stores the
/// fields of the 304 with that response (RFC 9110 section 15.4.5).
fn not_modified(request: &Request, response: &mut Response) {
    let Some(tag) = response.headers().get(&ETAG).filter(|tag| !is_weak(tag)) else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    let name: HeaderName = IF_NONE_MATCH;
    let mut fields = request.headers().get_all(name.as_str());
    if fields.any(|field| members(field).any(|named| named == weak)) {
        weaken(response.headers_mut());
        add_vary(response.headers_mut(), "accept-encoding");
    }
}

#[cfg(test)]
mod tests;
