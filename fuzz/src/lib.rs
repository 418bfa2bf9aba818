//! What the fuzz targets that run whole proxies share.
//!
//! Problem: a parser can be fuzzed alone, but what a proxy does with a message shows only between a
//! client and an endpoint: what is forwarded, answered and closed. And whether it is right shows
//! best beside others that were asked the same.
//!
//! So a [`run`] puts a [`client`] and an [`endpoint`] around a proxy, all in one thread, and knows
//! by [`rest`] when nothing moves any more. [`engine`] is ours; [`hyper`] compares it with a proxy
//! made of hyper, [`peers`] with nginx and HAProxy. The comparison is strict: a difference is
//! accepted only by a [`rule`] that names its reason, and whose claim [`facts`] finds true of the
//! bytes.

pub mod align;
pub mod chunks;
pub mod client;
pub mod endpoint;
pub mod engine;
pub mod facts;
pub mod hyper;
pub mod peers;
pub mod pieces;
pub mod reading;
pub mod refusals;
pub mod rest;
pub mod rule;
pub mod run;
pub mod wire;
