//! Fields that a client can use before its response is there (RFC 8297).
#![forbid(unsafe_code)]

use http::{HeaderName, HeaderValue, Version};

use super::request::Request;
use crate::http::error::Error;
use crate::http::proto::encode::encode_early_hints;

impl Request {
    /// Sends a 103 (Early Hints, RFC 8297) with these fields, ahead of the response: mostly `Link`,
    /// for a client that can load what the page will need while the page is made. Suspends the
    /// caller until the 103 is sent. It may be called several times.
    ///
    /// The response should have the fields, too, as clients may ignore the 103. An HTTP/1.0 client
    /// gets none, since it knows no such answers (RFC 9110 section 15.2). Without a connection
    /// nothing is sent. Some old clients of HTTP/1.1 take a 103 for the response; browsers use it
    /// over HTTP/2 only, and ignore it here. Fields about the connection or a body are left out.
    ///
    /// # Errors
    ///
    /// If the connection fails, or takes nothing for the time of
    /// [`Timeouts::write`](crate::http::Timeouts::write).
    ///
    /// # Cancellation
    ///
    /// A cancelled ethread unwinds from here, and its connection is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::http::{App, HeaderValue, IntoResponse, Request, Response, Result};
    /// use ::http::header::LINK;
    ///
    /// fn page(request: &mut Request) -> Result<Response> {
    ///     let style = HeaderValue::from_static("</style.css>; rel=preload; as=style");
    ///     request.early_hints([(LINK, style.clone())])?;
    ///     let page = "made with much effort";
    ///     Ok(page.into_response().with_header(LINK, style))
    /// }
    ///
    /// let app = App::new().get("/", page);
    /// # assert_eq!(app.call(Request::get("/")).status(), 200);
    /// ```
    #[doc(alias("103", "preload"))]
    pub fn early_hints(
        &mut self,
        fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<(), Error> {
        if self.version() != Version::HTTP_11 {
            return Ok(());
        }
        let mut head = Vec::new();
        encode_early_hints(&mut head, fields);
        self.send_interim(&head)
    }
}
