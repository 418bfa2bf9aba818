//! The promises for HTTP/2: many streams on each connection, short ones and long ones, over
//! reloads, a drain, and endpoints that are killed.

mod client;
mod drain;
mod endpoint;
mod kill;
mod reload;
