//! What the schedules promise.
