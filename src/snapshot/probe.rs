//! Asks a snapshot what it would do with a request: `evenkeel route`, `[[test]]`.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::action::{Action, Route};
use super::listener::{HttpListener, Kind};
use super::Snapshot;
use crate::config::RouteTest;
use crate::route::{Candidate, Question};
