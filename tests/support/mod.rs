//! The black-box harness: the real program, a raw client, and endpoints that behave as told.
//!
//! What a proxy does to bytes can only be judged from outside, by code that shares nothing with
//! it: this harness has its own parser of messages, imports nothing from `src/`, and speaks plain
//! blocking sockets on threads. A test reads as prose:
//!
//! ```text
//! let endpoint = Endpoint::echo();
//! let proxy = Evenkeel::forwarding_to(&endpoint);
//! let mut client = proxy.client();
//! client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
//! assert_eq!(client.response().status, 200);
//! ```
//!
//! Nothing here asserts how long something takes: waiting ends when the awaited thing happens, or
//! fails after `clock::PATIENCE`.

#![expect(dead_code, reason = "each of the test binaries uses its part of this")]

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod endpoint;
pub(crate) mod evenkeel;
pub(crate) mod frozen;
pub(crate) mod gated;
pub(crate) mod grpc;
pub(crate) mod h2;
pub(crate) mod look;
pub(crate) mod manager;
pub(crate) mod message;
pub(crate) mod namespace;
pub(crate) mod openssl;
pub(crate) mod port;
pub(crate) mod proxy_header;
pub(crate) mod python;
pub(crate) mod sockets;
pub(crate) mod tickets;
pub(crate) mod tls;
pub(crate) mod tls_endpoint;
pub(crate) mod udp;
pub(crate) mod unix;
pub(crate) mod upgrade;
pub(crate) mod websocket;
pub(crate) mod within_tls;
