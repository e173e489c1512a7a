//! What travels through the queues: typed, versioned payloads and how they are read.
//!
//! Producers in any language send plain JSON, or JSON wrapped as a structured `CloudEvents` 1.0
//! event, which is unwrapped at the door. A payload says which schema versions this release reads;
//! within a version fields may be added, never removed or given another meaning, and fields that a
//! release does not know are ignored, so that the old and the new one can run side by side during
//! a rolling upgrade.
//!
//! [`decode()`] never fails without saying what is wrong in words that the producer's author
//! understands: the [`PayloadError`] is what stands in the dead letter.

mod decode;
mod error;
mod housekeeping;
mod ids;
mod leaderboard;
mod notification;
mod text;

pub use decode::{Payload, decode};
pub use error::PayloadError;
pub use housekeeping::HousekeepingDue;
pub use ids::UserId;
pub use leaderboard::{LeaderboardRollupDue, RollupTask};
pub use notification::NotificationRequested;
pub use text::{Kind, Text, Title};
