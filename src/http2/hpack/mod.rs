//! HPACK: fields in few bytes (RFC 7541), over a table that both ends keep alike.
//!
//! What one end puts into the table the other end holds in memory, and a byte may stand for
//! thousands. So the table of a [`Decoder`] has no memory before something is put into it and never
//! more than was announced, and what a block says is handed on piece by piece: whoever takes the
//! fields counts them. Whatever is wrong with a block is wrong with the connection
//! (`COMPRESSION_ERROR`), since from there on the tables differ.
//!
//! What we send refers to the static table only. It costs some bytes of each head, and no memory,
//! no copy and no state that could go out of step; and what is secret cannot be guessed from how
//! well it was compressed (RFC 7541 §7.1).

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub use decoder::{Decoder, HpackError};
pub use encoder::Encoder;
pub(super) use encoder::{Pseudo, write_field, write_pseudo, write_status};

/// Name and value.
type Field<'a> = (&'a [u8], &'a [u8]);

#[cfg(test)]
mod tests;
