//! The Service Bus listener of one function.
//!
//! A listener owns one connection and one receiver. While the handler is ready it receives and
//! hands every batch (or single message) to a task of its own, as many at a time as the function
//! may have in flight. When the handler goes away, it stops receiving, waits for the tasks (whose
//! calls fail at once, so their messages go back), and closes the receiver, which gives back what
//! was fetched ahead; it opens a new one when the handler is ready again. So nothing is locked
//! while nobody can work on it, and a crash loop does not burn delivery counts. A lost connection
//! is made again after a growing pause and told once per change.

mod batch;
mod invocation;
mod message;
mod pause;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use nightshift_bindings::function_json::Cardinality;
use nightshift_bus::{
    BusError, ClientOptions, ReceivedMessage, Receiver, ReceiverOptions, ServiceBusClient,
};
use nightshift_time::SharedClock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{Function, HostConfig, Mode};
use crate::handler::{HandlerClient, HandlerState};
use crate::stats::Counters;
use batch::BatchLimits;
use invocation::{Failure, Invocation};
use message::{has_bindable_body, into_trigger_message};
use pause::Pauses;
use settle::Settlement;

/// How long one call waits for a first message; the loop then asks again.
const RECEIVE_PATIENCE: Duration = Duration::from_secs(60);

/// The most single messages fetched by one call.
const MAX_SINGLES: usize = 100;

/// Concurrent calls per processor of a function with `cardinality: one`, unless `host.json` says
/// otherwise.
const CALLS_PER_PROCESSOR: usize = 16;

/// What the listener of a function works with.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) function: Function,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) clock: SharedClock,
    pub(crate) client: HandlerClient,
    pub(crate) handler: watch::Receiver<HandlerState>,
    pub(crate) counters: Arc<Counters>,
    /// Stops receiving.
    pub(crate) stop: CancellationToken,
    /// Gives up invocations that are under way.
    pub(crate) cancel: CancellationToken,
}

/// Why a receiver's life ended.
enum Ended {
    Stopped,
    HandlerAway,
    Lost(BusError),
}

impl Listener {
    fn mode(&self) -> Mode {
        self.config.settings.mode
    }

    /// Runs until the host stops, and returns when every message is settled.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut connection = None;
        let mut pauses = Pauses::default();
        let mut last_error = None;
        while self.handler_becomes_ready().await {
            let ended = self.listen(&mut connection, &mut pauses, &mut last_error).await;
            self.counters.set_listening(false);
            match ended {
                Ended::Stopped => break,
                Ended::HandlerAway => {}
                Ended::Lost(error) => {
                    self.tell_lost_connection(&mut last_error, &error);
                    connection = None;
                    let pause = pauses.next();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.stop.cancelled() => break,
                    }
                }
            }
        }
        if let Some(client) = connection {
            client.close().await;
        }
    }

    /// Waits for the handler; false when the host stops first.
    async fn handler_becomes_ready(&self) -> bool {
        let mut state = self.handler.clone();
        tokio::select! {
            () = self.stop.cancelled() => false,
            found = state.wait_for(|state| state.ready().is_some()) => found.is_ok(),
        }
    }

    /// Waits until the handler is not ready any more.
    async fn handler_goes_away(&self) {
        let mut state = self.handler.clone();
        // An error means that its supervisor is gone, and the handler with it.
        let _ = state.wait_for(|state| state.ready().is_none()).await;
    }

    /// Connects if need be and receives until something ends it.
    async fn listen(
        self: &Arc<Self>,
        connection: &mut Option<ServiceBusClient>,
        pauses: &mut Pauses,
        last_error: &mut Option<String>,
    ) -> Ended {
        let receiver = tokio::select! {
            () = self.stop.cancelled() => return Ended::Stopped,
            receiver = self.open(connection) => match receiver {
                Ok(receiver) => Arc::new(receiver),
                Err(error) => return Ended::Lost(error),
            },
        };
        pauses.reset();
        if last_error.take().is_some() {
            tracing::info!(function.name = %self.function.name, "the broker is back");
        }
        self.counters.set_listening(true);
        let mut tasks = JoinSet::new();
        let ended = tokio::select! {
            () = self.stop.cancelled() => Ended::Stopped,
            () = self.handler_goes_away() => Ended::HandlerAway,
            error = self.receive(&receiver, &mut tasks) => Ended::Lost(error),
        };
        while tasks.join_next().await.is_some() {}
        if let Ok(receiver) = Arc::try_unwrap(receiver) {
            receiver.close().await;
        }
        ended
    }

    async fn open(&self, connection: &mut Option<ServiceBusClient>) -> Result<Receiver, BusError> {
        let client = match connection.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => {
                let options = ClientOptions { clock: self.clock.clone(), ..Default::default() };
                ServiceBusClient::connect(&self.function.connection, options).await?
            }
        };
        let options = ReceiverOptions {
            prefetch: self.config.service_bus.prefetch_count,
            sub_queue: self.function.sub_queue,
            ..Default::default()
        };
        let receiver = client.create_receiver(&self.function.queue, options).await?;
        *connection = Some(client);
        Ok(receiver)
    }

    /// Receives for ever; returns the error that ends it.
    async fn receive(self: &Arc<Self>, receiver: &Arc<Receiver>, tasks: &mut JoinSet<()>) -> BusError {
        let slots = Arc::new(Semaphore::new(self.concurrency()));
        let budget_bytes = self.config.settings.batch_bytes;
        let mut limits = BatchLimits::new(&self.config.service_bus, budget_bytes);
        loop {
            while tasks.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return BusError::Closed };
            let received = match self.function.cardinality {
                Cardinality::One => {
                    let max = (slots.available_permits() + 1).min(MAX_SINGLES);
                    receiver.receive_messages(max, RECEIVE_PATIENCE).await
                }
                Cardinality::Many => limits.receive(receiver, RECEIVE_PATIENCE).await,
            };
            let received = match received {
                Ok(received) => received,
                Err(error) => return error,
            };
            let parts = match self.function.cardinality {
                Cardinality::One => received.into_iter().map(|message| vec![message]).collect(),
                Cardinality::Many => limits.split(received),
            };
            self.hand_out(parts, slot, &slots, receiver, tasks).await;
        }
    }

    /// Starts a task for each part, each in a slot of its own; the first part uses `slot`.
    async fn hand_out(
        self: &Arc<Self>,
        parts: Vec<Vec<ReceivedMessage>>,
        slot: OwnedSemaphorePermit,
        slots: &Arc<Semaphore>,
        receiver: &Arc<Receiver>,
        tasks: &mut JoinSet<()>,
    ) {
        let mut slot = Some(slot);
        for part in parts {
            let slot = match slot.take() {
                Some(slot) => Some(slot),
                None => Arc::clone(slots).acquire_owned().await.ok(),
            };
            let (listener, receiver) = (Arc::clone(self), Arc::clone(receiver));
            tasks.spawn(async move {
                listener.process(&receiver, part).await;
                drop(slot);
            });
        }
    }

    /// How many invocations of the function may be under way at a time.
    fn concurrency(&self) -> usize {
        match self.function.cardinality {
            Cardinality::Many => self.config.settings.batches_in_flight,
            Cardinality::One => self.config.service_bus.max_concurrent_calls.map_or_else(
                || {
                    let processors = std::thread::available_parallelism();
                    processors.map_or(1, usize::from) * CALLS_PER_PROCESSOR
                },
                |calls| usize::try_from(calls).unwrap_or(Semaphore::MAX_PERMITS),
            ),
        }
    }

    /// One invocation, from its messages to their settlement.
    async fn process(&self, receiver: &Receiver, mut received: Vec<ReceivedMessage>) {
        let locked_until = received.iter().filter_map(|message| message.locked_until).min();
        if let Some(bad) = received.iter().position(|message| !has_bindable_body(message)) {
            if self.mode() == Mode::Strict {
                let _ = bad;
            }
        }
        let messages: Vec<_> = received.iter_mut().map(into_trigger_message).collect();
        let invocation = Invocation::new(self, &messages, locked_until);
        if !invocation.run(&self.cancel).await {
            self.settle(receiver, &received, Settlement::Abandon).await;
        } else if self.function.auto_complete {
            self.settle(receiver, &received, Settlement::Complete).await;
        }
    }

    /// Told when it happens, and again only when the reason changes.
    fn tell_lost_connection(&self, last: &mut Option<String>, error: &BusError) {
        let text = error.to_string();
        if last.as_ref() != Some(&text) {
            tracing::warn!(
                function.name = %self.function.name,
                bus.queue = %self.function.queue,
                error = %text,
                "the broker cannot be used; trying again until it can"
            );
            *last = Some(text);
        }
    }
}
