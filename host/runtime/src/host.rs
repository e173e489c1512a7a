//! The running host: one handler, one listener for each function, one HTTP server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_bus::{ClientOptions, RetryOptions};
use nightshift_time::SharedClock;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::app::{Function, HostConfig, ServiceBusFunction};
use crate::call::Caller;
use crate::handler::{Handler, HandlerClient, HandlerState};
use crate::http::{HttpServer, HttpTarget, Service};
use crate::listener::{LONGEST_FAILURE, Listener, Pauses, Refusals};
use crate::monitor::Monitor;
use crate::stats::{Counters, HostStats};
use crate::timer::Timer;
use nightshift_connection::Connections;

/// How long a stop may take after its grace period: to give messages back, to close connections,
/// and to end the handler, all at the same time.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// How often somebody who waits for readiness, or for the end of all invocations, looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why the host could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The operating system refused a thread.
    #[error("the thread that starts the handler cannot be started")]
    Thread(#[source] io::Error),
    /// The address is taken, or not this machine's.
    #[error("cannot answer requests on {address} (NIGHTSHIFT_HOST_LISTEN chooses another)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
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

/// A running host. Dropping it kills the handler and gives up everything that is under way, as soon
/// as the runtime gets to it; [`Host::stop`] ends everything in order.
#[derive(Debug)]
pub struct Host {
    bus: Arc<Connections>,
    handler: Option<Handler>,
    monitor: Arc<Monitor>,
    http_address: Option<SocketAddr>,
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
        let stop = CancellationToken::new();
        let mut monitor = Monitor::new();
        let bus = Arc::new(Connections::new(client_options(&config)));
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let host = |handler, monitor| Self {
            bus: Arc::clone(&bus),
            handler,
            monitor: Arc::new(monitor),
            http_address: None,
            listeners: JoinSet::new(),
            stop,
            cancel: CancellationToken::new(),
            shutdown_grace: config.settings.shutdown_grace,
        };
        let Some(command) = config.handler.clone() else {
            tracing::warn!(app.root = %config.app_root.display(), "there is no function to run");
            return Ok(host(None, monitor));
        };
        let server = config.listen_address().map(bind).transpose()?;
        let handler = Handler::start(command, Arc::clone(&config), client.clone())
            .map_err(HostError::Thread)?;
        let caller = Caller {
            config: Arc::clone(&config),
            client,
            handler: handler.state(),
            overdue: handler.overdue(),
            bus: Arc::clone(&bus),
        };
        monitor.handler = Some(handler.watch());
        for function in &config.functions {
            let name = function.name().to_owned();
            monitor.counters.insert(name, Arc::new(Counters::default()));
        }
        let mut host = host(Some(handler), monitor);
        host.start_triggers(&caller, server);
        tracing::info!(
            host.mode = %config.settings.mode,
            host.functions = ?config.function_names(),
            "the host has started"
        );
        Ok(host)
    }

    /// Starts what triggers each function, and the server.
    fn start_triggers(&mut self, caller: &Caller, server: Option<HttpServer>) {
        let mut targets = Vec::new();
        for function in &caller.config.functions {
            let counters = self.monitor.counters.get(function.name());
            let counters = counters.cloned().unwrap_or_default();
            match function.clone() {
                Function::ServiceBus(function) => self.listen(caller, function, counters),
                Function::Timer(function) => {
                    let timer = Timer {
                        function,
                        caller: caller.clone(),
                        counters,
                        gate: self.monitor.gate.clone(),
                        cancel: self.cancel.clone(),
                    };
                    self.listeners.spawn(timer.run());
                }
                Function::Http(function) => targets.push(HttpTarget { function, counters }),
            }
        }
        if let Some(server) = server {
            self.serve(caller, server, targets);
        }
    }

    /// Starts the listener of a function that messages trigger.
    fn listen(&mut self, caller: &Caller, function: ServiceBusFunction, counters: Arc<Counters>) {
        let listener = Listener {
            function,
            caller: caller.clone(),
            counters,
            gate: self.monitor.gate.clone(),
            cancel: self.cancel.clone(),
            failures: Mutex::new(Pauses::up_to(LONGEST_FAILURE)),
            refusals: Refusals::default(),
        };
        self.listeners.spawn(Arc::new(listener).run());
    }

    /// Starts to answer requests.
    fn serve(&mut self, caller: &Caller, server: HttpServer, targets: Vec<HttpTarget>) {
        for target in &targets {
            target.counters.set_listening(true);
        }
        let address = server.address;
        self.http_address = Some(address);
        let (stop, cancel) = (self.stop.clone(), self.cancel.clone());
        let monitor = Arc::clone(&self.monitor);
        let service = Service::new(caller.clone(), monitor, targets, address, cancel.clone());
        let service = Arc::new(service);
        self.listeners.spawn(server.run(service, stop, cancel));
        tracing::info!(http.address = %address, "requests are answered");
        if !address.ip().is_loopback() && !caller.config.keys.are_configured() {
            tracing::warn!(
                "everybody can reach this host and there are no keys, so it answers only anonymous \
                 functions: set NIGHTSHIFT_HOST_KEYS_DIR"
            );
        }
    }

    /// Where requests are answered, if they are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Waits until the handler answers and every function listens.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + within;
        loop {
            let Some(what) = self.monitor.missing() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(NotReady { within, what });
            }
            sleep(LOOK_INTERVAL).await;
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
    /// the connections, and ends the handler. Takes five seconds longer than the grace period at
    /// most, whatever handler, broker and callers do.
    pub async fn stop(mut self) {
        self.monitor.gate.end();
        self.stop.cancel();
        self.monitor.by_hand.close();
        let grace = self.shutdown_grace;
        if timeout(grace, self.all_done()).await.is_err() {
            match self.monitor.running() {
                0 => tracing::warn!(
                    "no invocation is under way, but a broker or a caller has not let go of its \
                     connection within {grace:?}: it is cut off"
                ),
                running => tracing::warn!(
                    host.running = running,
                    "{running} invocations did not end within {grace:?}; their messages go back \
                     to the broker"
                ),
            }
            self.cancel.cancel();
        }
        let end = Instant::now() + CLOSING_TIME;
        let (handler, monitor) = (self.handler.take(), Arc::clone(&self.monitor));
        let end_handler = async {
            // Not while it is being called: a call that it breaks off is a failure.
            let _ = timeout_at(end, monitor.all_ended(LOOK_INTERVAL)).await;
            if let Some(handler) = handler {
                handler.stop(end).await;
            }
        };
        tokio::join!(self.close(end), end_handler);
        tracing::info!("the host has stopped");
    }

    /// Waits until nothing is under way.
    async fn all_done(&mut self) {
        while self.listeners.join_next().await.is_some() {}
        self.monitor.by_hand.wait().await;
    }

    /// Closes what is open by `end`, and drops it then.
    async fn close(&mut self, end: Instant) {
        if timeout_at(end, self.all_done()).await.is_err() {
            tracing::warn!(
                "the broker does not answer; messages that could not be given back come again when \
                 their lock ends"
            );
        }
        self.listeners.shutdown().await;
        if timeout_at(end, self.bus.close()).await.is_err() {
            tracing::debug!("a connection could not be closed in order");
        }
    }

    /// What the host has done so far.
    pub fn stats(&self) -> HostStats {
        self.monitor.stats()
    }

    /// The handler's process id, while it is ready.
    pub fn handler_pid(&self) -> Option<u32> {
        self.stats().handler.pid
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The handler and the listeners end with their fields.
        self.monitor.gate.end();
        self.stop.cancel();
        self.cancel.cancel();
    }
}

fn client_options(config: &HostConfig) -> ClientOptions {
    let retry = &config.service_bus.client_retry;
    let max_delay = if retry.pauses_grow {
        retry.max_delay
    } else {
        retry.delay
    };
    ClientOptions {
        clock: config.clock.clone(),
        try_timeout: retry.try_timeout,
        retry: RetryOptions {
            max_retries: retry.max_retries,
            delay: retry.delay,
            max_delay,
            ..RetryOptions::default()
        },
        ..ClientOptions::default()
    }
}

fn bind(address: SocketAddr) -> Result<HttpServer, HostError> {
    HttpServer::bind(address).map_err(|source| HostError::Listen { address, source })
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
