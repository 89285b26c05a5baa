//! What the routes read of a request, whether it was pushed or pulled.

use ethreads::http::{Error, HeaderView, Method, QueryPairs, Request, Version, pull};

/// A request of either style: both have these.
pub(crate) trait Asked {
    fn method(&self) -> &Method;
    fn target(&self) -> &str;
    fn path(&self) -> &str;
    fn query_pairs(&self) -> QueryPairs<'_>;
    fn version(&self) -> Version;
    fn headers(&self) -> HeaderView<'_>;
    fn header(&self, name: &str) -> Option<&str>;
    fn bytes(&mut self) -> Result<Vec<u8>, Error>;
    fn text(&mut self) -> Result<String, Error>;
}

impl Asked for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> &str {
        self.target()
    }

    fn path(&self) -> &str {
        self.path()
    }

    fn query_pairs(&self) -> QueryPairs<'_> {
        self.query_pairs()
    }

    fn version(&self) -> Version {
        self.version()
    }

    fn headers(&self) -> HeaderView<'_> {
        self.headers()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.header(name)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.bytes()
    }

    fn text(&mut self) -> Result<String, Error> {
        self.text()
    }
}

impl Asked for pull::Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn target(&self) -> &str {
        self.target()
    }

    fn path(&self) -> &str {
        self.path()
    }

    fn query_pairs(&self) -> QueryPairs<'_> {
        self.query_pairs()
    }

    fn version(&self) -> Version {
        self.version()
    }

    fn headers(&self) -> HeaderView<'_> {
        self.headers()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.header(name)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.bytes()
    }

    fn text(&mut self) -> Result<String, Error> {
        self.text()
    }
}
