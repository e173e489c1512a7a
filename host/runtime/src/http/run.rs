//! One request's run through a function, from its place in the queue to the end of the answer.

use std::sync::Arc;

use nightshift_telemetry::causes;
use tokio::time::Instant;
use uuid::Uuid;

use super::throttle::Place;
use crate::call::Failure;
use crate::stats::{Counters, Running};

/// A run that is counted when it ends. One that is dropped before was given up: its caller went
/// away, or the host stopped.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: Uuid,
    function: String,
    counters: Arc<Counters>,
    begun: Instant,
    is_over: bool,
    _running: Running,
    _place: Place,
}

impl Run {
    pub(super) fn begin(function: &str, counters: &Arc<Counters>, place: Place) -> Self {
        Self {
            id: Uuid::new_v4(),
            function: function.to_owned(),
            counters: Arc::clone(counters),
            begun: Instant::now(),
            is_over: false,
            _running: counters.invocation_began(),
            _place: place,
        }
    }

    /// Counts the run.
    pub(super) fn end(mut self, is_failure: bool) {
        self.count(is_failure);
    }

    /// Counts the run and says why it failed.
    pub(super) fn fail(self, failure: &Failure) {
        tracing::warn!(
            function.name = %self.function,
            invocation.id = %self.id,
            error = causes(failure),
            "the invocation failed"
        );
        self.end(true);
    }

    /// Logs what the handler wants logged.
    pub(super) fn log(&self, lines: &[String]) {
        for line in lines {
            tracing::info!(function.name = %self.function, invocation.id = %self.id, "{line}");
        }
    }

    fn count(&mut self, is_failure: bool) {
        self.is_over = true;
        self.counters
            .invocation_ended(0, is_failure, self.begun.elapsed());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over {
            tracing::info!(
                function.name = %self.function,
                invocation.id = %self.id,
                "the invocation was given up: its caller has gone"
            );
            self.count(true);
        }
    }
}
