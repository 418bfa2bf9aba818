//! Who a client showed itself to be, told in fields.
//!
//! What the client's own certificate says replaces whatever came under these names; nothing is
//! appended, so an application that reads only the first line, or only the last, is not fooled.

use std::sync::LazyLock;

use http::HeaderName;

use crate::message::{CLIENT_CERT, Fields, PreparedName, Value, name_tells_of_certificate};
use crate::net::ClientCertificate;

/// Tells endpoints, and routes, of a certificate that the client of this connection showed.
pub fn tell_certificate(headers: &mut Fields, certificate: &ClientCertificate) {
    headers.remove_if(b"cx", name_tells_of_certificate);
    let texts = [
        (&SUBJECT, Some(&certificate.subject)),
        (&SAN, Some(&certificate.list_of_names)),
        (&SPIFFE_ID, certificate.spiffe_id.as_ref()),
        (&FINGERPRINT, Some(&certificate.fingerprint)),
        (&WHOLE, certificate.whole.as_ref()),
    ];
    for (name, text) in texts {
        let text = text.filter(|text| !text.is_empty());
        if let Some(value) = text.and_then(|text| Value::new(text.trim_ascii().as_bytes())) {
            headers.insert_prepared(name, value);
        }
    }
}

static SUBJECT: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&HeaderName::from_static("x-client-cert-subject")));

static SAN: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&HeaderName::from_static("x-client-cert-san")));

static SPIFFE_ID: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&HeaderName::from_static("x-client-cert-spiffe-id")));

static FINGERPRINT: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&HeaderName::from_static("x-client-cert-fingerprint")));

static WHOLE: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&HeaderName::from_static(CLIENT_CERT)));
