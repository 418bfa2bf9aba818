//! Certificates, choices and handshakes.
