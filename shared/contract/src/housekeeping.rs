//! Queue `housekeeping`: it is time to tidy up.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Payload;

/// A tick of the housekeeping's schedule, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HousekeepingDue {
    /// The version of this schema, 1.
    pub schema_version: u32,
    /// When the tick was due.
    pub due: DateTime<Utc>,
}

impl Payload for HousekeepingDue {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}
