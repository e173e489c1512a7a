//! The job `notifications`: something happened that a user should hear about.
//!
//! Doors: `dispatch` turns a [`NotificationRequested`] from the queue into a notification in the
//! user's in-app inbox.

mod dispatch;

pub use dispatch::Dispatch;
pub use nightshift_contract::NotificationRequested;
