//! Silence in both directions (part 2, section 2.4.5), and the handshake's deadline.
//!
//! The engine learns the time only in `tick`, so activity is noted as a flag and dated by the
//! next tick. Being late by one interval is allowed for: a sign of life goes out after a quarter
//! of the peer's time-out (so that at most half of it passes in silence), and our own time-out
//! may take up to twice its span, which errs towards keeping a connection.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::handshake::Phase;
use super::{Engine, Event, ProtocolError};

/// When each side was last heard.
#[derive(Debug)]
pub(super) struct Idle {
    /// Longest silence that we put up with.
    timeout: Option<Duration>,
    /// Longest silence of ours.
    interval: Option<Duration>,
    /// When the current phase was first seen by a tick.
    since: Option<Instant>,
    last_received: Option<Instant>,
    last_sent: Option<Instant>,
    received: bool,
}

impl Idle {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            interval: None,
            since: None,
            last_received: None,
            last_sent: None,
            received: true,
        }
    }

    /// Notes that something came.
    pub(super) fn received(&mut self) {
        self.received = true;
    }

    /// Notes that a new phase has begun.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Takes over what the peer's open says.
    pub(super) fn peer_timeout(&mut self, timeout: Duration) {
        // An interval of zero would make every tick due.
        self.interval = Some((timeout / 4).max(Duration::from_millis(1)));
    }
}

impl Engine {
    /// The body of [`tick`](Engine::tick).
    pub(super) fn attend(&mut self, now: Instant) -> Result<Option<Instant>, ProtocolError> {
        self.release_buffers();
        let idle = &mut self.idle;
        if std::mem::take(&mut idle.received) || idle.last_received.is_none() {
            idle.last_received = Some(now);
        }
        if std::mem::take(&mut self.outbox.wrote) || idle.last_sent.is_none() {
            idle.last_sent = Some(now);
        }
        let since = *idle.since.get_or_insert(now);
        match self.phase {
            Phase::Closed => Ok(None),
            Phase::Open => self.attend_open(now),
            Phase::CloseSent => {
                let due = since + self.limits.handshake_timeout;
                if now >= due {
                    self.shut();
                    self.events.push_back(Event::Closed(None));
                    return Ok(None);
                }
                Ok(Some(due))
            }
            _ => {
                let timeout = self.limits.handshake_timeout;
                if now >= since + timeout {
                    return Err(ProtocolError::HandshakeTimeout {
                        millis: timeout.as_millis(),
                    });
                }
                Ok(Some(since + timeout))
            }
        }
    }

    fn attend_open(&mut self, now: Instant) -> Result<Option<Instant>, ProtocolError> {
        let idle = &mut self.idle;
        let deadline = idle
            .timeout
            .zip(idle.last_received)
            .map(|(span, last)| (span, last + span));
        if let Some((span, due)) = deadline
            && now >= due
        {
            return Err(ProtocolError::IdleTimeout {
                millis: span.as_millis(),
            });
        }
        let mut alive = idle
            .interval
            .zip(idle.last_sent)
            .map(|(span, last)| last + span);
        if let Some(interval) = idle.interval
            && alive.is_some_and(|due| now >= due)
        {
            self.outbox.empty_frame();
            self.outbox.wrote = false;
            idle.last_sent = Some(now);
            alive = Some(now + interval);
        }
        let deadline = deadline.map(|(_, due)| due);
        Ok(deadline.into_iter().chain(alive).min())
    }

    /// Gives the memory of unused buffers back when nothing came since the tick before: most
    /// connections of a server are idle.
    fn release_buffers(&mut self) {
        if self.idle.received {
            return;
        }
        for buffer in [&mut self.input, &mut self.outbox.octets] {
            // Even one of little capacity may be the last piece of a large allocation.
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
    }
}
