//! What a health check means: the written settings, parsed once.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::config::{self, OctetPattern, StatusPattern, octets};

/// How the endpoints of an upstream are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time between two probes, before jitter.
    pub interval: Duration,
    /// Limit of one probe.
    pub timeout: Duration,
    /// Good probes in a row that make an endpoint healthy.
    pub healthy_after: u32,
    /// Bad probes in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// The port that is probed, if other than the endpoint's own.
    pub port: Option<u16>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// That a resource answers with an expected status.
    Http(Box<HttpProbe>),
    /// That the gRPC health service says that a service serves.
    Grpc(Box<GrpcProbe>),
    /// That a connection is accepted.
    Tcp,
    /// That a datagram is answered.
    Udp(Box<UdpProbe>),
}

/// What a gRPC probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service; empty is the server as a whole.
    pub service: String,
    /// `:authority`, if other than the endpoint's address.
    pub host: Option<HeaderValue>,
}

/// What a UDP probe sends, and what it expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpProbe {
    /// What is sent.
    pub send: Vec<u8>,
    /// What the answer has to hold, if not anything will do.
    pub expect: Option<OctetPattern>,
}

/// The request of an HTTP probe, and what is expected of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// GET, HEAD or OPTIONS.
    pub method: Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// The Host field, if other than the endpoint's address.
    pub host: Option<HeaderValue>,
    /// Further fields.
    pub headers: HeaderMap,
    /// Statuses that are good.
    pub expected: Statuses,
}

/// A set of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses {
    ranges: Vec<RangeInclusive<u16>>,
}

/// A setting that makes no sense. The checks of the configuration report these with their place;
/// here they are refused, so that none can slip through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthCheckError {
    /// None or several of `http`, `grpc`, `tcp` and `udp`.
    #[error("a health check needs exactly one of `http`, `grpc`, `tcp` and `udp`")]
    NotOneProbe,
    /// A time of zero.
    #[error("`{0}` of a health check must be longer than zero")]
    Zero(&'static str),
    /// A method that could change something.
    #[error("a health check cannot use the method `{0}`: GET, HEAD or OPTIONS")]
    Method(String),
    /// No path.
    #[error("`{0}` is no path for a health check")]
    Path(String),
    /// A value that no field can have.
    #[error("`{0}` cannot be a host")]
    Host(String),
    /// A field that cannot be sent.
    #[error("`{0}` cannot be a field of a health check")]
    Header(String),
    /// Bytes that are not written as they have to be.
    #[error("a health check cannot send or expect `{0}`: {1}")]
    Octets(String, String),
    /// No status, class or range.
    #[error("`{0}` is no status: 200, \"2xx\" or \"200-399\"")]
    Status(String),
}

impl HealthCheck {
    /// What the written settings mean.
    pub fn new(written: &config::Health) -> Result<Self, HealthCheckError> {
        let probe = match (&written.http, &written.grpc, &written.tcp, &written.udp) {
            (Some(http), None, None, None) => Probe::Http(Box::new(HttpProbe::new(http)?)),
            (None, Some(grpc), None, None) => Probe::Grpc(Box::new(GrpcProbe::new(grpc)?)),
            (None, None, Some(_), None) => Probe::Tcp,
            (None, None, None, Some(udp)) => Probe::Udp(Box::new(UdpProbe::new(udp)?)),
            _ => return Err(HealthCheckError::NotOneProbe),
        };
        let interval = written.interval.map_or(INTERVAL, |time| time.0);
        let timeout = written.timeout.map_or(TIMEOUT, |time| time.0);
        for (name, time) in [("interval", interval), ("timeout", timeout)] {
            if time.is_zero() {
                return Err(HealthCheckError::Zero(name));
            }
        }
        Ok(Self {
            probe,
            interval,
            timeout,
            healthy_after: written.healthy_after.unwrap_or(HEALTHY_AFTER).max(1),
            unhealthy_after: written.unhealthy_after.unwrap_or(UNHEALTHY_AFTER).max(1),
            port: written.port,
        })
    }
}

impl HttpProbe {
    fn new(written: &config::HealthHttp) -> Result<Self, HealthCheckError> {
        let method = match written.method.as_deref() {
            None | Some("GET") => Method::GET,
            Some("HEAD") => Method::HEAD,
            Some("OPTIONS") => Method::OPTIONS,
            Some(other) => return Err(HealthCheckError::Method(other.to_owned())),
        };
        let path = written.path.as_deref().unwrap_or("/");
        let target = path
            .parse()
            .ok()
            .filter(|_| path.starts_with('/'))
            .ok_or_else(|| HealthCheckError::Path(path.to_owned()))?;
        let mut headers = HeaderMap::with_capacity(written.headers.len());
        for (name, value) in &written.headers {
            let parsed = name
                .parse::<HeaderName>()
                .ok()
                .zip(HeaderValue::from_str(value).ok());
            let (field, value) = parsed.ok_or_else(|| HealthCheckError::Header(name.clone()))?;
            headers.append(field, value);
        }
        Ok(Self {
            method,
            target,
            host: host(written.host.as_deref())?,
            headers,
            expected: Statuses::new(&written.status)?,
        })
    }
}

impl GrpcProbe {
    fn new(written: &config::HealthGrpc) -> Result<Self, HealthCheckError> {
        Ok(Self {
            service: written.service.clone().unwrap_or_default(),
            host: host(written.host.as_deref())?,
        })
    }
}

impl UdpProbe {
    fn new(written: &config::HealthUdp) -> Result<Self, HealthCheckError> {
        let refused = |text: &str, why| HealthCheckError::Octets(text.to_owned(), why);
        let expect = written.expect.as_deref().map(|text| {
            let pattern = text.parse();
            pattern.map_err(|why| refused(text, why))
        });
        Ok(Self {
            send: octets(&written.send).map_err(|why| refused(&written.send, why))?,
            expect: expect.transpose()?,
        })
    }
}

impl Statuses {
    /// The statuses of these patterns; of none, 200 to 399.
    pub fn new(patterns: &[StatusPattern]) -> Result<Self, HealthCheckError> {
        if patterns.is_empty() {
            return Ok(Self {
                ranges: vec![200..=399],
            });
        }
        let ranges = patterns.iter().map(range).collect::<Result<_, _>>()?;
        Ok(Self { ranges })
    }

    /// Whether a status is one of them.
    pub fn contains(&self, status: StatusCode) -> bool {
        self.has(status.as_u16())
    }

    /// The same by its number.
    pub(super) fn has(&self, status: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&status))
    }
}

/// Who is asked for, where it is written.
fn host(written: Option<&str>) -> Result<Option<HeaderValue>, HealthCheckError> {
    let parsed = written.map(|host| {
        HeaderValue::from_str(host).map_err(|_| HealthCheckError::Host(host.to_owned()))
    });
    parsed.transpose()
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            if range.start() == range.end() {
                write!(f, "{}", range.start())?;
            } else {
                write!(f, "{}–{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

fn range(pattern: &StatusPattern) -> Result<RangeInclusive<u16>, HealthCheckError> {
    let range = match pattern {
        StatusPattern::Code(code) => Some(*code..=*code),
        StatusPattern::Range(text) => match text.split_once('-') {
            Some((from, to)) => from.trim().parse().ok().zip(to.trim().parse().ok()),
            None => class(text),
        }
        .map(|(from, to)| from..=to),
    };
    range
        .filter(|range| range.start() <= range.end())
        .filter(|range| *range.start() >= 100 && *range.end() <= 599)
        .ok_or_else(|| match pattern {
            StatusPattern::Code(code) => HealthCheckError::Status(code.to_string()),
            StatusPattern::Range(text) => HealthCheckError::Status(text.clone()),
        })
}

/// `2xx`, or a single status that was written as text.
fn class(text: &str) -> Option<(u16, u16)> {
    if let Some(digit) = text.strip_suffix("xx") {
        let class = digit.parse::<u16>().ok()?.checked_mul(100)?;
        return Some((class, class.checked_add(99)?));
    }
    let code = text.parse().ok()?;
    Some((code, code))
}

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// One good probe can be luck while a service starts.
const HEALTHY_AFTER: u32 = 2;
/// Two lost probes can be a lost packet and its echo.
const UNHEALTHY_AFTER: u32 = 3;

#[cfg(test)]
mod tests;
