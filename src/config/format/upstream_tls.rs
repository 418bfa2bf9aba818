//! `[upstream.<name>.tls]` as it is written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TlsVersion, is_default};

/// `[upstream.<name>.tls]`: endpoints are spoken to in TLS, and have to prove who they are.
/// `tls = {}` is enough where their certificates are public.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// File of the authorities that certificates of endpoints may come from, in PEM: these and no
    /// others. Default: those of `roots`.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/internal-ca.pem"]))]
    pub ca: Option<PathBuf>,
    /// Which public authorities they may come from. Default: webpki.
    pub roots: Option<PublicRoots>,
    /// The name that endpoints are asked for (SNI) and that their certificates have to be for.
    /// Default: what `server_name_from` says.
    #[schemars(extend("format" = "x-host", "examples" = ["api.internal"]))]
    pub server_name: Option<String>,
    /// Where that name comes from. Default: endpoint.
    pub server_name_from: Option<ServerNameFrom>,
    /// Names of which a certificate has to have one, instead of the name that is asked for: of
    /// hosts, addresses, or URIs such as those of SPIFFE. Default: the name that is asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-san"},
        "examples" = [["spiffe://example.org/api"]]
    ))]
    pub san: Vec<String>,
    /// What endpoints are shown that ask for a certificate of ours, with its key. Default: none.
    pub certificate: Option<OwnCertificate>,
    /// Protocols that are offered (ALPN), the preferred first. An upstream that gets requests
    /// offers nothing else than what its `protocol` allows.
    /// Default: for requests what `protocol` says, and none for the bytes of a TCP listener.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-alpn"},
        "examples" = [["http/1.1"]]
    ))]
    pub alpn: Vec<String>,
    /// The oldest version that is spoken. Default: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Whether any certificate (of X.509 version 3) will do. Then whoever sits between here and the
    /// endpoints reads and changes everything; `check`, the start and `status` warn of it. Default:
    /// false.
    pub insecure_skip_verify: Option<bool>,
}

/// A certificate that endpoints are shown, and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnCertificate {
    /// File of the certificate and those that lead from it to a root, in PEM. A relative path
    /// begins in the folder of the configuration file that names it.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/proxy.pem"]))]
    pub cert: PathBuf,
    /// File of the certificate's private key, in PEM. Relative as `cert` is.
    #[schemars(extend("format" = "x-file", "examples" = ["tls/proxy.key"]))]
    pub key: PathBuf,
}

/// Public authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublicRoots {
    /// Mozilla's list, as this program was built with: the same on every machine.
    Webpki,
    /// Those of the system, read at each start and reload.
    System,
}

/// Where the name comes from that endpoints are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerNameFrom {
    /// The endpoint's address, as it is written: a name, or an IP address.
    Endpoint,
    /// The request's host, after `rewrite.host`; connections are kept apart by it. Where there is
    /// no request, the endpoint's address.
    Host,
}
