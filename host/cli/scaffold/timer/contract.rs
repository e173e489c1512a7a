//! Queue `sample-queue`: it is time for the job `sample-job`.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Payload;

/// A tick of the schedule of `sample-job`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleJobDue {
    /// The version of this schema, 1.
    pub schema_version: u32,
    /// When the tick was due.
    pub due: DateTime<Utc>,
}

impl Payload for SampleJobDue {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}
