//! The explanations of `E02xx`: values that do not fit together.

use super::{Code, Explanation};

/// In the order of their numbers.
pub(super) const RELATIONS: &[Explanation] = &[
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
        summary: "a health check without, or with several, probes",
        text: "A health check has exactly one of `http`, `grpc`, `tcp` and `udp`.",
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
        summary: "a listener without a target",
        text: "A TCP or UDP listener reads nothing that a route for requests could match: it needs \
               `upstream` or `to`, or, for TCP, a route with `server_name`.",
    },
    Explanation {
        code: Code::HttpOnly,
        id: "E0210",
        summary: "an HTTP setting on a listener that relays",
        text: "A TCP or UDP listener relays what comes unread. Routes and settings that are about requests and \
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
        text: "A listener relays bytes (`[\"tcp\"]`), or datagrams (`[\"udp\"]`), or speaks HTTP \
               (`http/1.1`, `h2`, `h2c`), and names each protocol once.",
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
        code: Code::NoCertificate,
        id: "E0220",
        summary: "TLS without a certificate",
        text: "`certificates` is empty: no handshake could succeed.",
    },
    Explanation {
        code: Code::DoubleCertificate,
        id: "E0221",
        summary: "a certificate stands twice",
        text: "A listener names the same file of a certificate twice. Were the keys different, one of \
               them would be wrong; are they the same, one entry does.",
    },
    Explanation {
        code: Code::TlsOfNothing,
        id: "E0222",
        summary: "TLS on a listener whose connections are all passed through",
        text: "Routes with a `server_name` pass connections on without decrypting them. A TCP listener \
               that has no target of its own has no others, so there is nothing to end TLS for.",
    },
    Explanation {
        code: Code::DoubleClientRule,
        id: "E0223",
        summary: "two rules for one name's clients",
        text: "Two entries of `client_certificates` are for the same host, or both are for all others, \
               without `hosts` or with `*`: only one of them could hold.",
    },
    Explanation {
        code: Code::NobodyAsked,
        id: "E0224",
        summary: "a client's certificate that nobody asks for",
        text: "A route matches by the client's certificate, but none of its listeners asks for one \
               (`tls.client_certificates`), or no rule of theirs is for one of the route's hosts: there \
               it would never match.",
    },
    Explanation {
        code: Code::ServerNameListener,
        id: "E0228",
        summary: "a route by server name without a listener for it",
        text: "A route with `server_name` takes connections, as they come: it names the listener that \
               reads the beginning of TLS for it. That is one with `tls`, or one with \
               `protocols = [\"tcp\"]`. On a listener for plain HTTP no client says such a name; \
               requests are told apart by `hosts`.",
    },
    Explanation {
        code: Code::ServerNameSetting,
        id: "E0229",
        summary: "a setting that does not go with `server_name`",
        text: "A route with `server_name` passes connections through without reading them. Nothing in \
               them can be matched or changed, and no answer of our own is possible: beside \
               `server_name` there are `listener`, `alpn`, `upstream` or `split`, and the time limits \
               `connect` and `tunnel_idle`. `alpn` in turn belongs to `server_name`.",
    },
    Explanation {
        code: Code::SameServerName,
        id: "E0230",
        summary: "two routes for the same server name",
        text: "Both take connections of one listener for the same name, and for the same protocol or \
               for any: nothing but the names of the routes would decide. Tell them apart by `alpn`, \
               or make them one `split`.",
    },
    Explanation {
        code: Code::NoServerName,
        id: "E0231",
        summary: "an empty list of server names or protocols",
        text: "No connection could match. `server_name = [\"*\"]` stands for any name; without \
               `alpn`, any protocol will do.",
    },
    Explanation {
        code: Code::HstsPreload,
        id: "E0232",
        summary: "a promise to browsers that their lists do not take",
        text: "With `preload`, makers of browsers are asked to build it in that a name and all below \
               it speak HTTPS alone. They take what holds for a year (`max_age = \"365d\"`) and for \
               all names below (`include_subdomains = true`), and it takes months to get off their \
               lists again.",
    },
    Explanation {
        code: Code::RedirectsAll,
        id: "E0233",
        summary: "a listener that redirects everything, and something else besides",
        text: "`redirect_to_https` sends what comes in plain text to another port. With `tls` nothing \
               comes in plain text; and `upstream` or `to` would get what no route takes, which is \
               what is redirected.",
    },
    Explanation {
        code: Code::TlsConflict,
        id: "E0236",
        summary: "settings of TLS that contradict each other",
        text: "Of two settings in `[upstream.<name>.tls]` one makes the other void: `ca` replaces \
               `roots`, `server_name` is a fixed name, with `insecure_skip_verify` nothing is verified, \
               and what a route passes through by `server_name` is TLS already. Take one of them out.",
    },
    Explanation {
        code: Code::NoNameToAsk,
        id: "E0237",
        summary: "an endpoint without a name to ask for",
        text: "In TLS an endpoint is asked for by a name, which its certificate has to be for. A Unix \
               socket has none: `server_name` says which.",
    },
    Explanation {
        code: Code::AlpnWithoutHttp,
        id: "E0238",
        summary: "requests to endpoints that are offered another protocol",
        text: "`alpn` lists the protocols that endpoints are offered, and requests are sent in what \
               `protocol` says: HTTP/1.1 unless it says otherwise. An endpoint that chooses another \
               one could not be spoken to.",
    },
    Explanation {
        code: Code::ProtocolAndTls,
        id: "E0240",
        summary: "HTTP/2 that does not fit to TLS",
        text: "`h2` is HTTP/2 within TLS, where both ends agree on it (ALPN); `h2c` is HTTP/2 without \
               TLS, which both ends have to know beforehand. So `h2` needs `tls`, and `h2c` needs \
               that there is none.",
    },
    Explanation {
        code: Code::WithoutHttp2,
        id: "E0241",
        summary: "settings of HTTP/2 where it is not spoken",
        text: "`http2` of a listener is about clients that speak HTTP/2, which `protocols` has to \
               allow; `http2` of an upstream is about endpoints, and `protocol` is `http1` unless it \
               is set.",
    },
    Explanation {
        code: Code::Windows,
        id: "E0242",
        summary: "one body may be more than all of them",
        text: "`connection_window` is how many bytes of all bodies of a connection may be on their way \
               here together, `stream_window` how many of each may be on their way or wait to be \
               taken. A stream could never use a window that is larger than its connection's. What \
               waits is bounded by `stream_window` times `max_streams`.",
    },
    Explanation {
        code: Code::GrpcProbe,
        id: "E0243",
        summary: "a gRPC health check over HTTP/1.1",
        text: "gRPC is spoken over HTTP/2 only: the upstream needs a `protocol` of `h2`, `h2c` or, \
               with `tls`, `auto`.",
    },
    Explanation {
        code: Code::DrainOfClosed,
        id: "E0250",
        summary: "connections that end at once and may go on",
        text: "`drain` says how long connections to an endpoint that was taken out may go on, and \
               `on_removed = \"close\"` ends them at once. Only one of both can be meant.",
    },
];
