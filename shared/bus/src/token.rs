//! Access tokens that somebody else makes, such as Microsoft Entra ID.

use std::error::Error;
use std::fmt;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

/// What a token for the service must be good for (the OAuth 2.0 scope).
pub(crate) const SCOPE: &str = "https://servicebus.azure.net/.default";

/// A token and the end of its life.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token, a JSON web token. It prints as redacted.
    pub token: SecretString,
    /// From when on the broker takes it no more.
    pub expires_at: DateTime<Utc>,
}

/// The answer of a [`TokenCredential`].
pub type TokenFuture<'a> =
    Pin<Box<dyn Future<Output = Result<AccessToken, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// Makes tokens: a managed identity, a workload identity, a signed-in developer. The shape is that
/// of `azure_core`'s trait of this name, so that an adapter is a few lines.
///
/// It is asked when an entity is first used on a connection, and again when three quarters of the
/// last token's life are over. Each call is given up after
/// [`ClientOptions::try_timeout`](crate::ClientOptions::try_timeout). It may hand out the same
/// token again while that is good for some minutes.
pub trait TokenCredential: fmt::Debug + Send + Sync {
    /// A token that is good for `scope`.
    fn get_token<'a>(&'a self, scope: &'a str) -> TokenFuture<'a>;
}
