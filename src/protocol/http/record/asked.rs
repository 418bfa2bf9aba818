//! What was asked for, as the access log tells it.

use std::time::SystemTime;

use http::Version as HttpVersion;

use crate::protocol::http::grpc::GrpcCall;

/// What only the access log needs, and calls of gRPC. Its texts stand in one piece of memory, one
/// behind the other.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) at: SystemTime,
    pub(super) version: HttpVersion,
    pub(super) has_query: bool,
    text: Box<[u8]>,
    /// Where each [`Part`] ends, and the next one begins.
    ends: [usize; PARTS],
    pub(super) grpc: Option<Box<GrpcCall>>,
}

/// What is kept of a head that could be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Path,
    Query,
    Host,
    UserAgent,
    Referer,
}

pub(super) const PARTS: usize = Part::Referer as usize + 1;

impl Asked {
    pub(super) fn new(at: SystemTime, version: HttpVersion, texts: [&[u8]; PARTS]) -> Self {
        let mut end = 0;
        let ends = texts.map(|text| {
            end += text.len();
            end
        });
        Self {
            at,
            version,
            has_query: false,
            text: texts.concat().into(),
            ends,
            grpc: None,
        }
    }

    /// The same of a request that is no call.
    pub(super) fn without_call(&self) -> Self {
        Self {
            text: self.text.clone(),
            grpc: None,
            ..*self
        }
    }

    pub(super) fn part(&self, part: Part) -> &[u8] {
        let start = match part {
            Part::Path => 0,
            Part::Query | Part::Host | Part::UserAgent | Part::Referer => {
                self.ends[part as usize - 1]
            }
        };
        &self.text[start..self.ends[part as usize]]
    }
}
