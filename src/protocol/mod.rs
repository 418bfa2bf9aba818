//! What is spoken with clients once a connection stands.

pub mod http;
