//! The running processes in the order of their start, and how all of them are stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;

use crate::servers::{ServerProcess, tail};

/// How often running processes are looked at.
const POLL: Duration = Duration::from_millis(50);

/// The processes that run so far. Shared by everything that starts one.
#[derive(Debug, Default)]
pub(super) struct Stack(Mutex<Vec<ServerProcess>>);

impl Stack {
    pub(super) fn push(&self, process: ServerProcess) {
        self.with(|processes| processes.push(process));
    }

    /// Waits until one of them ends by itself, and says which and why.
    pub(super) async fn first_end(&self) -> anyhow::Error {
        loop {
            let ended = self.with(|processes| {
                processes.iter_mut().find_map(|process| {
                    let status = process.exit_status()?;
                    let log = process.log();
                    Some(anyhow!(
                        "{} ended unexpectedly ({status}); the end of {}:\n{}",
                        process.name(),
                        log.display(),
                        tail(log)
                    ))
                })
            });
            if let Some(error) = ended {
                return error;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops all, the last started first. If the future is dropped, the rest is killed.
    pub(super) async fn stop(&self) {
        let mut processes = self.with(std::mem::take);
        while let Some(process) = processes.last_mut() {
            process.stop().await;
            processes.pop();
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<ServerProcess>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
