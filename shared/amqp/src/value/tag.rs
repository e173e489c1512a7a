//! Delivery tags.

use std::fmt;
use std::ops::Deref;

/// The name that a sender gives a delivery: at most 32 octets (part 2, section 2.8.7).
///
/// Held inline, since every delivery has one and most are 4 or 16 octets long.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    length: u8,
    octets: [u8; Self::MAX_LENGTH],
}

impl DeliveryTag {
    /// The most octets that a tag can have.
    pub const MAX_LENGTH: usize = 32;

    /// A tag of these octets; `None` when there are more than 32.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut tag = Self {
            length: u8::try_from(octets.len()).ok()?,
            ..Self::default()
        };
        tag.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(tag)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl From<[u8; 16]> for DeliveryTag {
    fn from(octets: [u8; 16]) -> Self {
        let mut tag = Self {
            length: 16,
            ..Self::default()
        };
        tag.octets[..16].copy_from_slice(&octets);
        tag
    }
}

impl From<[u8; 4]> for DeliveryTag {
    fn from(octets: [u8; 4]) -> Self {
        let mut tag = Self {
            length: 4,
            ..Self::default()
        };
        tag.octets[..4].copy_from_slice(&octets);
        tag
    }
}

impl Deref for DeliveryTag {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for DeliveryTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryTag(")?;
        for octet in self.as_bytes() {
            write!(f, "{octet:02x}")?;
        }
        f.write_str(")")
    }
}
