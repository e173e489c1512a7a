//! The state machine of one connection, in either role, without IO.
//!
//! A driver moves bytes and asks for events:
//!
//! ```
//! use nightshift_amqp::engine::{ClientOptions, Engine, Event, ServerOptions};
//!
//! let mut client = Engine::client(ClientOptions::new("example"));
//! let mut server = Engine::server(ServerOptions::new("broker"));
//! let mut opened = 0;
//! while opened < 2 {
//!     let bytes = client.output().split(); // a driver writes these to the socket
//!     server.input().extend_from_slice(&bytes); // and reads into this
//!     while let Some(event) = server.next_event()? {
//!         opened += usize::from(matches!(event, Event::Opened(_)));
//!     }
//!     let bytes = server.output().split();
//!     client.input().extend_from_slice(&bytes);
//!     while let Some(event) = client.next_event()? {
//!         opened += usize::from(matches!(event, Event::Opened(_)));
//!     }
//! }
//! # Ok::<(), nightshift_amqp::engine::ProtocolError>(())
//! ```
//!
//! Rules for drivers:
//! - After every read: [`next_event`](Engine::next_event) until it gives `None`. Then write
//!   [`output`](Engine::output), which may also have grown by commands.
//! - Call [`tick`](Engine::tick) at first, and again when the instant it returned has come.
//! - When [`is_closed`](Engine::is_closed), write what is left and hang up.
//! - Stop reading while much output waits: the engine answers what it reads, and does not bound
//!   what the driver fails to write.
//!
//! Why it is safe against a hostile peer: numbers that the peer chooses (channels, handles,
//! delivery-ids, windows, credit) only index what exists or are compared as serial numbers; what
//! it can make the engine hold is bounded by [`Limits`]; a violation ends the link, the session or
//! the connection with the condition that the specification names. Deliveries are not tracked
//! here: who needs that has [`Unsettled`].

mod attach;
mod connection;
mod detach;
mod error;
mod event;
mod flow;
mod handshake;
mod idle;
mod incoming;
mod link;
mod new_link;
mod options;
mod outbox;
mod outgoing;
mod session;
mod slots;
mod unsettled;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

pub use error::{CommandError, ProtocolError};
pub use event::{Delivery, Event, LinkId, SessionId};
pub use new_link::{AttachAnswer, NewLink};
pub use options::{ClientOptions, Limits, SaslClient, ServerOptions};
pub use outgoing::NewDelivery;
pub use unsettled::Unsettled;

use crate::frame::{FrameHeader, ProtocolHeader};
use crate::performative::AmqpError;
use handshake::{Phase, Side};
use idle::Idle;
use link::Link;
use outbox::Outbox;
use session::Session;
use slots::{Key, Slots};

/// One AMQP connection. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    phase: Phase,
    /// Who we are; dropped once the handshake is over.
    side: Option<Box<Side>>,
    limits: Limits,
    /// Octets read; complete frames are cut from its front.
    input: BytesMut,
    /// Complete frames that have not been looked at.
    frames: Bytes,
    outbox: Outbox,
    events: VecDeque<Event>,
    /// The highest channel that both sides take.
    channel_max: u16,
    sessions: Slots<Session>,
    /// Sessions by the peer's channel.
    incoming_channels: Vec<Option<Key>>,
    /// Sessions by our channel.
    outgoing_channels: Vec<Option<Key>>,
    links: Slots<Link>,
    /// Octets of half-received messages.
    partial_bytes: usize,
    idle: Idle,
}

impl Engine {
    /// The client's end. What it says first is in the output at once.
    pub fn client(options: ClientOptions) -> Self {
        let limits = options.limits;
        let idle = Idle::new(options.idle_timeout);
        let mut engine = Self::new(Side::Client(options), Phase::ClientSaslHeader, limits, idle);
        engine.start_client();
        engine
    }

    /// The server's end.
    pub fn server(options: ServerOptions) -> Self {
        let limits = options.limits;
        let idle = Idle::new(options.idle_timeout);
        Self::new(Side::Server(options), Phase::ServerHeader, limits, idle)
    }

    fn new(side: Side, phase: Phase, mut limits: Limits, idle: Idle) -> Self {
        limits.max_frame_size = limits.max_frame_size.max(crate::MIN_MAX_FRAME_SIZE);
        limits.incoming_window = limits.incoming_window.max(1);
        Self {
            phase,
            side: Some(Box::new(side)),
            limits,
            input: BytesMut::new(),
            frames: Bytes::new(),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            channel_max: limits.channel_max,
            sessions: Slots::new(),
            incoming_channels: Vec::new(),
            outgoing_channels: Vec::new(),
            links: Slots::new(),
            partial_bytes: 0,
            idle,
        }
    }

    /// The read buffer. A driver reserves room in it and reads from the socket into it, so that
    /// message bodies need no copy. Octets may only be appended.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Appends a copy of octets to the read buffer.
    pub fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// The octets to write. The driver splits off or advances past what it wrote.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.outbox.octets
    }

    /// The next thing that happened; `None` when more octets are needed for one, or an answer to
    /// [`Event::PlainCredentials`].
    ///
    /// An error comes once, after all events before it; the output then holds what the peer is
    /// told, and the engine is closed.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Attends to time-outs: sends a sign of life when the peer needs one, gives the connection
    /// up when the peer has been silent for too long. Returns when it wants to be called again.
    /// Events may follow.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Instant>, ProtocolError> {
        let due = self.attend(now);
        if let Err(error) = &due {
            self.fail(error);
        }
        due
    }

    /// Whether nothing more will be read, or written beyond what the output holds.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the end has begun: our close is out, or the connection is over. Commands fail from
    /// here on, and what the peer still sends is dropped.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::CloseSent | Phase::Closed)
    }

    /// Closes the connection. [`Event::Closed`] follows when the peer has answered; until then
    /// what it sends is dropped.
    pub fn close(&mut self, error: Option<AmqpError>) {
        match self.phase {
            Phase::Closed | Phase::CloseSent => {}
            Phase::Open => {
                self.outbox.close(error);
                self.phase = Phase::CloseSent;
                self.idle.restart();
            }
            // Nobody to talk to yet.
            _ => {
                self.shut();
                self.events.push_back(Event::Closed(None));
            }
        }
    }

    /// Does one step: reads one header or one frame. `false` when there is none.
    fn advance(&mut self) -> Result<bool, ProtocolError> {
        match self.phase {
            Phase::Closed => {
                self.input.clear();
                Ok(false)
            }
            Phase::ServerCredentials => Ok(false),
            Phase::ServerHeader
            | Phase::ServerAmqpHeader
            | Phase::ClientSaslHeader
            | Phase::ClientAmqpHeader => match self.input.first_chunk::<8>() {
                Some(&octets) => {
                    bytes::Buf::advance(&mut self.input, ProtocolHeader::LENGTH);
                    self.idle.received();
                    self.on_header(octets)?;
                    Ok(true)
                }
                None => Ok(false),
            },
            Phase::ServerInit
            | Phase::ClientMechanisms
            | Phase::ClientOutcome
            | Phase::AwaitOpen
            | Phase::Open
            | Phase::CloseSent => match self.next_frame()? {
                Some((header, frame)) => {
                    self.on_frame(header, frame)?;
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    /// Cuts the next frame off the input.
    fn next_frame(&mut self) -> Result<Option<(FrameHeader, Bytes)>, ProtocolError> {
        if self.frames.is_empty() {
            // During the handshake what follows a frame may be a header, so one at a time.
            let extent = self.complete_frames(self.phase == Phase::Open)?;
            if extent == 0 {
                return Ok(None);
            }
            self.idle.received();
            self.frames = self.input.split_to(extent).freeze();
        }
        let limit = self.frame_limit();
        let Some(header) = FrameHeader::parse(&self.frames, limit).map_err(ProtocolError::Frame)?
        else {
            return Ok(None);
        };
        let frame = self.frames.split_to(header.size.min(self.frames.len()));
        Ok(Some((header, frame)))
    }

    /// How many octets at the front of the input are complete frames.
    fn complete_frames(&self, many: bool) -> Result<usize, ProtocolError> {
        let limit = self.frame_limit();
        let mut extent = 0;
        loop {
            match FrameHeader::parse(&self.input[extent..], limit) {
                Ok(Some(header)) if header.size <= self.input.len() - extent => {
                    extent += header.size;
                    if !many {
                        return Ok(extent);
                    }
                }
                Ok(_) => return Ok(extent),
                // What came before a malformed frame still counts.
                Err(_) if extent > 0 => return Ok(extent),
                Err(error) => return Err(ProtocolError::Frame(error)),
            }
        }
    }

    /// Ends the connection because of `error`, telling the peer if it understands.
    fn fail(&mut self, error: &ProtocolError) {
        match self.phase {
            Phase::AwaitOpen => {
                self.send_open();
                self.outbox.close(Some(error.to_amqp()));
            }
            Phase::Open => self.outbox.close(Some(error.to_amqp())),
            // In the handshake the answer depends on the step, which has queued it.
            _ => {}
        }
        self.shut();
    }

    /// Forgets everything but the output and the events.
    fn shut(&mut self) {
        self.phase = Phase::Closed;
        self.side = None;
        self.input = BytesMut::new();
        self.frames = Bytes::new();
        self.sessions = Slots::new();
        self.links = Slots::new();
        self.incoming_channels = Vec::new();
        self.outgoing_channels = Vec::new();
        self.partial_bytes = 0;
    }
}
