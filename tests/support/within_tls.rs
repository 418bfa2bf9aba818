//! An endpoint that ends TLS itself, for what is passed through to it.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::endpoint::{Endpoint, Peer};
use super::tls::Certified;

impl Endpoint {
    /// Shows this certificate, agrees on one of these protocols, and answers whatever is asked with
    /// 200 and this body.
    pub(crate) fn says_within_tls(certified: &Certified, protocols: &[&str], body: &str) -> Self {
        let chain = CertificateDer::from_pem_slice(certified.cert.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that are known")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key);
        let mut config = config.expect("a key of the certificate");
        let protocols = protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        let (config, length) = (Arc::new(config), body.len());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        Self::start(move |peer| answer_within_tls(peer, &config, &answer))
    }
}

fn answer_within_tls(peer: &Peer, config: &Arc<ServerConfig>, answer: &str) {
    let session = ServerConnection::new(Arc::clone(config)).expect("a sound configuration");
    let mut stream = StreamOwned::new(session, peer.socket());
    let mut asked = [0; 4096];
    while stream.read(&mut asked).is_ok_and(|count| count > 0) {
        drop(stream.write_all(answer.as_bytes()));
    }
    stream.conn.send_close_notify();
    // The client may have gone.
    drop(stream.flush());
}
