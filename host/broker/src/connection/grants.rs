//! The tokens that a connection has set.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::auth::Grant;

/// More tokens than this on one connection replace the oldest: a client sets one per entity.
const MAX_GRANTS: usize = 1_024;

/// The longest pause before a token's end is looked at again, since the wall clock may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the client of a connection may do.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<Grant>);

impl Grants {
    /// Adds a grant; one for the same scope is replaced.
    pub(super) fn add(&mut self, grant: Grant) {
        self.0.retain(|old| !old.same_scope(&grant));
        if self.0.len() >= MAX_GRANTS {
            self.0.remove(0);
        }
        self.0.push(grant);
    }

    /// Whether none was ever given.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them covers the entity at `path`, which must be in lower case.
    pub(super) fn cover(&self, path: &str, now: DateTime<Utc>) -> bool {
        self.0.iter().any(|grant| grant.covers(path, now))
    }

    /// Whether there were grants and all have ended.
    pub(super) fn have_ended(&self, now: DateTime<Utc>) -> bool {
        !self.0.is_empty() && !self.0.iter().any(|grant| grant.is_valid(now))
    }

    /// When to look at [`Grants::have_ended`] again, unless one of them lasts for ever.
    pub(super) fn time_left(&self, now: DateTime<Utc>) -> Option<Duration> {
        let left: Option<Vec<_>> = self.0.iter().map(|grant| grant.time_left(now)).collect();
        left?.into_iter().max().map(|left| left.min(LONGEST_PAUSE))
    }
}
