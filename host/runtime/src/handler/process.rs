//! One handler process: how it is started, and that it never outlives the host.
//!
//! The process leads a group of its own, so that a signal reaches what it started, too, and so
//! that Ctrl-C in a terminal reaches the host only, which then stops the handler in order. A host
//! that is killed cannot stop anything; against that, two things: `setpriv --pdeathsig` (from
//! util-linux, where present) has the kernel kill the handler, and the handler's standard input is
//! a pipe that ends with the host, which a handler may watch (`NIGHTSHIFT_EXIT_ON_STDIN_EOF` says
//! so). The kernel ties the death signal to the *thread* that started the process, and a runtime's
//! threads come and go, so one thread that lives as long as the host starts them all.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::console::Stream;
use super::output::{LastLines, forward, log};
use crate::app::{HandlerCommand, HostConfig, Mode};

/// How long the end of the process waits for the rest of its output.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(250);

/// A request to start a process.
type SpawnRequest = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that starts processes.
#[derive(Debug, Clone)]
pub(super) struct Spawner(mpsc::Sender<SpawnRequest>);

impl Spawner {
    /// Starts the thread; it ends when the last clone is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("handler-spawner".to_owned())
            .spawn(move || {
                let _context = runtime.enter();
                for (mut command, reply) in requests {
                    // Nobody waiting means that the host is stopping; the child dies when dropped.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self(sender))
    }

    async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (reply, answer) = oneshot::channel();
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// A started handler process.
#[derive(Debug)]
pub(super) struct HandlerProcess {
    child: Child,
    pid: u32,
    /// Whether its group has nobody left: another one may have the number by now.
    is_gone: bool,
    /// Held open here: waiting for the child closes an input that is still its own.
    _stdin: Option<ChildStdin>,
    stderr: LastLines,
    outputs: Vec<JoinHandle<()>>,
}

impl HandlerProcess {
    /// Starts the handler, which is to listen on `port`.
    pub(super) async fn start(
        spawner: &Spawner,
        command: &HandlerCommand,
        config: &HostConfig,
        port: u16,
    ) -> io::Result<Self> {
        let mut child = spawner.spawn(build(command, config, port)).await?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the process ended at once"))?;
        let stderr = LastLines::default();
        let mut outputs = Vec::new();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            let last = stderr.clone();
            outputs = match config.settings.mode {
                Mode::Default => vec![
                    tokio::spawn(forward(out, tokio::io::stdout(), LastLines::default())),
                    tokio::spawn(forward(err, tokio::io::stderr(), last)),
                ],
                Mode::Strict => {
                    let stream = Stream::Stderr {
                        is_for_errors: command.stderr_is_errors_only,
                    };
                    vec![
                        tokio::spawn(log(out, Stream::Stdout, LastLines::default())),
                        tokio::spawn(log(err, stream, last)),
                    ]
                }
            };
        }
        Ok(Self {
            _stdin: child.stdin.take(),
            child,
            pid,
            is_gone: false,
            stderr,
            outputs,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end. Dropping the future loses nothing.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        if let Ok(pid) = i32::try_from(self.pid) {
            self.is_gone |= killpg(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        }
        Ok(status)
    }

    /// Sends `signal` to the process and everything in its group.
    pub(super) fn signal(&self, signal: Signal) {
        if let (false, Ok(pid)) = (self.is_gone, i32::try_from(self.pid)) {
            // It may have ended by itself, which is what was wanted.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    /// After the end: kills what the process left behind, reads the rest of the output, and
    /// returns the last lines of the standard error.
    pub(super) async fn clean_up(mut self) -> String {
        self.signal(Signal::SIGKILL);
        // Nobody of the group is left once that has arrived.
        self.is_gone = true;
        for output in &mut self.outputs {
            let _ = tokio::time::timeout(OUTPUT_PATIENCE, &mut *output).await;
            output.abort();
        }
        self.stderr.text()
    }
}

impl Drop for HandlerProcess {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

fn build(command: &HandlerCommand, config: &HostConfig, port: u16) -> Command {
    let mut built = match &command.setpriv {
        Some(setpriv) => {
            let mut built = Command::new(setpriv);
            built
                .args(["--pdeathsig", "KILL", "--"])
                .arg(&command.executable);
            built
        }
        None => Command::new(&command.executable),
    };
    let worker_id = Uuid::new_v4().to_string();
    built
        .args(&command.arguments)
        .current_dir(&command.working_directory)
        .envs(config.environment.iter().map(|(name, value)| (name, value)))
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        .env("FUNCTIONS_HTTPWORKER_PORT", port.to_string())
        .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker_id)
        .env("FUNCTIONS_HTTPWORKER_ID", &worker_id)
        .env("FUNCTIONS_APP_ROOT_PATH", &config.app_root)
        .env("NIGHTSHIFT_EXIT_ON_STDIN_EOF", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    built
}
