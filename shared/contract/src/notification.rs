//! Queue `notifications`: something happened that a user should hear about.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{Kind, Payload, Text, Title, UserId};

/// A request to notify one user, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRequested {
    /// The version of this schema, 1.
    pub schema_version: u32,
    /// Whom to notify; must be a user of the application.
    pub user_id: UserId,
    /// What happened, such as `creature.liked`.
    pub kind: Kind,
    /// One line.
    pub title: Title,
    /// The text under it.
    pub body: Text,
}

impl Payload for NotificationRequested {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}
