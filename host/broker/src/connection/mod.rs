//! One client's connection: a task that moves bytes and does everything else between two waits.
//!
//! A round of the task reads what the socket has, feeds the protocol engine, collects what the
//! events ask for, works it off queue by queue under one lock each, lets the receivers take what
//! they may, and writes once. So a thousand small messages cost one lock, one wake-up and one
//! system call each way, not a thousand.
//!
//! With a journal, what a round has written goes to the client when all that the round did and saw is
//! on the disk; the task goes on working meanwhile ([`gate`]).
//!
//! Nothing is read while a client does not take what is written for it, and receivers are given
//! nothing while their output waits, so what a connection can make the broker hold is bounded.

mod accepting;
mod attach;
mod cbs;
mod delivery;
mod gate;
mod grants;
mod health;
mod inbox;
mod link;
mod management;
mod outbox;
mod request;
mod settlements;
mod state;
mod trace;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Buf;
use nightshift_amqp::{condition, performative::AmqpError};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};

use self::{gate::Gate, health::Caller, outbox::OUTPUT_HIGH, state::Connection};
pub(crate) use self::{health::serve_probe, state::error_chain};
use crate::{broker::Shared, journal::Journal};

/// No more is read while this much output waits for the client.
const OUTPUT_FULL: usize = 1024 * 1024;

/// How much is read at once: little from a quiet client, much from a busy one.
const SMALLEST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 256 * 1024;

/// How long a connection that has ended may take to receive its last bytes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves one client until it leaves, breaks the protocol, or the broker stops.
pub(crate) async fn serve(mut stream: TcpStream, peer: SocketAddr, id: u64, shared: Arc<Shared>) {
    // Answers are small and awaited; without this they would wait for the client's next move.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(connection.id = id, error = %error, "could not switch off Nagle's algorithm");
    }
    tracing::debug!(connection.id = id, peer.address = %peer, "client connected");
    let patience = shared.config.limits.authentication;
    let caller = tokio::select! {
        caller = health::caller(&stream, patience) => caller,
        () = shared.stop.cancelled() => None,
    };
    match caller {
        Some(Caller::Amqp) => {}
        Some(Caller::Http) => return health::answer(&mut stream, &shared).await,
        None => return,
    }
    let mut task = Task {
        connection: Connection::new(id, Arc::clone(&shared), Instant::now()),
        gate: Gate::new(shared.journal.as_ref()),
        stream,
        shared,
        read_size: SMALLEST_READ,
        give_up_at: None,
    };
    match task.run().await {
        Ok(()) => tracing::debug!(connection.id = id, "client disconnected"),
        Err(error) => {
            tracing::debug!(connection.id = id, peer.address = %peer, error = %error, "client lost");
        }
    }
    task.connection.withdraw();
    // The peer may have stopped reading long ago; hanging up must not depend on it.
    drop(timeout(LAST_WORDS, task.stream.shutdown()).await);
}

struct Task {
    connection: Connection,
    gate: Gate,
    stream: TcpStream,
    shared: Arc<Shared>,
    read_size: usize,
    /// When a connection that ends is given up, although the client has not confirmed the end or
    /// not taken the last bytes.
    give_up_at: Option<Instant>,
}

impl Task {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let deadline = self.advance();
            if self.gate.has_failed() {
                self.give_up();
            }
            self.gate.note(self.connection.engine.output().len());
            self.write()?;
            if self.connection.engine.is_closed() {
                if self.connection.engine.output().is_empty() {
                    return Ok(());
                }
                // A client that reads nothing would never let the last bytes go.
                let patience = Instant::now() + LAST_WORDS;
                self.give_up_at.get_or_insert(patience);
            }
            if self.give_up_at.is_some_and(|at| at <= Instant::now()) {
                return Ok(());
            }
            let deadline = [deadline, self.give_up_at].into_iter().flatten().min();
            if !self.wait(deadline).await? {
                return Ok(());
            }
        }
    }

    /// One round of work, which ends when all that it changes is on its way to the disk.
    fn advance(&mut self) -> Option<Instant> {
        let _round = self.shared.journal.as_ref().map(|journal| journal.round());
        self.connection.advance(Instant::now())
    }

    /// Waits until there is something to do and reads what there is to read. Says whether the
    /// client is still there.
    async fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let waiting = self.connection.engine.output().len();
        let stopping = self.give_up_at.is_some();
        let more = self.connection.outbox.is_held_up() && waiting < OUTPUT_HIGH;
        let room = self.gate.room();
        let journal = self.shared.journal.as_ref();
        let congested = journal.filter(|journal| journal.is_congested());
        tokio::select! {
            readable = self.stream.readable(), if waiting < OUTPUT_FULL && congested.is_none() => {
                readable?;
                return self.read();
            }
            writable = self.stream.writable(), if room > 0 => writable?,
            () = self.gate.opens(), if self.gate.is_holding() => {}
            () = has_room(congested), if congested.is_some() => {}
            () = self.connection.bell().rung() => {}
            () = yield_now(), if more => {}
            () = self.shared.stop.cancelled(), if !stopping => {
                self.give_up_at = Some(Instant::now() + self.shared.config.limits.stop_grace);
                self.connection.stop();
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
        }
        Ok(true)
    }

    /// Reads what is there, up to a bound. What comes in one burst is worked on in one round, and
    /// becomes one group of the journal.
    fn read(&mut self) -> io::Result<bool> {
        let mut total = 0;
        loop {
            let input = self.connection.engine.input();
            input.reserve(self.read_size);
            match self.stream.try_read_buf(input) {
                // What came before the end is worked on first.
                Ok(0) => return Ok(total > 0),
                Ok(count) => {
                    total += count;
                    let busy = count >= self.read_size;
                    let next = if busy {
                        self.read_size * 2
                    } else {
                        self.read_size / 2
                    };
                    self.read_size = next.clamp(SMALLEST_READ, LARGEST_READ);
                    if !busy || total >= LARGEST_READ {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let output = self.connection.engine.output();
        loop {
            let room = self.gate.room();
            if room == 0 {
                return Ok(());
            }
            match self.stream.try_write(&output[..room]) {
                Ok(count) => {
                    output.advance(count);
                    self.gate.went(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the connection because nothing will be durable any more. What waits for that is never
    /// told.
    fn give_up(&mut self) {
        let room = self.gate.room();
        self.connection.engine.output().truncate(room);
        self.gate.give_up();
        let text = "the broker cannot write its journal any more; what is unconfirmed may be lost";
        let error = AmqpError::new(condition::INTERNAL_ERROR, text);
        self.connection.engine.close(Some(error));
        self.give_up_at.get_or_insert(Instant::now() + LAST_WORDS);
    }
}

async fn has_room(journal: Option<&Arc<Journal>>) {
    if let Some(journal) = journal {
        journal.room().await;
    }
}
