//! When to stop: a signal, or the end of the host.

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code after an orderly stop: that of a process ended by SIGTERM. Never 0, which the real
/// host takes for "done, do not restart".
pub const EXIT_CODE_STOPPED: u8 = 143;

/// Completes when the process is asked to stop: on SIGTERM or SIGINT, and, if `watches_stdin`, when
/// standard input ends because the host that held its other end is gone.
pub(crate) async fn requested(watches_stdin: bool) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        () = stdin_ended(), if watches_stdin => tracing::info!("stopping because the host is gone"),
    }
    Ok(())
}

async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while matches!(stdin.read(&mut ignored).await, Ok(read) if read > 0) {}
}
