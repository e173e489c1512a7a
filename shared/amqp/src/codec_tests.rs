//! The codec against the encodings of the specification, against itself, and against lies.

mod hostile;
mod performatives;
mod primitives;
mod strategies;
mod values;

use bytes::{Bytes, BytesMut};

use crate::Encode;

/// The encoding of something.
fn encoded(value: &(impl Encode + ?Sized)) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.freeze()
}
