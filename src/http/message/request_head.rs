//! Look-ups in the head of a request, for each kind of request.

/// Gives a request, a type with `method`, `target`, `version`, `path` and `headers`, the methods
/// that look up the rest of its head: `request_head!(Request);`.
macro_rules! request_head {
    ($Request:ident) => {
        impl $Request {
            fn parsed_target(&self) -> Target<'_> {
                let nothing = Target {
                    authority: None,
                    path: "/",
                    query: None,
                };
                // The head was accepted, so its target parses.
                Target::parse(self.method(), self.target()).unwrap_or(nothing)
            }

            /// Returns the path, percent-decoded.
            ///
            /// # Errors
            ///
            /// If the decoded path is not UTF-8. The error converts into a handler's error, which
            /// answers 400.
            pub fn decoded_path(&self) -> Result<std::borrow::Cow<'_, str>, MalformedPath> {
                decode_path(self.path())
            }

            /// Returns what follows the first `?` of the target, as it was sent.
            #[must_use]
            pub fn query(&self) -> Option<&str> {
                self.parsed_target().query
            }

            /// Returns the names and values of the query, decoded.
            #[must_use]
            pub fn query_pairs(&self) -> QueryPairs<'_> {
                query_pairs(self.query().unwrap_or_default())
            }

            /// Returns the host and port of the request, as they were sent: from the target if it
            /// is a whole URI, else from the `Host` field (RFC 9112 sections 3.2.2 and 3.3). `None`
            /// if neither names a host, as HTTP/1.0 allows.
            #[must_use]
            pub fn host(&self) -> Option<&str> {
                let of_target = match self.target().starts_with('/') {
                    true => None,
                    false => self.parsed_target().authority,
                };
                let host = of_target.or_else(|| self.header("host"));
                host.filter(|host| !host.is_empty())
            }

            /// Returns the value of a header field, if there is one and it is text. The name's case
            /// does not matter.
            #[must_use]
            pub fn header(&self, name: &str) -> Option<&str> {
                self.headers().get_str(name)
            }

            /// Returns the head as the `http` crate's request.
            ///
            /// # Errors
            ///
            /// If the `http` crate does not accept the target as a `Uri`: it accepts fewer targets
            /// than this server.
            pub fn to_http(&self) -> Result<http::Request<()>, http::Error> {
                let mut request = http::Request::builder()
                    .method(self.method().clone())
                    .uri(self.target())
                    .version(self.version())
                    .body(())?;
                *request.headers_mut() = self.headers().to_header_map();
                Ok(request)
            }
        }
    };
}

pub(crate) use request_head;
