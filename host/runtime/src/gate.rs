//! Whether the host takes on new work.
//!
//! A gate is open at first. A drain closes it: listeners give back what they have fetched ahead,
//! timers give up their locks, what is under way goes on, and requests are still answered. Taking
//! the host offline closes it, too, and requests of functions are refused. Both can be undone; the
//! host's stop cannot.

use std::sync::Arc;

use tokio::sync::watch;

/// What the gate lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Draining,
    Offline,
    Over,
}

/// The gate. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<watch::Sender<State>>);

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Open)))
    }

    /// Takes on work again.
    pub(crate) fn open(&self) {
        self.change(State::Open);
    }

    /// Takes on nothing more but requests.
    pub(crate) fn drain(&self) {
        self.change(State::Draining);
    }

    /// Takes on nothing more.
    pub(crate) fn go_offline(&self) {
        self.change(State::Offline);
    }

    /// Closes it for good.
    pub(crate) fn end(&self) {
        self.change(State::Over);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.borrow() == State::Open
    }

    pub(crate) fn is_offline(&self) -> bool {
        *self.0.borrow() == State::Offline
    }

    /// Waits until it is not open.
    pub(crate) async fn closed(&self) {
        self.becomes(|state| state != State::Open).await;
    }

    /// Waits until it is open; false when it never will be.
    pub(crate) async fn opened(&self) -> bool {
        let state = self.becomes(|state| matches!(state, State::Open | State::Over));
        state.await == State::Open
    }

    async fn becomes(&self, wanted: impl Fn(State) -> bool) -> State {
        let mut watch = self.0.subscribe();
        // The sender lives as long as this gate, so there is always a state to come.
        let found = watch.wait_for(|state| wanted(*state)).await;
        found.map_or(State::Over, |state| *state)
    }

    fn change(&self, to: State) {
        self.0.send_if_modified(|state| {
            let is_change = *state != State::Over && *state != to;
            if is_change {
                *state = to;
            }
            is_change
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_opens_again_until_it_is_over() {
        let gate = Gate::new();
        assert!(gate.opened().await && gate.is_open());
        gate.drain();
        gate.closed().await;
        assert!(!gate.is_open() && !gate.is_offline());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.opened().await }
        });
        gate.go_offline();
        assert!(gate.is_offline());
        gate.open();
        assert!(waiting.await.unwrap());
        gate.end();
        gate.open();
        gate.closed().await;
        assert!(!gate.opened().await && !gate.is_open());
    }
}
