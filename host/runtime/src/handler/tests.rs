//! The supervisor against real processes: small Python programs.

use std::fs;
use std::path::PathBuf;

use nightshift_settings::MapSource;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Long enough for a busy machine; tests end when what they wait for happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers everything with 404, and does `on_post` on a POST.
fn server(on_post: &str) -> String {
    format!(
        "import http.server, os, sys, signal, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_error(404)
    def do_POST(self): {on_post}
    def log_message(self, *a): pass
open('starts', 'a').write(os.environ['FUNCTIONS_HTTPWORKER_PORT'] + '\\n')
port = int(os.environ['FUNCTIONS_CUSTOMHANDLER_PORT'])
http.server.HTTPServer(('127.0.0.1', port), H).serve_forever()
"
    )
}

struct Running {
    root: TempDir,
    handler: Handler,
    client: HandlerClient,
}

impl Running {
    fn start(program: &str, mode: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let host_json = r#"{"version": "2.0", "customHandler": {"initializationTimeout": "00:00:02",
            "description": {"defaultExecutablePath": "python3", "arguments": ["handler.py"]}}}"#;
        let function =
            r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m", "queueName": "q"}]}"#;
        fs::write(root.path().join("host.json"), host_json).unwrap();
        fs::write(root.path().join("handler.py"), program).unwrap();
        fs::create_dir(root.path().join("f")).unwrap();
        fs::write(root.path().join("f/function.json"), function).unwrap();
        let path = nightshift_settings::Source::get(&nightshift_settings::Environment, "PATH");
        let source: MapSource = [
            ("PATH", path.unwrap().as_str()),
            ("NIGHTSHIFT_HOST_MODE", mode),
            (
                "AzureWebJobsServiceBus",
                "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=k;\
                 UseDevelopmentEmulator=true",
            ),
        ]
        .into_iter()
        .collect();
        let config = HostConfig::load(root.path(), &source).unwrap();
        let command = config.handler.clone().unwrap();
        let client = HandlerClient::new();
        let handler = Handler::start(command, Arc::new(config), client.clone()).unwrap();
        Self {
            root,
            handler,
            client,
        }
    }

    /// Waits until the state is as `wanted`.
    async fn until(&self, wanted: impl Fn(&HandlerState) -> bool) -> HandlerState {
        let mut state = self.handler.state();
        let found = timeout(PATIENCE, state.wait_for(|state| wanted(state))).await;
        found
            .expect("the state is reached in time")
            .unwrap()
            .clone()
    }

    async fn ready(&self) -> ReadyHandler {
        self.until(|state| state.ready().is_some())
            .await
            .ready()
            .unwrap()
            .clone()
    }

    /// Waits until another process than `old` is ready.
    async fn ready_again(&self, old: &ReadyHandler) -> ReadyHandler {
        let is_new = |state: &HandlerState| state.ready().is_some_and(|new| new.pid != old.pid);
        self.until(is_new).await.ready().unwrap().clone()
    }

    async fn post(&self, handler: &ReadyHandler) -> Result<Answer, CallError> {
        self.client
            .post(
                handler.port,
                "f",
                hyper::HeaderMap::new(),
                Vec::new(),
                Taking {
                    max_bytes: 100,
                    follows_redirects: false,
                },
            )
            .await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

fn is_alive(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

#[tokio::test]
async fn a_handler_that_crashes_is_started_again_and_one_that_is_stopped_is_gone() {
    let running = Running::start(&server("os.kill(os.getpid(), 9)"), "default");
    let first = running.ready().await;
    assert!(running.post(&first).await.is_err());
    let second = running.ready_again(&first).await;
    assert_eq!(running.handler.watch().restarts(), 1);
    assert!(!is_alive(first.pid) && is_alive(second.pid));
    let starts = fs::read_to_string(running.file("starts")).unwrap();
    assert_eq!(starts.lines().last().unwrap(), second.port.to_string());
    running.handler.stop(Instant::now() + PATIENCE).await;
    assert!(!is_alive(second.pid));
}

#[tokio::test]
async fn an_exit_with_code_0_is_a_crash_by_default() {
    let running = Running::start(&server("os._exit(0)"), "default");
    let first = running.ready().await;
    assert!(running.post(&first).await.is_err());
    running.ready_again(&first).await;
    running.handler.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn an_exit_with_code_0_is_final_in_strict_mode() {
    let running = Running::start(&server("os._exit(0)"), "strict");
    let first = running.ready().await;
    assert!(running.post(&first).await.is_err());
    assert!(running.post(&first).await.is_err());
    assert_eq!(running.ready().await.pid, first.pid);
    assert_eq!(running.handler.watch().restarts(), 0);
    running.handler.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn the_third_error_stops_the_host_in_strict_mode() {
    let running = Running::start(
        "import sys\nprint('no luck', file=sys.stderr)\nexit(3)",
        "strict",
    );
    let state = running
        .until(|state| matches!(state, HandlerState::Failed(_)))
        .await;
    let HandlerState::Failed(what) = state else {
        panic!("{state:?}")
    };
    assert_eq!(
        what,
        "the handler ended by itself: exit status: 3; it said: no luck"
    );
    assert_eq!(running.handler.watch().restarts(), 2);
}

#[tokio::test]
async fn code_200_asks_for_a_restart() {
    let running = Running::start(&server("os._exit(200)"), "strict");
    let mut handler = running.ready().await;
    for _ in 0..4 {
        assert!(running.post(&handler).await.is_err());
        handler = running.ready_again(&handler).await;
    }
    running.handler.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_handler_that_never_listens_is_killed_after_its_time() {
    let running = Running::start("import time\ntime.sleep(600)", "strict");
    let state = running
        .until(|state| matches!(state, HandlerState::Failed(_)))
        .await;
    let HandlerState::Failed(what) = state else {
        panic!("{state:?}")
    };
    assert!(what.contains("did not listen on 127.0.0.1:"), "{what}");
    assert!(what.contains("within 2s"), "{what}");
}

#[tokio::test]
async fn a_handler_that_ignores_sigterm_is_killed_in_the_end_and_its_children_too() {
    let program = "import subprocess, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(['sleep', '600'])
open('child', 'w').write(str(child.pid))
"
    .to_owned()
        + &server("pass");
    let running = Running::start(&program, "default");
    let handler = running.ready().await;
    let child: u32 = fs::read_to_string(running.file("child"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(is_alive(child));
    running.handler.stop(Instant::now() + PATIENCE).await;
    assert!(!is_alive(handler.pid));
    // Its parent is gone, so init reaps it in its own time: gone or a zombie.
    let is_running = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    };
    timeout(PATIENCE, async {
        while is_running(child) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the child is killed in time");
}

#[tokio::test]
async fn a_call_that_took_too_long_kills_the_handler_when_asked() {
    let running = Running::start(&server("time.sleep(600)"), "strict");
    let first = running.ready().await;
    first.kill.cancel();
    let second = running.ready_again(&first).await;
    assert!(!is_alive(first.pid) && is_alive(second.pid));
    running.handler.stop(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn an_answer_above_the_limit_is_refused() {
    let program =
        server("(self.send_response(200), self.end_headers(), self.wfile.write(b'x' * 101))");
    let running = Running::start(&program, "default");
    let handler = running.ready().await;
    let error = running.post(&handler).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the handler's answer is longer than 100 bytes"
    );
    running.handler.stop(Instant::now() + PATIENCE).await;
}

/// A server that SIGTERM does not end.
fn stubborn() -> String {
    server("pass").replace(
        "open('starts'",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('starts'",
    )
}

#[tokio::test]
async fn a_handler_that_does_not_end_in_time_is_killed() {
    let running = Running::start(&stubborn(), "default");
    let pid = running.ready().await.pid;
    let begun = Instant::now();
    running.handler.stop(begun).await;
    assert!(!is_alive(pid) && begun.elapsed() < TERMINATION_GRACE);
}

#[tokio::test]
async fn a_handler_that_is_dropped_kills_its_process_and_what_that_started() {
    let more = "import subprocess; child = subprocess.Popen(['sleep', 'infinity']); \
                open('child', 'w').write(str(child.pid))\nopen('starts'";
    let running = Running::start(&stubborn().replace("open('starts'", more), "default");
    let pid = running.ready().await.pid;
    let child = fs::read_to_string(running.file("child")).unwrap();
    let Running { root, handler, .. } = running;
    drop(handler);
    let child = child.parse().unwrap();
    timeout(PATIENCE, async {
        while is_running(pid) || is_running(child) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("both end");
    drop(root);
}

/// Whether the process exists and is no zombie: whoever inherits an orphan reaps it in its own
/// time.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}
