//! Stand-in for `http1::Buffer`.
use std::ops::{Deref, DerefMut};
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);
impl Buffer {
    pub(super) fn take() -> Self {
        Self(Vec::with_capacity(16 * 1024))
    }
    pub(super) fn take_large() -> Self {
        Self(Vec::with_capacity(64 * 1024))
    }
}
impl Deref for Buffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}
impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
