//! Queue `sample-queue`: a user wants to be reminded of something.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Kind, Payload, Text, Title, UserId};

/// A request of the job `sample-job`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleJobRequested {
    /// The version of this schema, 1.
    pub schema_version: u32,
    /// Whom to remind; must be a user of the application.
    pub user_id: UserId,
    /// What it is about, such as `creature.hungry`.
    pub kind: Kind,
    /// One line.
    pub title: Title,
    /// The text under it.
    pub body: Text,
    /// Not before this instant; at once if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
}

impl Payload for SampleJobRequested {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}
