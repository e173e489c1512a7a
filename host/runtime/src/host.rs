//! The running host: one handler, one listener for each function.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_time::SharedClock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::HostConfig;
use crate::handler::{Handler, HandlerClient, HandlerState};
use crate::listener::{LONGEST_FAILURE, Listener, Pauses};
use crate::stats::{Counters, HandlerStats, HostStats};

/// How long listeners may take, after their invocations were given up, to give the messages back.
const SETTLEMENT_GRACE: Duration = Duration::from_secs(5);

/// How often a caller that waits for readiness looks.
const READY_INTERVAL: Duration = Duration::from_millis(5);

/// Why the host could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The operating system refused a thread.
    #[error("the thread that starts the handler cannot be started")]
    Thread(#[source] io::Error),
}

/// Why the host ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostExit {
    /// It was stopped.
    Stopped,
    /// The handler failed too often (strict mode), with what it did last. The caller should stop
    /// the host and exit with an error, so that whatever supervises it can act.
    HandlerFailed(String),
}

/// The host was not ready in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host was not ready within {within:?}: {what}")]
pub struct NotReady {
    /// How long was waited.
    pub within: Duration,
    /// What was missing.
    pub what: String,
}

/// A running host. Dropping it kills the handler; [`Host::stop`] ends everything in order.
#[derive(Debug)]
pub struct Host {
    handler: Option<Handler>,
    counters: BTreeMap<String, Arc<Counters>>,
    listeners: JoinSet<()>,
    stop: CancellationToken,
    cancel: CancellationToken,
    shutdown_grace: Duration,
}

impl Host {
    /// Starts the handler and the listeners, whose deadlines `clock` counts; must be called within a
    /// tokio runtime. Nothing is ready when it returns: see [`Host::wait_until_ready`].
    pub fn start(config: HostConfig, clock: SharedClock) -> Result<Self, HostError> {
        let config = Arc::new(HostConfig { clock, ..config });
        let client = HandlerClient::new();
        let mut host = Self {
            handler: None,
            counters: BTreeMap::new(),
            listeners: JoinSet::new(),
            stop: CancellationToken::new(),
            cancel: CancellationToken::new(),
            shutdown_grace: config.settings.shutdown_grace,
        };
        let Some(command) = config.handler.clone() else {
            tracing::warn!(app.root = %config.app_root.display(), "there is no function to run");
            return Ok(host);
        };
        let handler = Handler::start(command, Arc::clone(&config), client.clone())
            .map_err(HostError::Thread)?;
        for function in &config.functions {
            let counters = Arc::new(Counters::default());
            host.counters
                .insert(function.name.clone(), Arc::clone(&counters));
            let listener = Listener {
                function: function.clone(),
                config: Arc::clone(&config),
                client: client.clone(),
                handler: handler.state(),
                counters,
                stop: host.stop.clone(),
                cancel: host.cancel.clone(),
                failures: Mutex::new(Pauses::up_to(LONGEST_FAILURE)),
            };
            host.listeners.spawn(Arc::new(listener).run());
        }
        host.handler = Some(handler);
        tracing::info!(
            host.mode = %config.settings.mode,
            host.functions = ?config.function_names(),
            "the host has started"
        );
        Ok(host)
    }

    /// Waits until the handler answers and every function listens.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + within;
        loop {
            let Some(what) = self.missing() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(NotReady { within, what });
            }
            sleep(READY_INTERVAL).await;
        }
    }

    /// Waits until the host ends by itself or [`Host::stop`] was begun elsewhere. A host without
    /// functions never ends by itself.
    pub async fn wait(&self) -> HostExit {
        let Some(handler) = &self.handler else {
            self.stop.cancelled().await;
            return HostExit::Stopped;
        };
        tokio::select! {
            () = self.stop.cancelled() => HostExit::Stopped,
            exit = handler_failed(handler.state()) => exit,
        }
    }

    /// Stops in order: receives nothing more, gives back what was fetched ahead, waits for
    /// invocations up to the grace period and gives up the rest, settles their messages, closes
    /// the connections, and then ends the handler.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let listeners = &mut self.listeners;
        let mut all_done = async || while listeners.join_next().await.is_some() {};
        if timeout(self.shutdown_grace, all_done()).await.is_err() {
            tracing::warn!(
                "invocations did not end within {:?}; their messages go back to the broker",
                self.shutdown_grace
            );
            self.cancel.cancel();
            if timeout(SETTLEMENT_GRACE, all_done()).await.is_err() {
                tracing::warn!(
                    "messages could not be given back; they come again when their lock ends"
                );
            }
        }
        self.listeners.shutdown().await;
        if let Some(handler) = self.handler.take() {
            handler.stop().await;
        }
        tracing::info!("the host has stopped");
    }

    /// What the host has done so far.
    pub fn stats(&self) -> HostStats {
        let state = self
            .handler
            .as_ref()
            .map(|handler| handler.state().borrow().clone());
        let ready = state.as_ref().and_then(HandlerState::ready);
        HostStats {
            handler: HandlerStats {
                pid: ready.map(|handler| handler.pid),
                port: ready.map(|handler| handler.port),
                restarts: self.handler.as_ref().map_or(0, Handler::restarts),
            },
            functions: self
                .counters
                .iter()
                .map(|(name, counters)| (name.clone(), counters.snapshot()))
                .collect(),
        }
    }

    /// The handler's process id, while it is ready.
    pub fn handler_pid(&self) -> Option<u32> {
        self.stats().handler.pid
    }

    /// What is not ready yet.
    fn missing(&self) -> Option<String> {
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
}

async fn handler_failed(mut state: watch::Receiver<HandlerState>) -> HostExit {
    let is_over =
        |state: &HandlerState| matches!(state, HandlerState::Failed(_) | HandlerState::Stopped);
    match state.wait_for(is_over).await.as_deref() {
        Ok(HandlerState::Failed(what)) => HostExit::HandlerFailed(what.clone()),
        Ok(_) => HostExit::Stopped,
        Err(_) => HostExit::HandlerFailed("the handler's supervisor has ended".to_owned()),
    }
}
