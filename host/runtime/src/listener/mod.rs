//! The Service Bus listener of one function.
//!
//! A listener owns one connection and one receiver. While the handler is ready it receives and
//! hands every batch (or single message) to a task of its own, as many at a time as the function
//! may have in flight. When the handler goes away, it stops receiving, waits for the tasks (whose
//! calls fail at once, so their messages go back), and closes the receiver, which gives back what
//! was fetched ahead; it opens a new one when the handler is ready again. So nothing is locked
//! while nobody can work on it, and only what a handler was given counts as a failed delivery. A
//! lost connection is made again after a growing pause and told once per change.
//!
//! Failed messages go back after a growing pause, too, and a message that failed several times is
//! tried alone. What cannot be worked on at once goes back untried, and what is locked no longer is
//! left out: nothing waits here for its turn while its lock runs out.

pub(crate) mod backlog;
mod batch;
mod by_hand;
mod invocation;
mod pause;
mod sessions;
mod settle;
mod suspects;
mod trace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_bindings::function_json::Cardinality;
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bus::{BusError, ReceivedMessage, Receiver, ReceiverOptions, ServiceBusClient};
use nightshift_connection::{has_bindable_body, into_trigger_message};
use nightshift_crashpoint::CrashPoint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{Mode, ServiceBusFunction};
use crate::call::{Caller, Failure};
use crate::gate::Gate;
use crate::stats::Counters;
use batch::BatchLimits;
pub(crate) use by_hand::ByHand;
use invocation::Invocation;
pub(crate) use pause::Pauses;
use settle::Settlement;
pub(crate) use suspects::Refusals;
use trace::Spans;

/// How long one call waits for a first message; the loop then asks again.
const RECEIVE_PATIENCE: Duration = Duration::from_mins(1);

/// The most single messages fetched by one call.
const MAX_SINGLES: usize = 100;

/// Concurrent calls per processor of a function with `cardinality: one`, unless `host.json` says
/// otherwise.
const CALLS_PER_PROCESSOR: usize = 16;

/// The longest pause before the broker is tried again, and before failed messages go back. The
/// second is short: it takes one of the function's places.
const LONGEST_ABSENCE: Duration = Duration::from_secs(10);
pub(crate) const LONGEST_FAILURE: Duration = Duration::from_secs(1);

/// What counts as without end.
const WITHOUT_END: Duration = Duration::from_hours(24 * 365);

/// A receiver that lived this long counts as a success, and the next pause is short again.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// What the listener of a function works with.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) function: ServiceBusFunction,
    pub(crate) caller: Caller,
    pub(crate) counters: Arc<Counters>,
    /// Whether to receive.
    pub(crate) gate: Gate,
    /// Gives up invocations that are under way.
    pub(crate) cancel: CancellationToken,
    /// The pauses after failed invocations.
    pub(crate) failures: Mutex<Pauses>,
    /// What the handler could not work on.
    pub(crate) refusals: Refusals,
}

/// What came of messages that were to be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// They were given back.
    Failed,
    /// Whose they are now is not known.
    Lost,
}

/// Why a receiver's life ended.
enum Ended {
    GateClosed,
    HandlerAway,
    Lost(BusError),
}

/// What outlives a connection: invocations go on while the broker is away.
struct Work {
    slots: Arc<Semaphore>,
    tasks: JoinSet<()>,
    limits: BatchLimits,
}

impl Work {
    async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Listener {
    fn mode(&self) -> Mode {
        self.caller.mode()
    }

    /// Runs until the host stops, and returns when every message is settled.
    pub(crate) async fn run(self: Arc<Self>) {
        if self.function.has_sessions {
            return self.run_with_sessions().await;
        }
        let mut work = Work {
            slots: Arc::new(Semaphore::new(self.concurrency())),
            tasks: JoinSet::new(),
            limits: BatchLimits::new(
                &self.caller.config.service_bus,
                self.caller.config.settings.batch_bytes,
            ),
        };
        let mut connection = None;
        let mut pauses = Pauses::up_to(LONGEST_ABSENCE);
        let mut last_error = None;
        while self.may_receive().await {
            let ended = match self.open(&mut connection).await {
                Ok(receiver) => {
                    if last_error.take().is_some() {
                        tracing::info!(function.name = %self.function.name, "the broker is back");
                    }
                    let begun = Instant::now();
                    let ended = self.listen(receiver, &mut work).await;
                    if begun.elapsed() >= STABLE_AFTER {
                        pauses.reset();
                    }
                    ended
                }
                Err(ended) => ended,
            };
            match ended {
                Ended::GateClosed | Ended::HandlerAway => {}
                Ended::Lost(error) => {
                    self.tell_lost_connection(&mut last_error, &error);
                    connection = None;
                    tokio::select! {
                        () = tokio::time::sleep(pauses.next()) => {}
                        () = self.gate.closed() => {}
                    }
                }
            }
        }
        work.finish().await;
        if let Some(client) = connection {
            client.close().await;
        }
    }

    /// Waits until the gate is open and the handler ready; false when the host stops first.
    async fn may_receive(&self) -> bool {
        let mut state = self.caller.handler.clone();
        while self.gate.opened().await {
            tokio::select! {
                () = self.gate.closed() => {}
                found = state.wait_for(|state| state.ready().is_some()) => return found.is_ok(),
            }
        }
        false
    }

    /// Waits until nothing more may be received.
    async fn halted(&self) -> Ended {
        let mut state = self.caller.handler.clone();
        tokio::select! {
            () = self.gate.closed() => Ended::GateClosed,
            // An error means that the handler's supervisor is gone, and the handler with it.
            _ = state.wait_for(|state| state.ready().is_none()) => Ended::HandlerAway,
        }
    }

    /// Opens a receiver, on a new connection if need be.
    async fn open(&self, connection: &mut Option<ServiceBusClient>) -> Result<Receiver, Ended> {
        let open = async {
            let open = connection.take().filter(|client| !client.is_closed());
            let client = if let Some(client) = open {
                client
            } else {
                self.caller.bus.connect(&self.function.connection).await?
            };
            let options = ReceiverOptions {
                prefetch: self.caller.config.service_bus.prefetch_count,
                sub_queue: self.function.sub_queue,
                max_auto_lock_renewal_duration: self.renewal(),
                ..ReceiverOptions::default()
            };
            let receiver = client
                .create_receiver(&self.function.entity, options)
                .await?;
            *connection = Some(client);
            Ok(receiver)
        };
        tokio::select! {
            () = self.gate.closed() => Err(Ended::GateClosed),
            opened = open => opened.map_err(Ended::Lost),
        }
    }

    /// Receives until something ends it, and leaves nothing locked behind.
    async fn listen(self: &Arc<Self>, receiver: Receiver, work: &mut Work) -> Ended {
        self.counters.set_listening(true);
        let receiver = Arc::new(receiver);
        let ended = self.receive(&receiver, work).await;
        self.counters.set_listening(false);
        if !matches!(ended, Ended::Lost(_)) {
            work.finish().await;
            if let Ok(receiver) = Arc::try_unwrap(receiver) {
                receiver.close().await;
            }
        }
        ended
    }

    /// The loop. It stops only where it holds no message: at a slot, or at a first message.
    async fn receive(self: &Arc<Self>, receiver: &Arc<Receiver>, work: &mut Work) -> Ended {
        loop {
            while work.tasks.try_join_next().is_some() {}
            let slot = tokio::select! {
                biased;
                ended = self.halted() => return ended,
                slot = Arc::clone(&work.slots).acquire_owned() => slot.ok(),
            };
            let max = match self.function.cardinality {
                Cardinality::One => (work.slots.available_permits() + 1).min(MAX_SINGLES),
                Cardinality::Many => work.limits.ask(),
            };
            let batch = tokio::select! {
                biased;
                ended = self.halted() => return ended,
                batch = receiver.receive_messages(max, RECEIVE_PATIENCE) => batch,
            };
            let mut batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Ended::Lost(error),
            };
            if self.function.cardinality == Cardinality::Many {
                work.limits.fill(&mut batch, receiver, self.halted()).await;
            }
            let batch = self.leave_out_unlocked(receiver, batch).await;
            let parts = self.parts(batch, &work.limits);
            self.hand_out(parts, slot, receiver, work).await;
        }
    }

    /// Starts a task for each part, each in a slot of its own; the first part uses `slot`. Parts
    /// that get no slot at once go back to the broker: their locks would run out while they wait.
    /// Less is asked for then, so that the same ones do not come and go.
    async fn hand_out(
        self: &Arc<Self>,
        parts: Vec<Vec<ReceivedMessage>>,
        slot: Option<OwnedSemaphorePermit>,
        receiver: &Arc<Receiver>,
        work: &mut Work,
    ) {
        let mut slot = slot;
        let (mut begun, mut left) = (0, Vec::new());
        let is_whole = parts.len() < 2;
        let has_suspects = parts
            .iter()
            .flatten()
            .any(|message| self.is_suspect(message));
        for part in parts {
            let free = || Arc::clone(&work.slots).try_acquire_owned().ok();
            let Some(slot) = slot.take().or_else(free) else {
                left.extend(part);
                continue;
            };
            begun += part.len();
            let (listener, receiver) = (Arc::clone(self), Arc::clone(receiver));
            work.tasks.spawn(async move {
                // Whether it fails is told and counted.
                let _ = listener.process(&receiver, part).await;
                // The receiver goes first, so that whoever waits for the task can close it.
                drop(receiver);
                drop(slot);
            });
        }
        if !left.is_empty() {
            work.limits.narrow(if has_suspects { 1 } else { begun });
            self.settle(receiver, &left, Settlement::Release).await;
        } else if is_whole && !has_suspects {
            work.limits.widen();
        }
    }

    /// How long locks may be renewed.
    fn longest_renewal(&self) -> Duration {
        let options = &self.caller.config.service_bus;
        options.max_auto_lock_renewal_duration.min(WITHOUT_END)
    }

    /// How long the lock of a message is renewed. Those of a batch are not, as in the real host.
    fn renewal(&self) -> Duration {
        match self.function.cardinality {
            Cardinality::One => self.longest_renewal(),
            Cardinality::Many => Duration::ZERO,
        }
    }

    /// When the first lock of `messages` ends at the earliest, renewals included. A session's is
    /// renewed from its beginning, so that at least half of the time is left.
    fn locked_until(&self, messages: &[ReceivedMessage]) -> Option<DateTime<Utc>> {
        let renewal = if self.function.has_sessions {
            self.longest_renewal() / 2
        } else {
            self.renewal()
        };
        let now = self.caller.config.clock.now();
        let renewed = (!renewal.is_zero()).then(|| now + renewal);
        let locks = messages.iter().filter_map(|message| message.locked_until);
        locks.min().max(renewed)
    }

    /// How many invocations of the function may be under way at a time.
    fn concurrency(&self) -> usize {
        match self.function.cardinality {
            Cardinality::Many => self.caller.config.settings.batches_in_flight,
            Cardinality::One => self
                .caller
                .config
                .service_bus
                .max_concurrent_calls
                .map_or_else(
                    || {
                        let processors = std::thread::available_parallelism();
                        processors.map_or(1, usize::from) * CALLS_PER_PROCESSOR
                    },
                    |calls| usize::try_from(calls).unwrap_or(Semaphore::MAX_PERMITS),
                ),
        }
    }

    /// One invocation, from its messages to their settlement.
    async fn process(&self, receiver: &Receiver, batch: Vec<ReceivedMessage>) -> Progress {
        let mut batch = match self.set_aside_unbindable(receiver, batch).await {
            Ok(batch) => batch,
            Err(progress) => return progress,
        };
        let locked_until = self.locked_until(&batch);
        let messages: Vec<_> = batch.iter_mut().map(into_trigger_message).collect();
        let spans = Spans::begin(&self.function, &messages);
        let result = self
            .invocation(&messages, locked_until)
            .within(spans.context())
            .run(&self.cancel)
            .await;
        let (settlement, progress) = match result {
            Ok(()) => {
                CrashPoint::BeforeSettle.reach().await;
                self.failures().reset();
                self.refusals.forget(&batch);
                if !self.function.auto_complete {
                    return Progress::Done;
                }
                (Settlement::Complete, Progress::Done)
            }
            Err(failure) => {
                if failure.is_refusal() {
                    self.refusals.add(&batch);
                }
                if failure.may_pass() {
                    self.pause_after_failure(locked_until).await;
                }
                (failure.settlement(self.mode()), Progress::Failed)
            }
        };
        let is_settled = self.settle(receiver, &batch, settlement).await;
        spans.end(settlement);
        if is_settled { progress } else { Progress::Lost }
    }

    fn invocation<'a>(
        &'a self,
        messages: &'a [TriggerMessage],
        locked_until: Option<DateTime<Utc>>,
    ) -> Invocation<'a> {
        Invocation::new(
            &self.caller,
            &self.function,
            &self.counters,
            messages,
            locked_until,
        )
    }

    /// Waits before failed messages go back: the broker delivers them again at once, and what is
    /// wrong needs time to pass. The real host does not wait.
    async fn pause_after_failure(&self, locked_until: Option<DateTime<Utc>>) {
        if self.mode() == Mode::Strict {
            return;
        }
        let now = self.caller.config.clock.now();
        let locked_for = locked_until.map(|until| (until - now).to_std().unwrap_or_default());
        let pause = self.failures().next();
        // They have to go back while they are still ours to give.
        let pause = locked_for.map_or(pause, |locked| pause.min(locked / 2));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.gate.closed() => {}
        }
    }

    fn failures(&self) -> MutexGuard<'_, Pauses> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The invocations that a batch becomes. In default mode a message that has failed several
    /// times is tried alone: one that kills the handler takes no neighbours along.
    fn parts(
        &self,
        batch: Vec<ReceivedMessage>,
        limits: &BatchLimits,
    ) -> Vec<Vec<ReceivedMessage>> {
        let is_alone = |message: &ReceivedMessage| {
            self.function.cardinality == Cardinality::One || self.is_suspect(message)
        };
        let (suspects, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_alone);
        let mut parts = limits.split(rest);
        parts.extend(suspects.into_iter().map(|message| vec![message]));
        parts
    }

    /// Takes out messages whose body no function can be given. In strict mode one of them fails
    /// them all, as in the real host; otherwise it is dead-lettered alone. If none is left to go on
    /// with, what came of them.
    async fn set_aside_unbindable(
        &self,
        receiver: &Receiver,
        batch: Vec<ReceivedMessage>,
    ) -> Result<Vec<ReceivedMessage>, Progress> {
        if batch.iter().all(has_bindable_body) {
            return Ok(batch);
        }
        if self.mode() == Mode::Strict {
            self.invocation(&[], None)
                .tell(&Failure::UnboundBody, "the invocation failed");
            self.counters
                .invocation_ended(batch.len(), true, Duration::ZERO);
            let is_settled = self.settle(receiver, &batch, Settlement::Abandon).await;
            return Err(if is_settled {
                Progress::Failed
            } else {
                Progress::Lost
            });
        }
        let (good, bad): (Vec<_>, Vec<_>) = batch.into_iter().partition(has_bindable_body);
        for message in &bad {
            if !self.dead_letter(receiver, message).await && self.function.has_sessions {
                return Err(Progress::Lost);
            }
        }
        if good.is_empty() {
            return Err(Progress::Done);
        }
        Ok(good)
    }

    /// Told when it happens, and again only when the reason changes.
    fn tell_lost_connection(&self, last: &mut Option<String>, error: &BusError) {
        let text = error.to_string();
        if last.as_ref() != Some(&text) {
            tracing::warn!(
                function.name = %self.function.name,
                bus.queue = %self.function.entity,
                error = %text,
                "the broker cannot be used; trying again until it can"
            );
            *last = Some(text);
        }
    }
}
