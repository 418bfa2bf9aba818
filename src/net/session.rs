//! What two ends have agreed on in TLS, in the words that others know.

use rustls::{CipherSuite, Connection, ProtocolVersion};

use super::stream::Stream;

/// What was agreed on with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// The version, as OpenSSL has it: `TLSv1.3`.
    pub version: &'static str,
    /// The suite, as OpenSSL has it.
    pub cipher: Option<&'static str>,
    /// The name that was asked for.
    pub server_name: Option<String>,
    /// The protocol (RFC 7301).
    pub alpn: Option<Vec<u8>>,
}

impl Stream {
    /// What was agreed on, if TLS is spoken.
    pub fn session_facts(&self) -> Option<SessionFacts> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.with_connection(facts),
        }
    }
}

fn facts(connection: &Connection) -> Option<SessionFacts> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => return None,
    };
    let suite = connection.negotiated_cipher_suite();
    let server_name = match connection {
        Connection::Server(server) => server.server_name().map(str::to_owned),
        Connection::Client(_) => None,
    };
    Some(SessionFacts {
        version,
        cipher: suite.and_then(|suite| name(suite.suite())),
        server_name,
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
    })
}

/// OpenSSL's name for a suite that is spoken here.
fn name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;

    use super::name;

    #[test]
    fn every_suite_that_is_spoken_has_a_name() {
        for suite in DEFAULT_CIPHER_SUITES {
            assert!(name(suite.suite()).is_some(), "{suite:?}");
        }
    }
}
