//! What the host has done so far, for status screens and tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A snapshot of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStats {
    /// The handler process.
    pub handler: HandlerStats,
    /// Every function by name.
    pub functions: BTreeMap<String, FunctionStats>,
}

/// A snapshot of the handler process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Its process id, while it is ready.
    pub pid: Option<u32>,
    /// Its port on the loopback interface, while it is ready.
    pub port: Option<u16>,
    /// How often it was started again.
    pub restarts: u64,
}

/// A snapshot of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Whether the function is connected to its queue.
    pub is_listening: bool,
    /// Invocations that are under way.
    pub running: u64,
    /// Invocations that have ended.
    pub invocations: u64,
    /// Those that failed.
    pub failures: u64,
    /// Messages in all ended invocations.
    pub messages: u64,
    /// Messages whose settlement the broker did not confirm; they come again.
    pub lost_settlements: u64,
    /// How long all ended invocations took together.
    pub total_duration: Duration,
    /// How long the last invocation took, from the request to the end of the answer.
    pub last_duration: Duration,
}

/// The running counters of one function.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    is_listening: AtomicU64,
    running: AtomicU64,
    invocations: AtomicU64,
    failures: AtomicU64,
    messages: AtomicU64,
    lost_settlements: AtomicU64,
    total_duration_micros: AtomicU64,
    last_duration_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn set_listening(&self, is_listening: bool) {
        self.is_listening
            .store(is_listening.into(), Ordering::Relaxed);
    }

    /// An invocation runs until what is returned is dropped.
    pub(crate) fn invocation_began(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    pub(crate) fn invocation_ended(&self, messages: usize, is_failure: bool, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.last_duration_micros.store(micros, Ordering::Relaxed);
        self.total_duration_micros
            .fetch_add(micros, Ordering::Relaxed);
        add(&self.messages, messages);
        add(&self.failures, usize::from(is_failure));
        add(&self.invocations, 1);
    }

    pub(crate) fn settlements_lost(&self, count: usize) {
        add(&self.lost_settlements, count);
    }

    pub(crate) fn snapshot(&self) -> FunctionStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FunctionStats {
            is_listening: load(&self.is_listening) != 0,
            running: load(&self.running),
            invocations: load(&self.invocations),
            failures: load(&self.failures),
            messages: load(&self.messages),
            lost_settlements: load(&self.lost_settlements),
            total_duration: Duration::from_micros(load(&self.total_duration_micros)),
            last_duration: Duration::from_micros(load(&self.last_duration_micros)),
        }
    }
}

/// An invocation under way.
#[derive(Debug)]
pub(crate) struct Running(Arc<Counters>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}
