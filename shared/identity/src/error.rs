//! Why there is no token.

use std::io;
use std::path::PathBuf;

use nightshift_fetch::FetchError;

/// A token that could not be had. Trying again may help with all but wrong settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The address is none that can be asked.
    #[error("{url:?} is no address to ask for a token: {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file with the pod's own token cannot be read.
    #[error("the token file {path} cannot be read")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nobody answers at the address, or not as expected.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer is a refusal.
    #[error("{host} refused a token with status {status}: {reason}")]
    Refused {
        /// Whom was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The first line of the description.
        reason: String,
    },
    /// The answer is no token.
    #[error("the answer of {host} is no token: {reason}")]
    Answer {
        /// Whom was asked.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}
