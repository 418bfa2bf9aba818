//! The configuration: what a person writes, checked with positions, and nothing of what it means.
//!
//! Problem: one wrong push to every machine is the classic outage. So a file is read wholly, every
//! mistake in every file is reported at once, each with its place, its reason and a patch, and only
//! a file without mistakes becomes a [`Config`]. What a setting *means* is decided by its owner,
//! which converts these plain types into its own.
//!
//! The way of a file: [`load`] parses it into a tree that knows the place of everything, replaces
//! variables, merges included files and overriding environment variables, checks each value against
//! the JSON [`schema`] that is generated from the types, checks how the values fit together, and
//! only then makes typed data of it.
//!
//! ```
//! use evenkeel::config::{self, Nothing};
//!
//! let text = "[listener.web]\nbind = ':8080'\nto = ['10.0.0.11:3000', '10.0.0.12:3000']\n";
//! let outcome = config::load_text("example.toml", text, &Nothing);
//! assert_eq!(outcome.config.unwrap().listener["web"].to.len(), 2);
//!
//! let outcome = config::load_text("example.toml", &text.replace("bind", "bnid"), &Nothing);
//! assert!(outcome.config.is_none());
//! assert_eq!(outcome.diagnostics[1].one_line(&outcome.sources),
//!     "example.toml:2:1: error[E0102]: unknown setting `bnid` in [listener.web]");
//! ```

mod check;
mod codes;
mod diagnostic;
mod environment;
mod files;
mod format;
mod include;
mod interpolate;
mod json;
mod load;
mod near;
mod node;
mod octets;
mod overrides;
mod path;
mod places;
mod readings;
mod reference;
mod render;
mod room;
mod schema;
mod secrets;
mod shape;
mod show;
mod source;
mod syntax;
mod units;

pub use self::codes::{CODES, Code, Explanation, Severity};
pub use self::diagnostic::{Diagnostic, Label, Patch};
pub use self::environment::{Environment, Nothing, System};
pub use self::files::named as named_files;
pub use self::format::{
    Admin, Balance, Capability, Certificate, CertificateMatch, ClientCertificates, Config,
    Defaults, Direction, DscpEntry, EndpointDetails, EndpointEntry, Endpoints, FieldEdits,
    GrpcStatus, Health, HealthGrpc, HealthHttp, HealthTcp, HealthUdp, Hedge, Hsts, Intercept,
    KeepaliveDetails, KeepaliveEntry, Listener, ListenerHttp2, ListenerLimits, ListenerSocket, Log,
    LogFormat, LogLevel, OnRemoved, OtherEndpoints, Outlier, OutlierCause, OwnCertificate,
    Protocol, ProxyHeaderPolicy, ProxyProtocolVersion, PublicRoots, RateDetails, RateEntry,
    Redirect, Reload, Respond, Retry, RetryBudget, RetryCause, Rewrite, Route, RouteExpectation,
    RouteTest, SameSite, Security, ServerNameFrom, Shutdown, StatusPattern, Sticky, Timeouts, Tls,
    TlsVersion, TrustedProxy, Upgrade, Upstream, UpstreamHttp2, UpstreamProtocol, UpstreamQueue,
    UpstreamSocket, UpstreamTls, WaitFor, Zone,
};
pub use self::load::{Outcome, load, load_text};
pub use self::octets::{OctetPattern, octets};
pub use self::places::{Difference, Places};
pub use self::readings::Readings;
pub use self::reference::reference_page;
pub use self::render::{Style, json as diagnostics_json, text as diagnostics_text};
pub use self::schema::schema;
pub use self::secrets::Secrets;
pub use self::show::{masked, secret_values, show};
pub use self::source::{Place, Position, SourceId, Sources};
pub use self::units::{Factor, Rate, Ratio, Size, Time, UnitError};

#[cfg(test)]
pub(crate) mod tests;
