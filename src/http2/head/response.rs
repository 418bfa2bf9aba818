//! Responses (RFC 9113 §8.3.2).

use http::{StatusCode, Version};

use super::field::{
    OF_A_CONNECTION, Room, check_name, has_no_content, keep_length, read_length, value,
};
use super::{HeadError, ResponseHead};
use crate::http2::settings::Settings;
use crate::message::{Fields, ResponseParts, Role, Value, role};

/// Reads the head of a response, field by field; also of an interim one.
#[derive(Debug)]
pub struct ResponseReader {
    room: Room,
    error: Option<HeadError>,
    status: Option<StatusCode>,
    has_fields: bool,
    fields: Fields,
    length: Option<u64>,
}

impl ResponseReader {
    /// A reader that allows what these settings do.
    pub fn new(settings: &Settings) -> Self {
        Self {
            room: Room::new(settings.head, settings.fields),
            error: None,
            status: None,
            has_fields: false,
            fields: Fields::new(),
            length: None,
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

    /// The head, now that its block is over. `ends` says whether nothing follows (`END_STREAM`).
    /// Whether its length can be that of a body is not known here: HEAD has none.
    pub fn finish(self, ends: bool) -> Result<ResponseHead, HeadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Some(status) = self.status else {
            return Err(HeadError::Malformed("no :status"));
        };
        if ends && status.is_informational() {
            return Err(HeadError::Malformed("an interim response at the end"));
        }
        Ok(ResponseHead {
            parts: ResponseParts {
                status,
                version: Version::HTTP_2,
                headers: self.fields,
            },
            length: self.length.filter(|_| !has_no_content(status)),
            ends,
        })
    }

    fn read(&mut self, name: &[u8], bytes: &[u8]) -> Result<(), HeadError> {
        self.room.take_bytes(name, bytes)?;
        let value = value(bytes)?;
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        check_name(name)?;
        self.has_fields = true;
        self.room.take_line()?;
        match role(name) {
            role @ (Role::EndToEnd | Role::Host | Role::Expect) => {
                self.fields.append_decoded(name, value, role);
            }
            Role::ContentLength => {
                let length = read_length(&mut self.length, value)?;
                if !self.status.is_some_and(has_no_content) {
                    keep_length(&mut self.fields, name, length);
                }
            }
            Role::Te
            | Role::Connection
            | Role::TransferEncoding
            | Role::Upgrade
            | Role::Dropped => {
                return Err(OF_A_CONNECTION);
            }
        }
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: Value<'_>) -> Result<(), HeadError> {
        if self.has_fields {
            return Err(HeadError::Malformed("a pseudo field behind a field"));
        }
        if name != b":status" {
            return Err(HeadError::Malformed("unknown pseudo field"));
        }
        if self.status.replace(status(value.as_bytes())?).is_some() {
            return Err(HeadError::Malformed("a pseudo field twice"));
        }
        Ok(())
    }
}

/// Three digits from 100 to 599; HTTP/2 switches to nothing (RFC 9113 §8.6).
fn status(text: &[u8]) -> Result<StatusCode, HeadError> {
    let status = StatusCode::from_bytes(text).ok();
    status
        .filter(|status| status.as_u16() <= 599 && *status != StatusCode::SWITCHING_PROTOCOLS)
        .ok_or(HeadError::Malformed("malformed :status"))
}
