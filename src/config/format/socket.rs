//! `[listener.<name>.socket]` and `[upstream.<name>.socket]` as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Size, Time};

/// `[listener.<name>.socket]`: options of the sockets that accept, which connections inherit. A
/// reload changes them where they are, for the connections that come from then on; `v6_only` and
/// `bind_to_device` need new sockets, which are opened beside the old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSocket {
    /// Connections that wait to be accepted, per worker; the kernel cuts it to
    /// `net.core.somaxconn`. Default: as many as the kernel allows.
    #[schemars(range(min = 1, max = 65_535))]
    pub backlog: Option<u32>,
    /// After how much silence the kernel asks whether the client still exists: a time, or a table.
    /// Default: never for HTTP; a tunnel or TCP connection that is silent for 30s is asked every
    /// 15s from a minute on.
    pub keepalive: Option<KeepaliveEntry>,
    /// Whether small pieces leave at once (`TCP_NODELAY`). Default: true.
    pub nodelay: Option<bool>,
    /// Whether known clients may send data with their first segment (TCP Fast Open). The network
    /// may deliver that twice. Needs 2 in `net.ipv4.tcp_fastopen`. Default: false.
    pub fast_open: Option<bool>,
    /// Whether an IPv6 socket leaves IPv4 alone. Default: false for `:8080`, true for `[::]:8080`.
    pub v6_only: Option<bool>,
    /// The interface by which clients come; others are not heard. Default: any.
    #[schemars(extend("format" = "x-interface", "examples" = ["eth0"]))]
    pub bind_to_device: Option<String>,
    /// Whether the address may be one that this machine does not have yet (`IP_FREEBIND`), as with
    /// addresses that move between machines. Default: false.
    pub freebind: Option<bool>,
    /// Mark of what is sent, for the routing and the filters of this machine (`SO_MARK`). Needs
    /// `CAP_NET_ADMIN`. Default: none.
    pub mark: Option<u32>,
    /// Class of service of what is sent (RFC 2474): 0 to 63, or `ef`, `cs1`, `af41` and so on.
    /// Default: none, which is best effort.
    pub dscp: Option<DscpEntry>,
    /// Room in the kernel for datagrams that have come and were not taken yet, per worker, 4KiB to
    /// 1GiB. Of UDP only. The kernel cuts it to `net.core.rmem_max` without `CAP_NET_ADMIN`.
    /// Default: 4MiB.
    #[schemars(extend("x-least" = 4096, "x-most" = 1_073_741_824))]
    pub receive_buffer: Option<Size>,
    /// The same for datagrams that have not left yet; cut to `net.core.wmem_max`. Default: 4MiB.
    #[schemars(extend("x-least" = 4096, "x-most" = 1_073_741_824))]
    pub send_buffer: Option<Size>,
    /// Who may connect to a Unix socket, by the mode of its file, in octal. Default: 0660.
    #[schemars(extend("format" = "x-mode", "examples" = ["0660"]))]
    pub mode: Option<String>,
    /// The user whose the file of a Unix socket is, by name or number. Needs root. Default: that of
    /// this program.
    #[schemars(extend("format" = "x-account"))]
    pub owner: Option<String>,
    /// The group whose the file of a Unix socket is, by name or number. Default: that of this
    /// program.
    #[schemars(extend("format" = "x-account", "examples" = ["www-data"]))]
    pub group: Option<String>,
}

/// `[upstream.<name>.socket]`: options of connections to endpoints, of health checks as well.
/// Connections that were made with others are not used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSocket {
    /// After how much silence the kernel asks whether the endpoint still exists: a time, or a
    /// table. Default: never for HTTP/1.1; tunnels, TCP connections and HTTP/2 as for clients.
    pub keepalive: Option<KeepaliveEntry>,
    /// The interface by which endpoints are reached. Default: what the routes of this machine say.
    #[schemars(extend("format" = "x-interface", "examples" = ["eth1"]))]
    pub bind_to_device: Option<String>,
    /// Mark of what is sent, for the routing and the filters of this machine (`SO_MARK`). Needs
    /// `CAP_NET_ADMIN`. Default: none.
    pub mark: Option<u32>,
    /// Class of service of what is sent (RFC 2474): 0 to 63, or `ef`, `cs1`, `af41` and so on.
    /// Default: none, which is best effort.
    pub dscp: Option<DscpEntry>,
    /// Room in the kernel for datagrams that have come and were not taken yet, per session, 4KiB
    /// to 1GiB. Of UDP only. The kernel cuts it to `net.core.rmem_max` without `CAP_NET_ADMIN`.
    /// Default: as the system has it.
    #[schemars(extend("x-least" = 4096, "x-most" = 1_073_741_824))]
    pub receive_buffer: Option<Size>,
    /// The same for datagrams that have not left yet; cut to `net.core.wmem_max`. Default: as the
    /// system has it.
    #[schemars(extend("x-least" = 4096, "x-most" = 1_073_741_824))]
    pub send_buffer: Option<Size>,
}

/// How the kernel asks: after which silence, or that and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeepaliveEntry {
    /// Silence before the first question.
    Idle(Time),
    /// With settings.
    Detailed(KeepaliveDetails),
}

/// When the kernel asks whether the other end of a silent connection still exists, in whole
/// seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepaliveDetails {
    /// Silence before the first question. Default: 1m.
    pub idle: Option<Time>,
    /// Time between questions that are not answered. Default: 15s.
    pub interval: Option<Time>,
    /// Questions without an answer, after which the connection is dead. Default: 4.
    #[schemars(range(min = 1, max = 127))]
    pub count: Option<u8>,
}

/// A class of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DscpEntry {
    /// Its number.
    Number(#[schemars(range(min = 0, max = 63))] u8),
    /// Its name.
    #[schemars(extend("format" = "x-dscp", "examples" = ["ef", "cs1", "af41"]))]
    Name(String),
}

impl DscpEntry {
    /// Its number; none for a name that there is not.
    pub fn number(&self) -> Option<u8> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(name) => dscp_of(name),
        }
    }
}

/// The number of a class of service by its name: `cs0` to `cs7` (RFC 2474), `af11` to `af43` (RFC
/// 2597), `ef` (RFC 3246), `va` (RFC 5865) and `le` (RFC 8622).
pub(in crate::config) fn dscp_of(name: &str) -> Option<u8> {
    let digit = |byte: u8, range: std::ops::RangeInclusive<u8>| {
        let digit = byte.checked_sub(b'0')?;
        range.contains(&digit).then_some(digit)
    };
    match name.as_bytes() {
        b"ef" => Some(46),
        b"va" => Some(44),
        b"le" => Some(1),
        [b'c', b's', class] => Some(digit(*class, 0..=7)? << 3),
        [b'a', b'f', class, drop] => Some(digit(*class, 1..=4)? << 3 | digit(*drop, 1..=3)? << 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::dscp_of;

    #[test]
    fn classes_have_the_numbers_of_their_rfcs() {
        for (name, number) in [
            ("cs0", 0),
            ("cs1", 8),
            ("cs7", 56),
            ("af11", 10),
            ("af23", 22),
            ("af41", 34),
            ("af43", 38),
            ("ef", 46),
            ("va", 44),
            ("le", 1),
        ] {
            assert_eq!(dscp_of(name), Some(number), "{name}");
        }
        for wrong in ["", "cs8", "af14", "af51", "af1", "EF", "46", "cs", "cs11"] {
            assert_eq!(dscp_of(wrong), None, "{wrong}");
        }
    }
}
