//! `[listener.<name>.tls]` as it is written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::config::units::Time;

/// `[listener.<name>.tls]`: TLS ends here. Whether endpoints are spoken to in it as well, their
/// upstream says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// What clients are shown: certificates, each with its key. At least one. The name that a
    /// client asks for (SNI) picks, by the names in the certificates (subjectAltName): an exact
    /// one comes before a wildcard, whose `*` is one label. Of several for the same name it is the
    /// first whose kind of signature the client takes, so that ECDSA and RSA stand side by side.
    /// Who asks for no name, or for one that none has, gets the first of all that it takes.
    #[schemars(extend("examples" = [
        [{"cert": "tls/example.com.pem", "key": "tls/example.com.key"}]
    ]))]
    pub certificates: Vec<Certificate>,
    /// Where `protocols = ["tcp"]` has bytes relayed: the protocols (ALPN) that clients are
    /// offered, the preferred first. A client that asks for others only is refused; one that asks
    /// for none is not. Default: none, and nothing is agreed on, whatever clients ask for.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-alpn"},
        "examples" = [["postgresql"]]
    ))]
    pub alpn: Vec<String>,
    /// The oldest version that is spoken. Default: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Handshakes under way at once, over all workers. More wait for their turn, as long as
    /// `tls_handshake` lets them; one that has taken a second then gives way. Default: 256.
    #[schemars(range(min = 1))]
    pub max_handshakes: Option<u32>,
    /// Which clients must show a certificate of their own, and whose is taken. Default: none is
    /// asked for one.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [
        [{"hosts": ["admin.example.com"], "ca": "tls/clients-ca.pem"}]
    ]))]
    pub client_certificates: Vec<ClientCertificates>,
    /// What browsers are told to remember: to come back over HTTPS alone. Default: nothing.
    pub hsts: Option<Hsts>,
}

/// `Strict-Transport-Security` (RFC 6797), on every response of the listener: endpoints' and our
/// own. It stands once, and replaces what an endpoint or a route's `response_headers` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// How long it is remembered, in whole seconds, from each response on. `"0s"` has it forgotten.
    #[schemars(extend("x-zero" = true, "examples" = ["365d"]))]
    pub max_age: Time,
    /// Whether it holds for all names below the one that was asked for. Default: false.
    pub include_subdomains: Option<bool>,
    /// Whether browsers may have it built in, from which there is no quick way back. Needs a
    /// `max_age` of `"365d"` and `include_subdomains`. Default: false.
    pub preload: Option<bool>,
}

/// A rule for clients' certificates. A request for a host with another rule than that of the name
/// that its connection was opened for (SNI) is answered 421.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// The names that it is for: `admin.example.com`, or `*.example.com` for every name below. An
    /// exact one comes before a wildcard, and of wildcards the longest first; `*` stands for all
    /// names that no other rule has, and for clients that name none. Default: the same as `*`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-server-name"},
        "examples" = [["admin.example.com", "*.internal"]]
    ))]
    pub hosts: Vec<String>,
    /// Whether a client without a certificate is refused. One that shows a certificate which is
    /// not taken is refused in any case. Default: true.
    pub require: Option<bool>,
    /// File of the authorities whose clients are taken, in PEM. Relative as `cert` is.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/clients-ca.pem"]))]
    pub ca: PathBuf,
    /// Files of lists of revoked certificates (CRL), in PEM. If there are any, each certificate
    /// between the client's and its authority must be one that a list tells of: where an authority
    /// has none, its clients are refused. One list an authority. A list whose time
    /// has passed stays in use. Default: none, nothing is revoked.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-file"},
        "examples" = [["tls/clients.crl"]]
    ))]
    pub crl: Vec<PathBuf>,
    /// Whether endpoints get the whole certificate in `Client-Cert` (RFC 9440), beside the
    /// `X-Client-Cert-*` that tell of it. Default: false.
    pub forward_certificate: Option<bool>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// File of the certificate and those that lead from it to a root, in PEM. A relative path
    /// begins in the folder of the configuration file that names it.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/example.com.pem"]))]
    pub cert: PathBuf,
    /// File of the certificate's private key, in PEM. Relative as `cert` is.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/example.com.key"]))]
    pub key: PathBuf,
    /// File of what the certificate's authority says of it (an OCSP response, RFC 6960, in DER),
    /// which clients that ask for it are shown too. Relative as `cert` is. Default: none.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/example.com.ocsp"]))]
    pub ocsp: Option<PathBuf>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}
