//! Bytes as hexadecimal digits, for names and passwords that must survive any quoting.

use rand::Rng;

/// How many random bytes make a password: as many as an AES-128 key.
const PASSWORD_BYTES: usize = 16;

/// Two lower-case digits for each byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

/// A password that nobody can guess.
pub(crate) fn password() -> String {
    encode(&rand::rng().random::<[u8; PASSWORD_BYTES]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_in_order() {
        assert_eq!(encode(&[0x00, 0x9a, 0xff]), "009aff");
        assert_ne!(password(), password());
    }
}
