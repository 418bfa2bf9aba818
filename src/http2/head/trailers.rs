//! Trailers (RFC 9113 §8.1).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::HeadError;
use super::field::{OF_A_CONNECTION, Room, check_name, value};
use crate::message::{Role, header_name_is_forbidden_in_trailers, role};

/// Reads trailers, field by field. Those that have no place behind a body are dropped, as
/// those of HTTP/1.1 are.
#[derive(Debug)]
pub struct TrailersReader {
    room: Room,
    error: Option<HeadError>,
    trailers: HeaderMap,
}

impl TrailersReader {
    /// A reader.
    pub fn new() -> Self {
        Self {
            room: Room::new(MAX_TRAILERS, MAX_TRAILER_FIELDS),
            error: None,
            trailers: HeaderMap::new(),
        }
    }

    /// Takes the next field.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        if self.error.is_none()
            && let Err(error) = self.read(name, value)
        {
            self.error = Some(error);
        }
    }

    /// The trailers, now that their block is over; `None` if none are left.
    pub fn finish(self) -> Result<Option<HeaderMap>, HeadError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Some(self.trailers).filter(|trailers| !trailers.is_empty())),
        }
    }

    fn read(&mut self, name: &[u8], bytes: &[u8]) -> Result<(), HeadError> {
        self.room.take_bytes(name, bytes)?;
        self.room.take_line()?;
        let value = value(bytes)?;
        if name.first() == Some(&b':') {
            return Err(HeadError::Malformed("a pseudo field in trailers"));
        }
        check_name(name)?;
        match role(name) {
            Role::EndToEnd | Role::Host | Role::Expect | Role::ContentLength => {}
            Role::Te
            | Role::Connection
            | Role::TransferEncoding
            | Role::Upgrade
            | Role::Dropped => {
                return Err(OF_A_CONNECTION);
            }
        }
        let name = keep_name(name)?;
        if !header_name_is_forbidden_in_trailers(&name) {
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| HeadError::Malformed("malformed trailer"))?;
            self.trailers
                .try_append(name, value)
                .map_err(|_| HeadError::TooLarge)?;
        }
        Ok(())
    }
}

impl Default for TrailersReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The names that every answer of gRPC has are there already.
fn keep_name(name: &[u8]) -> Result<HeaderName, HeadError> {
    match name {
        b"grpc-status" => Ok(GRPC_STATUS),
        b"grpc-message" => Ok(GRPC_MESSAGE),
        _ => HeaderName::from_bytes(name).map_err(|_| HeadError::Malformed("malformed trailer")),
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Bytes of trailers, as for HTTP/1.1.
const MAX_TRAILERS: usize = 8 * 1024;

/// Fields of trailers, as for HTTP/1.1.
const MAX_TRAILER_FIELDS: usize = 64;
