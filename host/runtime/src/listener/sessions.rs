//! The listener of a function whose queue has sessions.
//!
//! One loop accepts sessions, one after the other, as many as may be held at a time, and hands each
//! to a task of its own, which receives the session's messages until there is none for a while. The
//! messages of a session are worked on in their order: a message that fails is abandoned and is the
//! next one again, and of a batch nothing behind it goes on before it. Only where `host.json` wants
//! several calls for one session do they overtake each other. A session whose lock is lost is
//! somebody else's: what is left of its batch is not begun any more, and it is given up.
//!
//! The default mode differs from the real host in three points. Nothing is fetched ahead, because
//! what was fetched would come before the message that failed. A session that has had its turn is
//! given back although it has more messages, so that busy sessions do not keep the others waiting
//! for ever. And an empty one is given back after a second, not a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nightshift_bindings::function_json::Cardinality;
use nightshift_bus::{
    BusError, ReceivedMessage, ServiceBusClient, SessionReceiver, SessionReceiverOptions,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::BatchLimits;
use super::settle::Settlement;
use super::{Ended, LONGEST_ABSENCE, Listener, Pauses, Progress};
use crate::app::Mode;

/// How long one call looks for a session; the loop then asks again.
const ACCEPT_PATIENCE: Duration = Duration::from_mins(1);

/// In default mode: how long an empty session is waited on, unless `host.json` says otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// In default mode: how long a session is held while it has messages.
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// A session that this host works on.
struct Turn {
    session: SessionReceiver,
    /// When others have theirs.
    ends: Option<Instant>,
    is_lost: AtomicBool,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.ends.is_some_and(|end| Instant::now() >= end)
    }

    /// It may be somebody else's.
    fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

impl Listener {
    /// Runs until the host stops, and returns when every session is given back.
    pub(super) async fn run_with_sessions(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(self.sessions_at_a_time()));
        let mut held = JoinSet::new();
        let mut connection = None;
        let mut pauses = Pauses::up_to(LONGEST_ABSENCE);
        let mut last_error = None;
        while self.may_receive().await {
            while held.try_join_next().is_some() {}
            let slot = tokio::select! {
                biased;
                _ = self.halted() => continue,
                slot = Arc::clone(&slots).acquire_owned() => slot.ok(),
            };
            let ended = match self.accept(&mut connection).await {
                Ok(session) => {
                    let listener = Arc::clone(&self);
                    held.spawn(async move {
                        listener.hold(session).await;
                        drop(slot);
                    });
                    None
                }
                Err(Ended::Lost(BusError::NoSessionAvailable { .. })) => None,
                Err(Ended::Lost(error)) => Some(error),
                Err(_) => continue,
            };
            let Some(error) = ended else {
                if last_error.take().is_some() {
                    tracing::info!(function.name = %self.function.name, "the broker is back");
                }
                pauses.reset();
                continue;
            };
            self.counters.set_listening(false);
            self.tell_lost_connection(&mut last_error, &error);
            tokio::select! {
                () = tokio::time::sleep(pauses.next()) => {}
                () = self.gate.closed() => {}
            }
        }
        while held.join_next().await.is_some() {}
        self.counters.set_listening(false);
        if let Some(client) = connection {
            client.close().await;
        }
    }

    /// Accepts the next session, on a new connection if need be.
    async fn accept(
        &self,
        connection: &mut Option<ServiceBusClient>,
    ) -> Result<SessionReceiver, Ended> {
        let accept = async {
            let client = match connection {
                Some(client) => client,
                None => {
                    connection.insert(self.caller.bus.connect(&self.function.connection).await?)
                }
            };
            self.counters.set_listening(true);
            let options = &self.caller.config.service_bus;
            let prefetch = match self.mode() {
                Mode::Strict => options.prefetch_count,
                Mode::Default => 0,
            };
            let options = SessionReceiverOptions {
                prefetch,
                max_wait: ACCEPT_PATIENCE.min(options.client_retry.try_timeout),
                max_auto_lock_renewal_duration: self.longest_renewal(),
                ..SessionReceiverOptions::default()
            };
            client
                .accept_next_session(&self.function.entity, options)
                .await
        };
        tokio::select! {
            ended = self.halted() => Err(ended),
            accepted = accept => accepted.map_err(Ended::Lost),
        }
    }

    /// Works on the messages of a session until there are none, and gives it back.
    async fn hold(self: &Arc<Self>, session: SessionReceiver) {
        let turn = Arc::new(Turn {
            session,
            ends: self.turn().map(|turn| Instant::now() + turn),
            is_lost: AtomicBool::new(false),
        });
        let mut calls = JoinSet::new();
        let ended = self.receive_session(&turn, &mut calls).await;
        while calls.join_next().await.is_some() {}
        let error = ended.err().map(|error| error.to_string());
        if error.is_some() || turn.is_lost() {
            tracing::warn!(
                function.name = %self.function.name,
                session.id = %turn.session.session_id(),
                error,
                "a session is lost; its messages come again"
            );
        }
        if let Ok(turn) = Arc::try_unwrap(turn) {
            turn.session.close().await;
        }
    }

    /// The loop. It ends where it holds no message.
    async fn receive_session(
        self: &Arc<Self>,
        turn: &Arc<Turn>,
        calls: &mut JoinSet<()>,
    ) -> Result<(), BusError> {
        let config = &self.caller.config;
        let mut limits = BatchLimits::new(&config.service_bus, config.settings.batch_bytes);
        let most = self.calls_per_session();
        let mut is_begun = false;
        loop {
            while calls.try_join_next().is_some() {}
            if turn.is_lost() || is_begun && calls.is_empty() && turn.is_over() {
                return Ok(());
            }
            let Some(places) = most.checked_sub(calls.len()).filter(|places| *places > 0) else {
                calls.join_next().await;
                continue;
            };
            let max = match self.function.cardinality {
                Cardinality::One => places,
                Cardinality::Many => limits.ask(),
            };
            let batch = tokio::select! {
                biased;
                _ = self.halted() => return Ok(()),
                Some(_) = calls.join_next() => continue,
                batch = turn.session.receive_messages(max, self.idle_timeout()) => batch?,
            };
            if batch.is_empty() && calls.is_empty() {
                return Ok(());
            }
            is_begun = true;
            self.start_calls(batch, turn, &mut limits, calls).await;
        }
    }

    async fn start_calls(
        self: &Arc<Self>,
        mut batch: Vec<ReceivedMessage>,
        turn: &Arc<Turn>,
        limits: &mut BatchLimits,
        calls: &mut JoinSet<()>,
    ) {
        let calls_of_one_task = match self.function.cardinality {
            Cardinality::One => batch
                .into_iter()
                .map(|message| vec![vec![message]])
                .collect(),
            Cardinality::Many => {
                limits.fill(&mut batch, &turn.session, self.halted()).await;
                vec![self.parts_in_order(batch, limits)]
            }
        };
        for parts in calls_of_one_task {
            let (listener, turn) = (Arc::clone(self), Arc::clone(turn));
            calls.spawn(async move { listener.process_in_order(&turn, parts).await });
        }
    }

    /// Works on one part after the other. Behind one that fails the others go back untried, so that
    /// they come after it again, and so do those that do not get their turn. When the session is
    /// lost they are left to whoever has it next.
    async fn process_in_order(&self, turn: &Turn, parts: Vec<Vec<ReceivedMessage>>) {
        let mut parts = parts.into_iter();
        for part in parts.by_ref() {
            if self.is_lock_over(turn) {
                return turn.lose();
            }
            match self.process(&turn.session, part).await {
                Progress::Done if !turn.is_over() => {}
                Progress::Done | Progress::Failed => break,
                Progress::Lost => return turn.lose(),
            }
        }
        let rest: Vec<_> = parts.flatten().collect();
        if !self.settle(&turn.session, &rest, Settlement::Release).await {
            turn.lose();
        }
    }

    fn is_lock_over(&self, turn: &Turn) -> bool {
        let now = self.caller.config.clock.now();
        let end = turn.session.session_locked_until();
        end.is_some_and(|end| end <= now)
    }

    /// The invocations that a batch becomes: messages that have failed several times alone, the
    /// others together, all in their order.
    fn parts_in_order(
        &self,
        batch: Vec<ReceivedMessage>,
        limits: &BatchLimits,
    ) -> Vec<Vec<ReceivedMessage>> {
        let (mut parts, mut together) = (Vec::new(), Vec::new());
        for message in batch {
            if self.is_suspect(&message) {
                parts.extend(limits.split(std::mem::take(&mut together)));
                parts.push(vec![message]);
            } else {
                together.push(message);
            }
        }
        parts.extend(limits.split(together));
        parts
    }

    /// The real host works on one batch of a function at a time, whatever its session.
    fn sessions_at_a_time(&self) -> usize {
        let most = self.caller.config.service_bus.max_concurrent_sessions;
        match (self.mode(), self.function.cardinality) {
            (Mode::Strict, Cardinality::Many) => 1,
            _ => usize::try_from(most).map_or(Semaphore::MAX_PERMITS, |most| {
                most.min(Semaphore::MAX_PERMITS)
            }),
        }
    }

    fn calls_per_session(&self) -> usize {
        let calls = self
            .caller
            .config
            .service_bus
            .max_concurrent_calls_per_session;
        match self.function.cardinality {
            Cardinality::One => usize::try_from(calls).unwrap_or(usize::MAX),
            Cardinality::Many => 1,
        }
    }

    fn idle_timeout(&self) -> Duration {
        let options = &self.caller.config.service_bus;
        let default = match self.mode() {
            Mode::Strict => options.client_retry.try_timeout,
            Mode::Default => IDLE_TIMEOUT,
        };
        options.session_idle_timeout.unwrap_or(default)
    }

    /// How long a session is held while it has messages; without end in strict mode. The lock, which
    /// is renewed from the beginning, must outlive the last call.
    fn turn(&self) -> Option<Duration> {
        let is_strict = self.mode() == Mode::Strict;
        (!is_strict).then(|| LONGEST_TURN.min(self.longest_renewal() / 2))
    }
}
