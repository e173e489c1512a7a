//! Access tokens of Microsoft Entra ID, for connections without a key.
//!
//! Three kinds of identity are enough where this product runs: the managed identity of an Azure
//! host (App Service, Functions, Container Apps, a virtual machine), the workload identity of a
//! pod, and an application with a secret. Each is one small HTTP request, which [`EntraCredential`]
//! makes when it is asked for a token and remembers the answer of until shortly before its end.
//! Several callers that need one at the same time share the request.
//!
//! The official crate does the same and more, and brings some eighty others along; these three
//! requests need nothing that is not here for other reasons. Signed-in developers (the Azure
//! command line) are not covered: on a laptop there is the broker of this product.
//!
//! Neither a token nor a secret is ever part of an error or of a `Debug` text.

mod credential;
mod error;
mod identity;

pub use credential::EntraCredential;
pub use error::IdentityError;
pub use identity::{DEFAULT_AUTHORITY, Identity, ManagedEndpoint, ManagedId};
