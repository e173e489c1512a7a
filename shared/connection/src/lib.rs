//! Where a `connection` setting leads, and the connections to there.
//!
//! [`Connection::resolve`] reads the setting as the Functions host does: a connection string, or a
//! namespace with an identity. [`Connections`] opens each once for a whole process.

mod connection;
mod connections;
mod identity;

pub use connection::{Access, Connection};
pub use connections::Connections;
