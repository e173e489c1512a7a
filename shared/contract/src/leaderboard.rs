//! Queue `leaderboard-rollup`: it is time to count, or to look after, leaderboards.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Payload;

/// What is to be done with the boards of a source, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderboardRollupDue {
    /// The version of this schema, 1.
    pub schema_version: u32,
    /// When the tick was due.
    pub due: DateTime<Utc>,
    /// The name of the source, `nightshift.leaderboard_source.name`; all of them without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What is to be done.
    #[serde(default)]
    pub task: RollupTask,
}

/// What is to be done with a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollupTask {
    /// Count what is new, and show it.
    #[default]
    Count,
    /// Count everything anew, and compare.
    Verify,
    /// Count everything anew, and put it in the place of what is there.
    Rebuild,
}

impl Payload for LeaderboardRollupDue {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}
