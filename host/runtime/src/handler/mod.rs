//! The handler process over the host's whole life: start, readiness, crash, restart, stop.
//!
//! One task owns the process and publishes its state; listeners watch the state and receive
//! messages only while it is [`HandlerState::Ready`]. Ready means that something answers `GET /`
//! on the port, with any status, within the initialisation time-out. What happens when the
//! process ends is the policy's decision (`policy`), and how it can never outlive the host is
//! explained in `process`.

mod client;
mod console;
mod output;
mod policy;
mod process;
mod redirect;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nightshift_telemetry::causes;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use client::{
    AGENT, Answer, BoxError, CallError, HOST_VERSION, HandlerClient, RequestBody, Taking,
    read_answer,
};
use policy::{Ending, RestartPolicy, Verdict};
use process::{HandlerProcess, Spawner};

use crate::app::{HandlerCommand, HostConfig, Mode};
use crate::port::free_port;

/// How often a starting handler is asked whether it listens.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// How long a handler may take to end after SIGTERM, in default mode.
const TERMINATION_GRACE: Duration = Duration::from_secs(5);

/// The exit code by which a handler asks for a restart.
const RESTART_CODE: i32 = 200;

/// Where a ready handler is.
#[derive(Debug, Clone)]
pub(crate) struct ReadyHandler {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// Cancelling it kills this process; used in strict mode when a call takes too long.
    pub(crate) kill: CancellationToken,
}

/// What listeners need to know about the handler.
#[derive(Debug, Clone)]
pub(crate) enum HandlerState {
    /// It starts, or waits to be started again.
    Starting,
    /// It answers.
    Ready(ReadyHandler),
    /// It failed too often; the host must stop.
    Failed(String),
    /// The host has stopped it.
    Stopped,
}

impl HandlerState {
    /// Where the handler is, if it is ready.
    pub(crate) fn ready(&self) -> Option<&ReadyHandler> {
        match self {
            Self::Ready(handler) => Some(handler),
            Self::Starting | Self::Failed(_) | Self::Stopped => None,
        }
    }
}

/// The handler as whoever only looks at it sees it.
#[derive(Debug, Clone)]
pub(crate) struct HandlerWatch {
    pub(crate) state: watch::Receiver<HandlerState>,
    starts: Arc<AtomicU64>,
}

impl HandlerWatch {
    /// How often the process was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed).saturating_sub(1)
    }
}

/// The handler as the rest of the host sees it.
#[derive(Debug)]
pub(crate) struct Handler {
    watch: HandlerWatch,
    stop: CancellationToken,
    /// Ends the patience with a process that is being stopped.
    hurry: CancellationToken,
    overdue: CancellationToken,
    /// Whose end is the process's, too, however it comes.
    task: AbortOnDropHandle<()>,
}

impl Handler {
    /// Begins to start the handler of `config`.
    pub(crate) fn start(
        command: HandlerCommand,
        config: Arc<HostConfig>,
        client: HandlerClient,
    ) -> io::Result<Self> {
        let (sender, state) = watch::channel(HandlerState::Starting);
        let starts = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let hurry = CancellationToken::new();
        let overdue = CancellationToken::new();
        let supervisor = Supervisor {
            spawner: Spawner::start()?,
            command,
            config,
            client,
            state: sender,
            starts: Arc::clone(&starts),
            stop: stop.clone(),
            hurry: hurry.clone(),
            overdue: overdue.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(supervisor.run()));
        Ok(Self {
            watch: HandlerWatch { state, starts },
            stop,
            hurry,
            overdue,
            task,
        })
    }

    pub(crate) fn state(&self) -> watch::Receiver<HandlerState> {
        self.watch.state.clone()
    }

    /// Cancelling it while the handler starts stops the host: an invocation has waited too long.
    pub(crate) fn overdue(&self) -> CancellationToken {
        self.overdue.clone()
    }

    /// What others may look at.
    pub(crate) fn watch(&self) -> HandlerWatch {
        self.watch.clone()
    }

    /// Stops the process and waits for its end; at `end` it is killed.
    pub(crate) async fn stop(mut self, end: Instant) {
        self.stop.cancel();
        // A panic in the task has been printed; the process was killed when it was dropped.
        if timeout_at(end, &mut self.task).await.is_err() {
            self.hurry.cancel();
            let _ = self.task.await;
        }
    }
}

struct Supervisor {
    spawner: Spawner,
    command: HandlerCommand,
    config: Arc<HostConfig>,
    client: HandlerClient,
    state: watch::Sender<HandlerState>,
    starts: Arc<AtomicU64>,
    stop: CancellationToken,
    hurry: CancellationToken,
    overdue: CancellationToken,
}

/// How one life of the process ended.
struct Life {
    ending: Ending,
    what: String,
    uptime: Duration,
}

impl Life {
    /// One that ended before the process answered.
    fn failed(what: String) -> Self {
        Self {
            ending: Ending::Error,
            what,
            uptime: Duration::ZERO,
        }
    }
}

impl Supervisor {
    async fn run(mut self) {
        let mut policy = RestartPolicy::new(self.config.settings.mode);
        while let Some(life) = self.live_once().await {
            let verdict = policy.decide(life.ending, life.uptime, Instant::now());
            let what = life.what;
            match verdict {
                Verdict::RestartAfter(pause) => {
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        handler.pause_ms = pause_ms,
                        "the handler {what}; it is started again"
                    );
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => break,
                    }
                }
                Verdict::StopHost => {
                    tracing::error!("the handler {what}; strict mode stops the host");
                    self.state
                        .send_replace(HandlerState::Failed(format!("the handler {what}")));
                    return;
                }
            }
        }
        self.state.send_replace(HandlerState::Stopped);
    }

    /// Starts the process and stays with it until its end; `None` once the host has stopped it.
    async fn live_once(&mut self) -> Option<Life> {
        let port = match self.command.port.map_or_else(free_port, Ok) {
            Ok(port) => port,
            Err(error) => return Some(Life::failed(format!("has no free port: {error}"))),
        };
        if self.config.settings.mode == Mode::Strict {
            // The real host draws a port once.
            self.command.port = Some(port);
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        let started = HandlerProcess::start(&self.spawner, &self.command, &self.config, port).await;
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let path = self.command.executable.display();
                return Some(Life::failed(format!("{path} cannot be started: {error}")));
            }
        };
        self.accompany(process, port).await
    }

    /// Waits until the process answers, and stays with it.
    async fn accompany(&self, mut process: HandlerProcess, port: u16) -> Option<Life> {
        let begun = Instant::now();
        let patience = self.command.initialization_timeout;
        let mut garbage = String::new();
        let ready = tokio::select! {
            () = self.stop.cancelled() => {
                self.end(process).await;
                return None;
            }
            () = self.overdue.cancelled() => {
                end_now(process).await;
                return Some(Life {
                    ending: Ending::Overdue,
                    ..Life::failed("was not ready while an invocation waited for it".to_owned())
                });
            }
            status = self.telling_end(&mut process) => Err(status),
            ready = timeout(patience, self.wait_until_answering(port, &mut garbage)) => {
                Ok(ready.is_ok())
            }
        };
        match ready {
            Ok(true) => self.serve(process, port, begun).await,
            Ok(false) => {
                let stderr = with_stderr(&end_now(process).await);
                Some(Life::failed(format!(
                    "did not listen on 127.0.0.1:{port} (FUNCTIONS_CUSTOMHANDLER_PORT) within \
                     {patience:?}{garbage}{stderr}"
                )))
            }
            Err(status) => Some(self.bury(process, status, Duration::ZERO).await),
        }
    }

    /// The end of the process, if it tells the host anything. In strict mode an exit with code 0
    /// does not, as in the real host: what listens on the port, if anything does, is called.
    async fn telling_end(&self, process: &mut HandlerProcess) -> io::Result<ExitStatus> {
        let status = process.wait().await?;
        if status.success() && self.config.settings.mode == Mode::Strict {
            tracing::error!("the handler exited with code 0; strict mode does not start it again");
            std::future::pending::<()>().await;
        }
        Ok(status)
    }

    /// Returns when something answers. Until then `garbage` tells what came instead of an answer,
    /// if anything did.
    async fn wait_until_answering(&self, port: u16, garbage: &mut String) {
        while let Err(error) = self.client.probe(port).await {
            garbage.clear();
            if !matches!(&error, CallError::Send(error) if error.is_connect()) {
                garbage.push_str("; what listens there did not answer GET /: ");
                garbage.push_str(&causes(&error));
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Stays with a ready process.
    async fn serve(&self, mut process: HandlerProcess, port: u16, begun: Instant) -> Option<Life> {
        let pid = process.pid();
        let kill = CancellationToken::new();
        let start_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            handler.pid = pid,
            handler.port = port,
            handler.start_ms = start_ms,
            "the handler is ready"
        );
        self.state.send_replace(HandlerState::Ready(ReadyHandler {
            pid,
            port,
            kill: kill.clone(),
        }));
        let ready_since = Instant::now();
        tokio::select! {
            () = self.stop.cancelled() => {
                self.end(process).await;
                None
            }
            () = kill.cancelled() => {
                process.signal(Signal::SIGKILL);
                let _ = process.wait().await;
                // Not before its death: whoever sees this closes the connections of its calls.
                self.state.send_replace(HandlerState::Starting);
                end_now(process).await;
                let what = "was killed because a call exceeded functionTimeout".to_owned();
                Some(Life { ending: Ending::KilledForTimeout, what, uptime: ready_since.elapsed() })
            }
            status = self.telling_end(&mut process) => {
                // At once, so that no listener receives messages for a dead handler.
                self.state.send_replace(HandlerState::Starting);
                Some(self.bury(process, status, ready_since.elapsed()).await)
            }
        }
    }

    /// Says how a process ended by itself.
    async fn bury(
        &self,
        process: HandlerProcess,
        status: io::Result<ExitStatus>,
        uptime: Duration,
    ) -> Life {
        let stderr = with_stderr(&process.clean_up().await);
        let (ending, what) = match status {
            Ok(status) if status.success() => (Ending::Error, "exited with code 0".to_owned()),
            Ok(status) if status.code() == Some(RESTART_CODE) => (
                Ending::RestartWanted,
                format!("asked for a restart (code {RESTART_CODE})"),
            ),
            Ok(status) => (Ending::Error, format!("ended by itself: {status}{stderr}")),
            Err(error) => (Ending::Error, format!("cannot be waited for: {error}")),
        };
        Life {
            ending,
            what,
            uptime,
        }
    }

    /// Ends the process as the mode says, and what it started with it.
    async fn end(&self, mut process: HandlerProcess) {
        if self.config.settings.mode == Mode::Default {
            process.signal(Signal::SIGTERM);
            let mut has_ended = false;
            tokio::select! {
                _ = process.wait() => has_ended = true,
                () = sleep(TERMINATION_GRACE) => {}
                () = self.hurry.cancelled() => {}
            }
            if !has_ended {
                tracing::warn!("the handler did not end after SIGTERM in time; it is killed");
            }
        }
        end_now(process).await;
    }
}

/// Kills the process and what it started, and returns the last lines of its standard error.
async fn end_now(mut process: HandlerProcess) -> String {
    process.signal(Signal::SIGKILL);
    let _ = process.wait().await;
    process.clean_up().await
}

fn with_stderr(last_lines: &str) -> String {
    if last_lines.is_empty() {
        String::new()
    } else {
        format!("; it said: {last_lines}")
    }
}

#[cfg(test)]
mod tests;
