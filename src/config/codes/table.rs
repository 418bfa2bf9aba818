//! The explanations, one for each code.

use super::{Code, Explanation};

/// Every code, in the order of their numbers.
pub const CODES: [Explanation; Code::OwnListener as usize + 1] = [
    Explanation {
        code: Code::Syntax,
        id: "E0101",
        summary: "this is not valid TOML",
        text: "The file cannot be read as TOML. Everything that the parser could still make out \
               was checked, but names and relations were not: they would only repeat the same mistake \
               in other words.",
    },
    Explanation {
        code: Code::UnknownSetting,
        id: "E0102",
        summary: "unknown setting",
        text: "A key that no setting has at this place. Nothing is silently ignored: a misspelt limit \
               that is not in force is found in the next overload. The suggestion is the nearest \
               setting that is known here.",
    },
    Explanation {
        code: Code::MissingSetting,
        id: "E0103",
        summary: "a setting is missing",
        text: "A table lacks a setting without which it means nothing, such as the `bind` of a \
               listener.",
    },
    Explanation {
        code: Code::WrongValue,
        id: "E0104",
        summary: "wrong type or value",
        text: "The value has another type than the setting, is not one of the words that the setting \
               knows, or lies outside its range.",
    },
    Explanation {
        code: Code::Unit,
        id: "E0105",
        summary: "not a value with a unit",
        text: "Times (`500ms`, `30s`, `5m`, `2h`, `1d`), sizes (`512B`, `64KiB`, `1MiB`, `2GiB`) and \
               ratios (`20%`) are strings with a unit, since a bare number has meant seconds to one \
               reader and milliseconds to another. Zero and what exceeds the setting's range are \
               refused as well.",
    },
    Explanation {
        code: Code::Address,
        id: "E0106",
        summary: "not an address",
        text: "A listener binds `:8080`, `10.0.0.1:8080` or `[::1]:8080`. An endpoint is `host:port`, \
               `[v6]:port` or `unix:/path`. A network is `10.0.0.0/8`. A Unix socket's path has at \
               most 107 bytes, which is a limit of the kernel.",
    },
    Explanation {
        code: Code::Variable,
        id: "E0107",
        summary: "a variable is not set",
        text: "`${NAME}` names an environment variable that is not set, or `${file:/path}` a file \
               that cannot be read. `${NAME:-default}` has a value in any case.",
    },
    Explanation {
        code: Code::Unreadable,
        id: "E0108",
        summary: "a file cannot be read",
        text: "The configuration itself, a file that `include` names, or the folder of such a glob \
               cannot be read, or is not UTF-8.",
    },
    Explanation {
        code: Code::DefinedTwice,
        id: "E0109",
        summary: "defined twice",
        text: "The same table or setting stands twice, in one file or in two. Neither is preferred: \
               the order of files would decide what is served. Names of header fields count as the \
               same whatever their case. The unnamed upstream of a listener's `to`, and the route to a \
               listener's own upstream, go by `listener.<name>`, which no other upstream or route \
               may be called then.",
    },
    Explanation {
        code: Code::Override,
        id: "E0110",
        summary: "an environment variable overrides nothing",
        text: "A variable that begins with `EVENKEEL__` names no setting. The rest of its name is the \
               path to the setting in capitals, its parts joined by two underscores: \
               `EVENKEEL__UPSTREAM__API__BALANCE`. Only strings, numbers and booleans are set in this \
               way, and only inside listeners, routes, upstreams and zones that a file defines.",
    },
    Explanation {
        code: Code::VariableSyntax,
        id: "E0111",
        summary: "malformed variable",
        text: "`${…}` holds a name of letters, digits and underscores, such a name with a default \
               (`${ZONE:-eu-1a}`), or a file (`${file:/run/secrets/token}`). Variables do not nest. \
               `$$` is a plain `$`.",
    },
    Explanation {
        code: Code::NotInInclude,
        id: "E0112",
        summary: "belongs into the main file",
        text: "An included file may hold `listener`, `route`, `upstream` and `test`. Settings of the \
               whole instance, and further includes, stand in the main file, so that one look there \
               shows them.",
    },
    Explanation {
        code: Code::Name,
        id: "E0113",
        summary: "malformed name",
        text: "Names of listeners, routes, upstreams and zones become metric labels, log fields and \
               parts of environment variables: 1 to 64 letters, digits, `-`, `_` and `.`, beginning \
               with a letter or digit.",
    },
    Explanation {
        code: Code::Host,
        id: "E0114",
        summary: "malformed host",
        text: "A host is a DNS name in ASCII (`api.example.com`; international names in their `xn--` \
               form) or an IP address, without scheme, port and path. A route may also name \
               `*.example.com`, which stands for every name below `example.com` but not for itself.",
    },
    Explanation {
        code: Code::Path,
        id: "E0115",
        summary: "malformed path",
        text: "A path begins with `/` and holds what may stand in a request's target; everything else \
               is percent-encoded. A route's path is a prefix (`/v1/`), an exact path (`=/v1/ping`) \
               or a regular expression (`~^/v[0-9]+/`).",
    },
    Explanation {
        code: Code::Regex,
        id: "E0116",
        summary: "a regular expression does not compile",
        text: "The syntax is that of Rust's regex crate: no look-around and no back-references, and \
               so matching takes time linear in the input. The compiled form is limited to 1 MiB.",
    },
    Explanation {
        code: Code::Field,
        id: "E0117",
        summary: "malformed header field",
        text: "A field's name is a token (RFC 9110 §5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``. \
               Its value is visible ASCII with spaces and tabs between, never line breaks.",
    },
    Explanation {
        code: Code::Status,
        id: "E0118",
        summary: "malformed status",
        text: "A status is a number from 100 to 599, a class (`\"2xx\"`) or a range (`\"200-399\"`).",
    },
    Explanation {
        code: Code::Method,
        id: "E0119",
        summary: "malformed method",
        text: "A method is a token, and its case matters (RFC 9110 §9.1): `GET`, not `get`.",
    },
    Explanation {
        code: Code::TestRequest,
        id: "E0120",
        summary: "malformed test",
        text: "A `[[test]]` has a request of the form `GET https://host/path`, and expects at least \
               one of `route`, `upstream`, `status` and `location`.",
    },
    Explanation {
        code: Code::Version,
        id: "E0121",
        summary: "unknown version of the format",
        text: "This program reads version 1 of the format. A file with a later version was written \
               for a later program.",
    },
    Explanation {
        code: Code::NoAddress,
        id: "E0122",
        summary: "a name without an address",
        text: "The name of an endpoint cannot be looked up. It is found at a start and a reload, which \
               need every address; `evenkeel check` asks no name server. The configuration is refused \
               as a whole: an upstream that lacks endpoints is noticed when they are needed.",
    },
    Explanation {
        code: Code::UnknownName,
        id: "E0201",
        summary: "a name that does not exist",
        text: "A route, listener or test names a listener, route or upstream that no file defines.",
    },
    Explanation {
        code: Code::DoubleBind,
        id: "E0202",
        summary: "an address is bound twice",
        text: "Two listeners, or a listener and `admin.http`, accept on the same address, or one on \
               every address of a port and the other on one of them. One listener serves any number \
               of routes.",
    },
    Explanation {
        code: Code::NoAction,
        id: "E0203",
        summary: "a route without an action",
        text: "A route does exactly one thing: `upstream`, `split`, `redirect` or `respond`.",
    },
    Explanation {
        code: Code::ManyActions,
        id: "E0204",
        summary: "a route with several actions",
        text: "A route does exactly one thing. To share traffic between upstreams, use `split`.",
    },
    Explanation {
        code: Code::NoEndpoints,
        id: "E0205",
        summary: "an upstream without endpoints",
        text: "Every request to it would fail. Endpoints stand in `endpoints`, or in \
               `[upstream.<name>.zone.<zone>]`.",
    },
    Explanation {
        code: Code::DoubleEndpoint,
        id: "E0206",
        summary: "an endpoint stands twice",
        text: "An upstream knows an endpoint by its address; twice the same would be counted, checked \
               and limited as one. `weight` gives it more traffic.",
    },
    Explanation {
        code: Code::HealthProbe,
        id: "E0207",
        summary: "a health check without, or with two, probes",
        text: "A health check has exactly one of `http` and `tcp`.",
    },
    Explanation {
        code: Code::HealthInterval,
        id: "E0208",
        summary: "a health check slower than its interval",
        text: "A probe may take longer than the time to the next one. The timeout has to be at most \
               the interval, so that probes of one endpoint never overlap.",
    },
    Explanation {
        code: Code::NoTarget,
        id: "E0209",
        summary: "a TCP listener without a target",
        text: "A TCP listener reads nothing that a route could match: it needs `upstream` or `to`.",
    },
    Explanation {
        code: Code::HttpOnly,
        id: "E0210",
        summary: "an HTTP setting on a TCP listener",
        text: "A TCP listener relays bytes unread. Routes and settings that are about requests and \
               fields do nothing there.",
    },
    Explanation {
        code: Code::TimeoutWithoutEffect,
        id: "E0211",
        summary: "a time limit without effect",
        text: "Each time limit belongs to one side: those of the client's connection to listeners, \
               those of the endpoint's connection to upstreams and routes. Set where it does nothing, \
               it would only look as if it were in force.",
    },
    Explanation {
        code: Code::SameMatch,
        id: "E0212",
        summary: "two routes match the same requests",
        text: "Host, path, methods, headers and query of both are equally specific for the same \
               requests, so that nothing but their names would decide. `/v1` and `/v1/` are the same \
               prefix.",
    },
    Explanation {
        code: Code::ZeroSplit,
        id: "E0213",
        summary: "a split without weight",
        text: "Every weight of the split is 0, so that no request could go anywhere.",
    },
    Explanation {
        code: Code::ReservedField,
        id: "E0214",
        summary: "a field that a route cannot touch",
        text: "Framing (`Content-Length`, `Transfer-Encoding`) and hop-by-hop fields (`Connection` \
               and its kin, RFC 9110 §7.6.1) belong to the connection, not to the message; editing \
               them is how requests are smuggled. `Host` is changed by `rewrite.host` and matched by \
               `hosts`.",
    },
    Explanation {
        code: Code::WithoutEffect,
        id: "E0215",
        summary: "a setting that does nothing with this action or path",
        text: "A redirect or a fixed response reaches no endpoint, so that rewrites, retries, request \
               fields and time limits do nothing for it; a regular expression has no prefix to strip; \
               two ways to change the prefix exclude each other.",
    },
    Explanation {
        code: Code::Protocols,
        id: "E0216",
        summary: "protocols that exclude each other",
        text: "A listener either relays bytes (`[\"tcp\"]`) or speaks HTTP (`[\"http/1.1\"]`), and \
               names its protocol once.",
    },
    Explanation {
        code: Code::TwoTargets,
        id: "E0217",
        summary: "a listener with two targets",
        text: "`to` is the shorthand for an unnamed upstream, `upstream` names one. Both at once do \
               not say which of them gets the traffic.",
    },
    Explanation {
        code: Code::RedirectNowhere,
        id: "E0218",
        summary: "a redirect to where the request came from",
        text: "None of `scheme`, `host`, `port` and `path` is changed: the client would come back for \
               ever.",
    },
    Explanation {
        code: Code::FailedTest,
        id: "E0219",
        summary: "a test that fails",
        text: "A `[[test]]` does not hold: the request gets another route, upstream, status or \
               location than its author promised. Either the routes changed what they should not \
               have, or the promise is out of date.",
    },
    Explanation {
        code: Code::ZoneLoss,
        id: "W0301",
        summary: "the loss of a zone is an outage",
        text: "Without that zone, fewer endpoints than `min_healthy` are left. Backups count.",
    },
    Explanation {
        code: Code::RetriesCannotFinish,
        id: "W0302",
        summary: "retries that cannot finish",
        text: "All attempts together take longer than the request may take: the last ones are never \
               made, or never end.",
    },
    Explanation {
        code: Code::Unreachable,
        id: "W0303",
        summary: "a route or target that nothing reaches",
        text: "Every request that it matches is taken by a route that is more specific, or no \
               listener hands it requests.",
    },
    Explanation {
        code: Code::UnusedUpstream,
        id: "W0304",
        summary: "an unused upstream",
        text: "No route and no listener sends traffic to it; its endpoints are still checked.",
    },
    Explanation {
        code: Code::IdleListener,
        id: "W0305",
        summary: "a listener that answers everything with 404",
        text: "No route applies to it, and it has neither `upstream` nor `to`.",
    },
    Explanation {
        code: Code::NoEffect,
        id: "W0306",
        summary: "a setting without effect",
        text: "It is allowed here but changes nothing together with the other settings.",
    },
    Explanation {
        code: Code::EmptyInclude,
        id: "W0307",
        summary: "an include that matches no file",
        text: "A folder of snippets may be empty; a misspelt pattern looks the same.",
    },
    Explanation {
        code: Code::NeverEnough,
        id: "W0308",
        summary: "more healthy endpoints needed than there are",
        text: "`min_healthy` is larger than the number of endpoints.",
    },
    Explanation {
        code: Code::OnlyBackups,
        id: "W0309",
        summary: "every endpoint is a backup",
        text: "Backups serve when no other endpoint is healthy. With nothing but backups they always \
               serve.",
    },
    Explanation {
        code: Code::NoListener,
        id: "W0310",
        summary: "nothing listens",
        text: "The configuration has no listener.",
    },
    Explanation {
        code: Code::TrustsEveryone,
        id: "W0311",
        summary: "every peer is trusted",
        text: "`trusted_proxies` holds a network of all addresses: any client may then say who it is, \
               and access rules and logs believe it.",
    },
    Explanation {
        code: Code::OwnListener,
        id: "W0312",
        summary: "an endpoint is a listener of this instance",
        text: "Traffic to it comes back to this instance; if the listener's routes lead to the same \
               upstream, it circles.",
    },
];

/// The table stands in the order of the enum; a build in which it does not fails here.
const _: () = {
    let mut at = 0;
    while at < CODES.len() {
        assert!(CODES[at].code as usize == at, "CODES is out of order");
        at += 1;
    }
};
