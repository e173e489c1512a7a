//! What the host knows about itself, for its pages, status screens and tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::gate::Gate;
use crate::handler::{HandlerState, HandlerWatch};
use crate::stats::{Counters, HandlerStats, HostStats};

/// The host's state as others may see it.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) instance: Uuid,
    pub(crate) begun: Instant,
    pub(crate) counters: BTreeMap<String, Arc<Counters>>,
    pub(crate) handler: Option<HandlerWatch>,
    /// Whether anything more is to be received.
    pub(crate) gate: Gate,
    /// The runs that somebody asked for.
    pub(crate) by_hand: TaskTracker,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    Disabled,
    InProgress,
    Completed,
}

impl Monitor {
    /// Of a host that begins now.
    pub(crate) fn new() -> Self {
        Self {
            instance: Uuid::new_v4(),
            begun: Instant::now(),
            counters: BTreeMap::new(),
            handler: None,
            gate: Gate::new(),
            by_hand: TaskTracker::new(),
        }
    }

    /// What the host has done so far.
    pub(crate) fn stats(&self) -> HostStats {
        let state = self.state().map(|state| state.borrow().clone());
        let ready = state.as_ref().and_then(HandlerState::ready);
        HostStats {
            handler: HandlerStats {
                pid: ready.map(|handler| handler.pid),
                port: ready.map(|handler| handler.port),
                restarts: self.handler.as_ref().map_or(0, HandlerWatch::restarts),
            },
            functions: self
                .counters
                .iter()
                .map(|(name, counters)| (name.clone(), counters.snapshot()))
                .collect(),
        }
    }

    /// What is not ready yet.
    pub(crate) fn missing(&self) -> Option<String> {
        let stats = self.stats();
        if self.handler.is_some() && stats.handler.pid.is_none() {
            return Some("the handler does not answer".to_owned());
        }
        let deaf = stats
            .functions
            .iter()
            .find(|(_, function)| !function.is_listening);
        deaf.map(|(name, _)| format!("the function {name} is not connected to its queue"))
    }

    /// The real host's word for the state the host is in.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.gate.is_offline() {
            return "Offline";
        }
        match self.state().map(|state| state.borrow().clone()) {
            Some(HandlerState::Ready(_)) | None => "Running",
            Some(HandlerState::Starting) => "Starting",
            Some(HandlerState::Failed(_)) => "Error",
            Some(HandlerState::Stopped) => "Stopping",
        }
    }

    /// Invocations that are under way.
    pub(crate) fn running(&self) -> u64 {
        let counters = self.counters.values();
        counters.map(|counters| counters.snapshot().running).sum()
    }

    /// Waits until no invocation is under way, and looks every `interval`.
    pub(crate) async fn all_ended(&self, interval: Duration) {
        while self.running() > 0 {
            sleep(interval).await;
        }
    }

    /// How far a drain has come.
    pub(crate) fn drain(&self) -> Drain {
        match (!self.gate.is_open(), self.running()) {
            (false, _) => Drain::Disabled,
            (true, 0) => Drain::Completed,
            (true, _) => Drain::InProgress,
        }
    }

    fn state(&self) -> Option<&watch::Receiver<HandlerState>> {
        self.handler.as_ref().map(|handler| &handler.state)
    }
}
