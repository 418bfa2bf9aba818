//! Requests (RFC 9113 §8.3.1, RFC 8441).

use bytes::Bytes;
use http::{Method, Uri, Version, header};

use super::field::{OF_A_CONNECTION, Room, check_name, keep_length, read_length, value};
use super::{HeadError, RequestHead, target};
use crate::http2::settings::Settings;
use crate::message::{Fields, RequestParts, Role, Value, is_token, role};

/// Reads the head of a request, field by field.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that is there or not, in any combination"
)]
pub struct RequestReader {
    room: Room,
    error: Option<HeadError>,
    may_connect: bool,
    pseudo: Pseudo,
    /// Whether a field has come that is no pseudo field.
    has_fields: bool,
    /// Whether there was a `host`.
    has_host: bool,
    fields: Fields,
    /// The place of `cookie` among them.
    cookie: Option<usize>,
    /// What came of it when it was not the last field any more.
    crumbs: Vec<u8>,
    length: Option<u64>,
    te_trailers: bool,
    expects_continue: bool,
    /// Whether something is expected that is not known.
    expects_other: bool,
}

/// Pseudo fields that have come. The authority is among the fields, as `Host`.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Method>,
    is_https: Option<bool>,
    path: Option<Bytes>,
    protocol: Option<Box<[u8]>>,
    has_authority: bool,
}

impl RequestReader {
    /// A reader that allows what these settings do.
    pub fn new(settings: &Settings) -> Self {
        Self {
            room: Room::new(settings.head, settings.fields),
            error: None,
            may_connect: settings.connect_protocol,
            pseudo: Pseudo::default(),
            has_fields: false,
            has_host: false,
            fields: Fields::new(),
            cookie: None,
            crumbs: Vec::new(),
            length: None,
            te_trailers: false,
            expects_continue: false,
            expects_other: false,
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
    pub fn finish(mut self, ends: bool) -> Result<RequestHead, HeadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Some(method) = self.pseudo.method.take() else {
            return Err(HeadError::Malformed("no :method"));
        };
        let uri = self.target(&method)?;
        if method == Method::CONNECT && self.length.is_some() {
            return Err(HeadError::Malformed("CONNECT with a content-length"));
        }
        if ends && self.length.is_some_and(|length| length > 0) {
            return Err(HeadError::Malformed("no body, but a content-length"));
        }
        if let Some(place) = self.cookie
            && !self.crumbs.is_empty()
        {
            self.fields.extend_line(place, &[&self.crumbs]);
        }
        if self.expects_other {
            return Err(HeadError::Expectation);
        }
        Ok(RequestHead {
            parts: RequestParts {
                method,
                uri,
                version: Version::HTTP_2,
                headers: self.fields,
            },
            length: self.length,
            ends,
            expect_continue: self.expects_continue,
            te_trailers: self.te_trailers,
            is_https: self.pseudo.is_https == Some(true),
            protocol: self.pseudo.protocol,
        })
    }

    /// The target, and whether what must be there for it is there.
    fn target(&mut self, method: &Method) -> Result<Uri, HeadError> {
        let pseudo = &mut self.pseudo;
        let is_connect = *method == Method::CONNECT;
        if pseudo.protocol.is_some() && !(is_connect && self.may_connect) {
            return Err(HeadError::Malformed(":protocol where it must not be"));
        }
        // The only request whose authority is its target, and that cannot do without (§8.5).
        let is_tunnel = is_connect && pseudo.protocol.is_none();
        if is_connect && !pseudo.has_authority {
            return Err(HeadError::Malformed("CONNECT without :authority"));
        }
        if is_tunnel {
            if pseudo.path.is_some() || pseudo.is_https.is_some() {
                return Err(HeadError::Malformed("CONNECT with :scheme or :path"));
            }
            let host = self.fields.get(header::HOST);
            return target::tunnel(host.map_or(&[], Value::as_bytes));
        }
        if pseudo.is_https.is_none() {
            return Err(HeadError::Malformed("no :scheme"));
        }
        let Some(path) = pseudo.path.take() else {
            return Err(HeadError::Malformed("no :path"));
        };
        if !pseudo.has_authority && !self.has_host {
            return Err(HeadError::Malformed("neither :authority nor host"));
        }
        target::path(method, path)
    }

    fn read(&mut self, name: &[u8], bytes: &[u8]) -> Result<(), HeadError> {
        self.room.take_bytes(name, bytes)?;
        let value = value(bytes)?;
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        check_name(name)?;
        self.has_fields = true;
        if name == b"cookie" {
            return self.cookie(value);
        }
        self.room.take_line()?;
        match role(name) {
            role @ (Role::EndToEnd | Role::Expect) => {
                // Endpoints and we know one expectation; of another, nobody can say who answers it.
                if role == Role::Expect {
                    let is_known = value.as_bytes().eq_ignore_ascii_case(CONTINUE);
                    self.expects_continue |= is_known;
                    self.expects_other |= !is_known;
                }
                self.fields.append_decoded(name, value, role);
            }
            Role::Host => self.host(value)?,
            Role::ContentLength => {
                let length = read_length(&mut self.length, value)?;
                keep_length(&mut self.fields, name, length);
            }
            Role::Te if value.as_bytes().eq_ignore_ascii_case(b"trailers") => {
                self.te_trailers = true;
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
        let pseudo = &mut self.pseudo;
        let bytes = value.as_bytes();
        let is_repeated = match name {
            b":method" => pseudo.method.replace(method(bytes)?).is_some(),
            b":scheme" => pseudo.is_https.replace(scheme(bytes)?).is_some(),
            b":path" => pseudo.path.replace(keep_path(bytes)).is_some(),
            b":protocol" => pseudo.protocol.replace(protocol(bytes)?).is_some(),
            b":authority" => {
                target::authority(bytes)?;
                self.fields.append_decoded(HOST, value, Role::Host);
                std::mem::replace(&mut pseudo.has_authority, true)
            }
            _ => return Err(HeadError::Malformed("unknown pseudo field")),
        };
        if is_repeated {
            return Err(HeadError::Malformed("a pseudo field twice"));
        }
        Ok(())
    }

    /// `host` may repeat what `:authority` says, or stand in its place.
    fn host(&mut self, value: Value<'_>) -> Result<(), HeadError> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(HeadError::Malformed("more than one host"));
        }
        let host = target::authority(value.as_bytes())?;
        if !self.pseudo.has_authority {
            self.fields.begin_with(HOST, value, Role::Host);
            self.cookie = self.cookie.map(|place| place + 1);
            return Ok(());
        }
        let authority = self.fields.get(header::HOST);
        let authority = target::authority(authority.map_or(&[], Value::as_bytes))?;
        if !target::is_same(authority, host, self.pseudo.is_https) {
            return Err(HeadError::Malformed("host is not what :authority says"));
        }
        Ok(())
    }

    /// A cookie may come in crumbs, and is one line outside of HTTP/2 (RFC 9113 §8.2.3). They count
    /// as that line. An empty one says nothing, and would leave white space at the end.
    fn cookie(&mut self, value: Value<'_>) -> Result<(), HeadError> {
        if value.is_empty() {
            return Ok(());
        }
        let Some(place) = self.cookie else {
            self.room.take_line()?;
            self.cookie = Some(self.fields.len());
            self.fields.append_decoded(b"cookie", value, Role::EndToEnd);
            return Ok(());
        };
        if place + 1 == self.fields.len() {
            self.fields.extend_line(place, &[CRUMBS, value.as_bytes()]);
        } else {
            // Put behind the first at the end: to copy it for each would be many times its size.
            self.crumbs.extend_from_slice(CRUMBS);
            self.crumbs.extend_from_slice(value.as_bytes());
        }
        Ok(())
    }
}

fn method(text: &[u8]) -> Result<Method, HeadError> {
    let method = Method::from_bytes(text).ok();
    method
        // `PRI` is the beginning of HTTP/2 and no method (RFC 9113 §11.6): who reads it on a
        // connection of HTTP/1.1 may take what follows for that.
        .filter(|_| text.len() <= MAX_METHOD && is_token(text) && text != b"PRI")
        .ok_or(HeadError::Malformed("malformed :method"))
}

/// Whether it is `https`. Schemes are written small; others lead nowhere here.
fn scheme(text: &[u8]) -> Result<bool, HeadError> {
    match text {
        b"https" => Ok(true),
        b"http" => Ok(false),
        _ => Err(HeadError::Malformed(":scheme is neither http nor https")),
    }
}

/// The bytes of a path, to be kept until the method is known.
fn keep_path(text: &[u8]) -> Bytes {
    match text {
        b"/" => Bytes::from_static(b"/"),
        text => Bytes::copy_from_slice(text),
    }
}

/// A name of the registry of upgrade tokens (RFC 8441 §4).
fn protocol(text: &[u8]) -> Result<Box<[u8]>, HeadError> {
    if text.len() > MAX_PROTOCOL || !is_token(text) {
        return Err(HeadError::Malformed("malformed :protocol"));
    }
    Ok(text.into())
}

/// As HTTP/1.1 spells it.
const HOST: &[u8] = b"Host";

/// Between the crumbs of a cookie.
const CRUMBS: &[u8] = b"; ";

/// The one expectation that there is (RFC 9110 §10.1.1).
const CONTINUE: &[u8] = b"100-continue";

/// Bytes of a method, as for HTTP/1.1. The longest that is registered has 17 (RFC 4437).
const MAX_METHOD: usize = 32;

/// Bytes of a protocol. The longest that is registered has 15 (`connect-udp` and its like).
const MAX_PROTOCOL: usize = 32;
