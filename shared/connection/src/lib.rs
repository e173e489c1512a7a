//! Where a `connection` setting leads, and the connections to there.
//!
//! [`Connection::resolve`] reads the setting as the Functions host does: a connection string, or a
//! namespace with an identity. [`Connections`] opens each once for a whole process.
//! [`into_trigger_message`] is what a function sees of a message that came over one.

mod connection;
mod connections;
mod identity;
mod message;

pub use connection::{Access, Connection};
pub use connections::Connections;
pub use identity::resolve as resolve_identity;
pub use message::{has_bindable_body, into_trigger_message};
