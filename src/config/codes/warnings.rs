//! The explanations of `W03xx`: what works, but probably not as it is meant.

use super::{Code, Explanation};

/// In the order of their numbers.
pub(super) const WARNINGS: &[Explanation] = &[
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
    Explanation {
        code: Code::Expiry,
        id: "W0313",
        summary: "a certificate that is not valid for long",
        text: "It, or one behind it in its chain, has expired, will within two weeks, or is not valid \
               yet: clients refuse it. It is shown all the same, since another may be worse.",
    },
    Explanation {
        code: Code::OldRevocations,
        id: "W0314",
        summary: "a list of revoked certificates whose time has passed",
        text: "The list says itself that a newer one should be there by now (`nextUpdate`). It stays in \
               use, since without it the revoked would be let in, and with nothing else nobody: what was \
               revoked since is taken.",
    },
    Explanation {
        code: Code::NoRevocations,
        id: "W0315",
        summary: "an authority without a list of revoked certificates",
        text: "`crl` is given, but none of its lists is that of one of the authorities in `ca`. Whether \
               its clients' certificates are revoked cannot be told, so they are refused. An authority \
               that certifies none but other ones in the same file needs no list.",
    },
    Explanation {
        code: Code::EveryName,
        id: "W0316",
        summary: "connections for every name are passed through",
        text: "A route with `server_name = [\"*\"]` takes every client that says a name, which nearly \
               all do: the listener's certificates and its routes for requests are left with those \
               that say none.",
    },
    Explanation {
        code: Code::HostsPassedThrough,
        id: "W0317",
        summary: "a route for hosts whose connections are passed through",
        text: "Every host of the route is also the `server_name` of one at the same listener, which \
               takes the connections before any request is read. Only clients that say another name, \
               or none, and then ask for this host get as far.",
    },
    Explanation {
        code: Code::UncoveredHost,
        id: "W0318",
        summary: "a host of a route without a certificate",
        text: "Who asks for it over TLS is shown a certificate for other names, and refuses that. A host \
               `*.example.com` needs a certificate for `*.example.com`, whose `*` is one label. A route \
               that is meant for plain HTTP says so with `listener`.",
    },
    Explanation {
        code: Code::UnusedCertificateName,
        id: "W0319",
        summary: "a certificate's name that no route has",
        text: "Every route of the listener has `hosts`, and this name is none of them: whoever asks for \
               it gets 404. Either a route is missing, or the certificate is for more than is needed.",
    },
    Explanation {
        code: Code::StaleOcsp,
        id: "W0320",
        summary: "an OCSP response that does not hold now",
        text: "It has expired, or begins later. It is not shown: clients ask the authority themselves, or \
               do without. Whatever fetches it has stopped.",
    },
    Explanation {
        code: Code::LogsTlsKeys,
        id: "W0321",
        summary: "secrets of TLS sessions are written down",
        text: "With `log.tls_keys`, whoever reads the file that `SSLKEYLOGFILE` names reads all traffic that \
               was recorded, passwords too. It is for finding a fault, on a machine that you own, and for \
               as long as that takes.",
    },
    Explanation {
        code: Code::RulePassedThrough,
        id: "W0322",
        summary: "a rule for clients that are passed through",
        text: "A host of `client_certificates` is also the `server_name` of a route at the same \
               listener, which passes the connections through: nobody is asked for a certificate here, \
               and the endpoints alone decide who is let in. Take the host out of one of the two.",
    },
    Explanation {
        code: Code::UnshownOcsp,
        id: "W0323",
        summary: "an OCSP response that cannot be shown",
        text: "The file of `ocsp` cannot be read, is no OCSP response in DER, is about another certificate, \
               says that the certificate is revoked or unknown, is not signed by who may, or does not say \
               until when it holds. Clients that are shown such a one refuse the connection, so it is not \
               shown: the certificate is used without. It is no error, since a certificate is often \
               renewed before what is said of it.",
    },
    Explanation {
        code: Code::Unverified,
        id: "W0324",
        summary: "endpoints that may be anybody",
        text: "With `insecure_skip_verify` any certificate will do, so whoever sits between this \
               instance and the endpoints can pose as them: reading, changing and answering \
               everything. `ca` and `san` are the way to trust certificates of your own.",
    },
    Explanation {
        code: Code::AgeBelowIdle,
        id: "W0330",
        summary: "a limit of silence that is never reached",
        text: "`tunnel_max_age` ends a connection whatever moves on it, and is not longer than \
               `tunnel_idle`, which ends one on which nothing moves: that one never comes to it.",
    },
    Explanation {
        code: Code::OtherTransport,
        id: "W0332",
        summary: "a health check over another transport",
        text: "The upstream is used over UDP and its health is asked over TCP, or the other way round. \
               One of the two may work without the other: endpoints would get traffic that they do not \
               take, or none though they would. `health.port` is for what is asked elsewhere on purpose.",
    },
    Explanation {
        code: Code::OneClientEach,
        id: "W0335",
        summary: "connections of HTTP/2 that clients cannot share",
        text: "With `proxy_protocol` a connection to an endpoint begins with the client that it is for, so \
               it carries that client's requests only: as many connections as clients, where HTTP/2 \
               would need a few. Where endpoints read `X-Forwarded-For`, they need no PROXY header.",
    },
    Explanation {
        code: Code::WaitsForHeader,
        id: "W0336",
        summary: "a header that may come before endpoints speak",
        text: "With `proxy_protocol = \"accepted\"`, the first bytes of a trusted peer tell whether there \
               is a header. In protocols in which the server speaks first (SMTP, MySQL, FTP) a client \
               that sends no header sends nothing, and is only connected once `timeouts.proxy_header` \
               has passed. Peers that are not trusted do not wait.",
    },
    Explanation {
        code: Code::ReplayedData,
        id: "W0337",
        summary: "data that may come twice",
        text: "With `fast_open` a client's first data comes with its first segment, which the network \
               may deliver twice (RFC 7413 §2.1): a request in plain text would be carried out twice. \
               In front of TLS nothing happens before a handshake, which cannot be repeated.",
    },
    Explanation {
        code: Code::HiddenLimit,
        id: "W0338",
        summary: "a limit that another one hides",
        text: "A limit of one client is above that of its network, or either is above \
               `max_connections`: the other one is always reached first, and one client may take \
               everything.",
    },
    Explanation {
        code: Code::TrustsLocal,
        id: "W0340",
        summary: "every user of this machine is a trusted proxy",
        text: "`trusted_proxies` has `unix`, and everybody may connect: by the `mode` of the file, or \
               since an abstract socket has none. Any user of this machine can then pose as any \
               client. `mode = \"0660\"` and `group` let the proxy in front in, and no others.",
    },
    Explanation {
        code: Code::AllAllowed,
        id: "W0342",
        summary: "every destination is allowed",
        text: "`allowed` has every address there is, and so this machine's own and those of its cloud's \
               metadata service. Whoever can connect to the listener can reach them as this machine.",
    },
    Explanation {
        code: Code::KeepsNothing,
        id: "W0343",
        summary: "a last good configuration that is kept nowhere",
        text: "With `--last-good` or `EVENKEEL_LAST_GOOD` a start may go on with the last good configuration, \
               which is kept in `state_dir`. There is none, and the environment has no `STATE_DIRECTORY`, \
               which systemd sets: nothing is kept, and a broken file keeps the next start from serving.",
    },
];
