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
        text: "Datagrams have no connections that could wait, be asked for or be put together; IPv4 \
               has no `v6_only`; and what leaves by a Unix socket passes no network. Set where it \
               does nothing, an option would only look as if it were in force.",
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
               that come by a Unix socket have no address that a limit could be for, and `subnet_v4` \
               and `subnet_v6` only say what `per_subnet` counts.",
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
        code: Code::AlpnOfRequests,
        id: "E0325",
        summary: "protocols that are offered where requests are read",
        text: "A listener for HTTP offers its clients what `protocols` says, and nothing else could be \
               read. `alpn` of a listener's `tls` is for `protocols = [\"tcp\"]`, whose bytes pass \
               unread: there nobody else knows what endpoints speak.",
    },
];
