//! The filters of one route, as one value.

use crate::config;
use crate::message::{RequestParts, ResponseParts};

use super::fields::{EditError, FieldEdits};
use super::rewrite::{Rewrite, RewriteError, TooLong};

/// What a route changes about its requests and responses.
#[derive(Debug, Clone)]
pub struct Filters {
    rewrite: Rewrite,
    request: FieldEdits,
    response: FieldEdits,
}

/// What is wrong with a route's filters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Of `rewrite`.
    #[error("rewrite: {0}")]
    Rewrite(#[from] RewriteError),
    /// Of `request_headers`.
    #[error("request_headers: {0}")]
    Request(#[source] EditError),
    /// Of `response_headers`.
    #[error("response_headers: {0}")]
    Response(#[source] EditError),
}

impl Filters {
    /// The filters of a route as written.
    pub fn new(written: &config::Route) -> Result<Self, FilterError> {
        Ok(Self {
            rewrite: Rewrite::new(&written.rewrite)?,
            request: FieldEdits::new(&written.request_headers).map_err(FilterError::Request)?,
            response: FieldEdits::new(&written.response_headers).map_err(FilterError::Response)?,
        })
    }

    /// Edits a request. `matched` is how many bytes of its path the route's path took
    /// (`route::Match::prefix`). A request whose target would become too long is left as it was and
    /// is to be refused with 414.
    pub fn request(&self, parts: &mut RequestParts, matched: usize) -> Result<(), TooLong> {
        self.rewrite.apply(parts, matched)?;
        self.request.apply(&mut parts.headers);
        Ok(())
    }

    /// Edits a response.
    pub fn response(&self, parts: &mut ResponseParts) {
        self.response.apply(&mut parts.headers);
    }
}
