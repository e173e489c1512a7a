//! The name of one peek-lock.
//!
//! A lock token is 16 bytes on the wire: a random half, drawn anew for every lock, and the sequence
//! number of the locked message, so that it is found without an index. The random half is what
//! makes a token die with its lock: after the lock ended and the message was locked again, the old
//! token no longer matches.
//!
//! The same 16 bytes appear in two orders. As a delivery tag they are in the order of a .NET GUID
//! (its first three fields little-endian); as an AMQP `uuid` (annotation `x-opt-lock-token`,
//! management requests) they are in the order of RFC 4122. The SDKs convert between the two.

use uuid::Uuid;

/// The name of one peek-lock on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LockToken {
    /// What tells this lock from every other lock of the same message.
    pub(crate) nonce: u64,
    /// The locked message.
    pub(crate) sequence: u64,
}

impl LockToken {
    /// The delivery tag that carries this token.
    pub(crate) fn delivery_tag(self) -> [u8; 16] {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&self.nonce.to_be_bytes());
        tag[8..].copy_from_slice(&self.sequence.to_be_bytes());
        tag
    }

    /// The token as the SDKs write it in `x-opt-lock-token` and in management requests.
    pub(crate) fn uuid(self) -> Uuid {
        Uuid::from_bytes_le(self.delivery_tag())
    }

    /// The token that [`LockToken::uuid`] wrote as `uuid`.
    pub(crate) fn from_uuid(uuid: Uuid) -> Self {
        let bits = u128::from_be_bytes(uuid.to_bytes_le());
        let [nonce, sequence] = [bits >> 64, bits & u128::from(u64::MAX)];
        #[expect(clippy::cast_possible_truncation, reason = "each half has 64 bits")]
        Self {
            nonce: nonce as u64,
            sequence: sequence as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_through_a_client() {
        let token = LockToken {
            nonce: 0x0102_0304_0506_0708,
            sequence: 9,
        };
        let tag = token.delivery_tag();
        assert_eq!(tag[..4], [1, 2, 3, 4]);
        // What Python computes: `uuid.UUID(bytes_le=tag)`.
        assert_eq!(
            token.uuid().to_string(),
            "04030201-0605-0807-0000-000000000009"
        );
        assert_eq!(LockToken::from_uuid(token.uuid()), token);
    }
}
