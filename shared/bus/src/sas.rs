//! Shared access signatures: the tokens that `$cbs` takes.
//!
//! ```text
//! SharedAccessSignature sr=<audience>&sig=<signature>&se=<expiry>&skn=<rule>
//! signature = base64(HMAC-SHA256(key, "<audience>\n<expiry>"))
//! ```
//!
//! Audience and signature are percent-encoded, and the signature covers the *encoded* audience;
//! the key is used as the text it is written in. The expiry is in whole seconds since 1970.

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// Everything but the unreserved characters of RFC 3986 is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Signs a token for `audience` (such as `sb://host/queue`), valid until `expires_at`.
pub(crate) fn sign(
    audience: &str,
    rule: &str,
    key: &SecretString,
    expires_at: DateTime<Utc>,
) -> SecretString {
    let resource = utf8_percent_encode(audience, ENCODED).to_string();
    let expiry = expires_at.timestamp();
    let signature = hmac_sha256(key, &format!("{resource}\n{expiry}"));
    let signature = base64_simd::STANDARD.encode_to_string(signature);
    let signature = utf8_percent_encode(&signature, ENCODED);
    let rule = utf8_percent_encode(rule, ENCODED);
    SecretString::from(format!(
        "SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={rule}"
    ))
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes keys of any length; the error cannot occur"
)]
fn hmac_sha256(key: &SecretString, text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC accepts a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_other_sdks_do() {
        // Computed with Python's `hmac`, `base64` and `urllib.parse.quote_plus`.
        let token = sign(
            "sb://contoso.servicebus.windows.net/orders",
            "RootManageSharedAccessKey",
            &SecretString::from("c2VjcmV0LWtleQ=="),
            DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
        );
        assert_eq!(
            token.expose_secret(),
            "SharedAccessSignature sr=sb%3A%2F%2Fcontoso.servicebus.windows.net%2Forders\
             &sig=uSJZS7EyLS1msWrOdYAB%2FEG4RA%2BMhYh4plBiVyRHxQY%3D&se=1767225600\
             &skn=RootManageSharedAccessKey"
        );
    }
}
