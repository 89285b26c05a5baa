//! HTTP messages as values.
//!
//! They use the vocabulary of the `http` crate (`Method`, `StatusCode`, `HeaderName`,
//! `HeaderValue`) and convert to and from its types, but are made so that a common request and its
//! response need no allocation: fields of a request stay where they were received, and a response
//! keeps its first header inline.
#![forbid(unsafe_code)]

mod body;
#[cfg(feature = "cookie")]
pub(in crate::http) mod cookies;
mod header_view;
mod headers;
mod into_response;
mod query;
mod request_head;
mod response;
mod target;

pub use body::{Body, BodyWriter};
pub use header_view::HeaderView;
pub use headers::Headers;
pub use into_response::IntoResponse;
pub use query::{MalformedPath, QueryPairs, decode_path, query_pairs};
pub use response::Response;

pub(crate) use body::Content;
pub(crate) use header_view::{Field, Span, StoredFields};
pub(crate) use request_head::request_head;
pub(crate) use response::header;
pub(crate) use target::{
    Target, TargetFault, authority_form_is_valid, authority_is_valid, leading_path, target_fault,
};
