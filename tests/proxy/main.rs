//! The whole program, judged by the bytes on its wires.
//!
//! One file per subject, each written from the specification that it names and not from the code.
//! Everything here runs against the real binary through the harness in `tests/support/`.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod admin_api;
mod attempts;
mod cases;
mod command_line;
mod commands;
mod connection_limits;
mod demo;
mod drain;
mod extremes;
mod grpc;
mod grpc_frames;
mod h2_abuse;
mod h2_abuse_slow;
mod h2_answered_early;
mod h2_begins;
mod h2_connect;
mod h2_downstream;
mod h2_ends;
mod h2_failing;
mod h2_harness;
mod h2_upstreams;
mod h2_upstreams_tls;
mod h2_websocket;
mod harness;
mod health;
mod https_policy;
mod logs;
mod many_routes;
mod memory;
mod metrics;
mod own_answers;
mod passthrough;
mod passthrough_hellos;
mod reload;
mod route_command;
mod routing;
mod socket_options;
mod splice;
mod streaming;
mod tcp;
mod tcp_ends;
mod time_limits;
mod tls;
mod tls_certificates;
mod tls_clients;
mod tls_coverage;
mod tls_exchange;
mod tls_handshake;
mod tls_identity;
mod tls_ocsp;
mod tls_secrets;
mod tls_swap;
mod tls_tools;
mod tls_upstream_names;
mod tls_upstreams;
mod udp;
mod udp_dns;
mod udp_sessions;
mod upstreams;
mod websocket;
mod wire_connection;
mod wire_forwarding;
mod wire_framing;
mod wire_requests;
mod wire_response_bodies;
mod wire_responses;
mod wire_smuggling;
mod wire_trailers;
mod wire_upgrade;
