//! What a request to the admin API is about: its path and its query.

use std::borrow::Cow;

use http::Method;

/// A thing that the admin API shows or does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Livez,
    Readyz,
    Startupz,
    Metrics,
    Status,
    Info,
    Listeners,
    Certificates,
    Routes,
    Upstreams,
    /// The endpoints of the upstream of this name.
    Endpoints(String),
    Config,
    Events,
    Route,
    Reload,
    Upgrade,
}

/// The parameters of a query, decoded, in the order as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Resource {
    /// The resource at a path; `None` if there is none.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/startupz" => Some(Self::Startupz),
            "/metrics" => Some(Self::Metrics),
            "/v1/status" => Some(Self::Status),
            "/v1/info" => Some(Self::Info),
            "/v1/listeners" => Some(Self::Listeners),
            "/v1/certificates" => Some(Self::Certificates),
            "/v1/routes" => Some(Self::Routes),
            "/v1/upstreams" => Some(Self::Upstreams),
            "/v1/config" => Some(Self::Config),
            "/v1/events" => Some(Self::Events),
            "/v1/route" => Some(Self::Route),
            "/v1/reload" => Some(Self::Reload),
            "/v1/upgrade" => Some(Self::Upgrade),
            other => {
                let name = other.strip_prefix("/v1/upstreams/")?;
                let name = name.strip_suffix("/endpoints")?;
                (!name.is_empty() && !name.contains('/'))
                    .then(|| Self::Endpoints(decoded(name, Plus::IsPlus).into_owned()))
            }
        }
    }

    /// The methods that it takes, as `Allow` lists them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Reload | Self::Upgrade => "POST",
            Self::Livez
            | Self::Readyz
            | Self::Startupz
            | Self::Metrics
            | Self::Status
            | Self::Info
            | Self::Listeners
            | Self::Certificates
            | Self::Routes
            | Self::Upstreams
            | Self::Endpoints(_)
            | Self::Config
            | Self::Events
            | Self::Route => "GET, HEAD",
        }
    }

    /// Whether it takes this method.
    pub(super) fn admits(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method)
    }

    /// Whether it is one of the probes, which anybody may ask.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self, Self::Livez | Self::Readyz | Self::Startupz)
    }

    /// Whether it changes something.
    pub(super) fn changes(&self) -> bool {
        self.allow() == "POST"
    }
}

impl Query {
    /// The parameters of a query as it came.
    pub(super) fn new(written: Option<&str>) -> Self {
        let parts = written.unwrap_or_default().split('&');
        let parameter = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text| decoded(text, Plus::IsSpace).into_owned();
            (decode(name), decode(value))
        };
        Self(
            parts
                .filter(|part| !part.is_empty())
                .map(parameter)
                .collect(),
        )
    }

    /// The first parameter of this name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All parameters of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(other, _)| other == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// What `+` stands for: a space in queries (the URL standard's form encoding), itself in paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsSpace,
    IsPlus,
}

/// Percent-escapes taken off. A `%` without two digits stands for itself; what is not UTF-8 is
/// replaced: a name that has it names nothing here.
fn decoded(text: &str, plus: Plus) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..])
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) =>
            {
                bytes.push(high << 4 | low);
                rest = after;
            }
            (b'+', _) if plus == Plus::IsSpace => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_resource_or_none() {
        assert_eq!(Resource::at("/livez"), Some(Resource::Livez));
        let endpoints = |name: &str| Some(Resource::Endpoints(name.into()));
        assert_eq!(
            Resource::at("/v1/upstreams/api/endpoints"),
            endpoints("api")
        );
        assert_eq!(
            Resource::at("/v1/upstreams/a%2Fb+c%zz/endpoints"),
            endpoints("a/b+c%zz")
        );
        for nothing in [
            "/",
            "/v1",
            "/livez/",
            "/v1/upstreams//endpoints",
            "/v1/upstreams/api",
            "/v1/upstreams/a/b/endpoints",
            "/V1/status",
        ] {
            assert_eq!(Resource::at(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn only_reloads_and_upgrades_change_something() {
        assert!(Resource::Upgrade.changes() && !Resource::Upgrade.admits(&Method::GET));
        assert!(Resource::Reload.changes() && Resource::Reload.admits(&Method::POST));
        assert!(!Resource::Reload.admits(&Method::GET));
        assert!(!Resource::Status.changes() && !Resource::Status.admits(&Method::POST));
        assert!(Resource::Status.admits(&Method::HEAD) && Resource::Status.admits(&Method::GET));
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::new(Some(
            "url=http%3A%2F%2Fa%2Fb%3Fc&header=x:+1&&header=y%3a2&verbose",
        ));
        assert_eq!(query.first("url"), Some("http://a/b?c"));
        assert_eq!(query.all("header").collect::<Vec<_>>(), ["x: 1", "y:2"]);
        assert_eq!(query.first("verbose"), Some(""));
        assert_eq!(query.first("since"), None);
        assert_eq!(Query::new(None), Query::default());
    }
}
