//! When to stop: a signal, or the end of the host.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The exit code after an orderly stop: that of a process ended by SIGTERM. Never 0, which the real
/// host takes for "done, do not restart".
pub const EXIT_CODE_STOPPED: u8 = 143;

/// Completes when the process is asked to stop: on SIGTERM or SIGINT, and, if `watches_stdin`, when
/// standard input ends because the host that held its other end is gone.
pub(crate) async fn requested(watches_stdin: bool) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        () = stdin_ended(), if watches_stdin => tracing::info!("stopping because the host is gone"),
    }
    Ok(())
}

/// Reads on a thread of its own: one of the runtime's would be waited for when the process ends,
/// and standard input may stay open for ever.
async fn stdin_ended() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    // The sender is only dropped after it has sent.
    let _ = end.await;
}
