//! Findings about values that do not fit together where bytes or datagrams are relayed, and about
//! the sockets that they come by.

use super::{Code, Explanation};

pub(super) const CONNECTIONS: &[Explanation] = &[
    Explanation {
        code: Code::NotOverUdp,
        id: "E0255",
        summary: "something that datagrams cannot have",
        text: "A listener with `protocols = [\"udp\"]` relays datagrams, and there is no connection: \
               no TLS on either side, no PROXY header before it, no route by `server_name`, and no \
               endpoint that is the path of a socket. What the datagrams themselves hold, DTLS or QUIC, passes unread.",
    },
    Explanation {
        code: Code::NobodyBelieved,
        id: "E0265",
        summary: "PROXY headers that nobody is believed to send",
        text: "A PROXY header says who the client is, so it is only taken from peers in \
               `trusted_proxies`: anybody else could choose an address. Without that list, or \
               with one of whom nobody can come to `bind` (a network at a Unix socket, `unix` or \
               the other family at an address), `proxy_protocol` would refuse everybody, or do \
               nothing.",
    },
    Explanation {
        code: Code::DatagramsInText,
        id: "E0266",
        summary: "PROXY headers of version 1 before datagrams",
        text: "A UDP listener sends to this upstream, and version 1 of the PROXY protocol can only tell \
               of TCP. `v2` knows UDP: its header stands before each datagram.",
    },
    Explanation {
        code: Code::SocketOption,
        id: "E0270",
        summary: "a socket option that does nothing there",
        text: "Datagrams have no connections that could wait, be asked for or be put together; \
               connections get the buffers that they turn out to need; IPv4 has no `v6_only`; and \
               what leaves by a Unix socket passes no network. Set where it does nothing, an \
               option would only look as if it were in force.",
    },
    Explanation {
        code: Code::KeepaliveTime,
        id: "E0271",
        summary: "a keepalive that the kernel cannot wait",
        text: "The kernel counts the silence before its questions, and between them, in whole \
               seconds, and up to 32767 of them.",
    },
    Explanation {
        code: Code::LimitWithoutEffect,
        id: "E0272",
        summary: "a limit on connections that does nothing",
        text: "`limits` is about connections: of UDP, `max_connections` bounds the sessions. Clients \
               that come by a Unix socket have no address that a limit could be for, unless PROXY \
               headers name one (`proxy_protocol`). `subnet_v4` and `subnet_v6` only say what \
               `per_subnet` counts, and `client_v6` what `per_client` and `rate_per_client` do.",
    },
    Explanation {
        code: Code::WithoutFile,
        id: "E0280",
        summary: "whom a file is for that there is not",
        text: "`mode`, `owner` and `group` say who may connect to a Unix socket that has a path. An \
               address has no file, and neither has an abstract socket: every process in the same \
               network namespace may connect to that.",
    },
    Explanation {
        code: Code::NothingAllowed,
        id: "E0285",
        summary: "destinations without `allowed`",
        text: "With `endpoints = \"original_dst\"` whoever can connect chooses where this instance \
               connects to. `allowed` says which networks that may be: the addresses of the services \
               that are reached this way, and not those of other things that only this machine can \
               reach.",
    },
    Explanation {
        code: Code::AllowedNowhere,
        id: "E0286",
        summary: "`allowed` beside endpoints that are listed",
        text: "`allowed` bounds the destinations of `endpoints = \"original_dst\"`. Endpoints that are \
               listed are allowed by that.",
    },
    Explanation {
        code: Code::NoDestination,
        id: "E0287",
        summary: "the original destination, where nothing is intercepted",
        text: "`endpoints = \"original_dst\"` is wherever a connection was going when the firewall \
               brought it here, and only a listener with `intercept` can tell: `redirect` or `tproxy`, \
               as the rules have it.",
    },
    Explanation {
        code: Code::OnlyRelayed,
        id: "E0288",
        summary: "the original destination of requests or datagrams",
        text: "`endpoints = \"original_dst\"` is for connections that are relayed as they come: of \
               listeners with `protocols = [\"tcp\"]`, or by a route with a `server_name`. A request says \
               by itself whom it is for, and one connection carries requests for several.",
    },
    Explanation {
        code: Code::NotOfDestinations,
        id: "E0289",
        summary: "a setting that needs endpoints that are known",
        text: "With `endpoints = \"original_dst\"` nobody is picked and nobody can be asked before: there \
               are no zones, no balancing, no health checks, no TLS of our own, and nothing is ever \
               taken out.",
    },
    Explanation {
        code: Code::NotIntercepted,
        id: "E0290",
        summary: "what cannot be intercepted",
        text: "`intercept` is about connections of a network. The original destination of a datagram is \
               not known by the same means, and to a Unix socket no firewall brings anything.",
    },
    Explanation {
        code: Code::HstsOnTcp,
        id: "E0295",
        summary: "HSTS on a TCP listener",
        text: "`tls.hsts` is a field that is added to HTTP responses. A TCP listener decrypts, and \
               relays the bytes unread.",
    },
    Explanation {
        code: Code::PassUnasked,
        id: "E0296",
        summary: "clients of a TCP listener that nobody asks for a certificate",
        text: "Which rule of `client_certificates` holds is decided by the name that a client says when \
               TLS begins (SNI). A request of HTTP has a host, which must agree with it; bytes have \
               none, so that a client could say any other name and pass. One of the rules of a TCP \
               listener must be for all others: without `hosts`, or with `*`.",
    },
    Explanation {
        code: Code::EjectionTimes,
        id: "E0310",
        summary: "times of an ejection that do not fit together",
        text: "`eject_for` is how long the first ejection of an endpoint lasts, and each further one in \
               a row is longer, up to `eject_at_most`. It ends when it is looked at, once an \
               `interval`.",
    },
    Explanation {
        code: Code::OnlyOverUdp,
        id: "E0320",
        summary: "a setting of datagrams on a listener that takes connections",
        text: "`responses` ends a UDP session once its datagrams were answered. A connection is ended by \
               those who speak on it.",
    },
    Explanation {
        code: Code::HashKey,
        id: "E0321",
        summary: "not what a key is made of",
        text: "`hash_by` names what ties requests to an endpoint: `client_address`, `field:` and the name \
               of a field, `cookie:` and that of a cookie, `query:` and that of a parameter, or `path`.",
    },
    Explanation {
        code: Code::StickySecret,
        id: "E0322",
        summary: "a secret that can be guessed",
        text: "Whoever knows the secret of a sticky cookie can choose which endpoint gets his requests, \
               and learns which there are. It has at least 16 characters, from a random source: \
               `openssl rand -hex 32`. Best is a file of its own, `\"${file:…}\"`.",
    },
    Explanation {
        code: Code::CookieForm,
        id: "E0323",
        summary: "a cookie that browsers read differently",
        text: "A cookie's name has letters, digits and a few signs (RFC 6265 §4.1.1), its path begins with \
               `/` and has no `;`.",
    },
    Explanation {
        code: Code::InsecureSameSite,
        id: "E0324",
        summary: "a cookie that browsers refuse",
        text: "With `same_site = \"none\"` browsers take a cookie only if it is `Secure` as well.",
    },
    Explanation {
        code: Code::AlpnOfRequests,
        id: "E0325",
        summary: "protocols that are offered where requests are read",
        text: "A listener for HTTP offers its clients what `protocols` says, and nothing else could be \
               read. `alpn` of a listener's `tls` is for `protocols = [\"tcp\"]`, whose bytes pass \
               unread: there nobody else knows what endpoints speak.",
    },
    Explanation {
        code: Code::HedgedMethod,
        id: "E0330",
        summary: "a request that two endpoints would carry out",
        text: "A hedged request may be at two endpoints at once, and both may carry it out. Only an \
               idempotent method says that this does no harm (RFC 9110 §9.2.2): GET, HEAD, OPTIONS, PUT \
               and DELETE.",
    },
    Explanation {
        code: Code::RetriedStatus,
        id: "E0331",
        summary: "a status that is no failure",
        text: "`retry.statuses` are those that are followed by another attempt. Only 400 to 599 say that \
               one failed.",
    },
    Explanation {
        code: Code::RetryWithoutEffect,
        id: "E0332",
        summary: "settings of retries that are never made",
        text: "With `attempts = 1` no attempt is repeated, and what says how does nothing; and a \
               `backoff` above `backoff_at_most` is cut to that each time. `on = [\"timeout\"]` is about \
               `per_try_timeout`, and without it about nothing. A hedge whose `after` is not below the \
               limit of the attempt, or of the request, is never asked for.",
    },
];
