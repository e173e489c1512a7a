//! Frames, handed to what they are about.

use bytes::{Buf, Bytes};

use super::handshake::Phase;
use super::slots::Key;
use super::{Engine, Event, ProtocolError, SessionId};
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::field::Decode;
use crate::frame::{FrameHeader, FrameKind};
use crate::performative::{Close, Performative};
use crate::sasl::SaslFrame;

impl Engine {
    pub(super) fn on_frame(
        &mut self,
        header: FrameHeader,
        mut frame: Bytes,
    ) -> Result<(), ProtocolError> {
        let FrameHeader { kind, channel, .. } = header;
        let sasl = matches!(
            self.phase,
            Phase::ServerInit | Phase::ClientMechanisms | Phase::ClientOutcome
        );
        if sasl != (kind == FrameKind::Sasl) {
            let (frame, why) = match kind {
                FrameKind::Sasl => ("SASL frame", "SASL is over"),
                FrameKind::Amqp => ("AMQP frame", "SASL is not over"),
            };
            return Err(ProtocolError::UnexpectedFrame {
                frame,
                channel,
                why,
            });
        }
        frame.advance(header.body_offset);
        let failed = |source: DecodeError| ProtocolError::Decode { channel, source };
        if sasl {
            return self.on_sasl(SaslFrame::decode_all(&frame).map_err(failed)?);
        }
        if frame.is_empty() {
            // A sign of life.
            return Ok(());
        }
        let mut decoder = Decoder::new(&frame);
        let performative = Performative::decode(&mut decoder);
        let position = decoder.position();
        if self.phase == Phase::CloseSent {
            // Only the answer to our close counts now, however broken the rest is.
            if let Ok(Performative::Close(close)) = performative {
                self.shut();
                self.events.push_back(Event::Closed(close.error));
            }
            return Ok(());
        }
        frame.advance(position);
        self.on_performative(channel, performative.map_err(failed)?, frame)
    }

    fn on_performative(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        let unexpected = |frame, why| ProtocolError::UnexpectedFrame {
            frame,
            channel,
            why,
        };
        let opening = matches!(performative, Performative::Open(_));
        if opening != (self.phase == Phase::AwaitOpen) {
            let why = if opening {
                "the connection is open"
            } else {
                "open must come first"
            };
            return Err(unexpected(performative.name(), why));
        }
        match performative {
            Performative::Open(open) => self.on_open(open),
            Performative::Begin(begin) => self.on_begin(channel, &begin),
            Performative::Close(close) => {
                self.on_close(*close);
                Ok(())
            }
            performative => match self.session_on(channel) {
                Some(session) => self.on_session_frame(session, performative, payload),
                None => Err(unexpected(
                    performative.name(),
                    "the channel has no session",
                )),
            },
        }
    }

    fn on_session_frame(
        &mut self,
        session: Key,
        performative: Performative,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        if self.is_ending(session) && !matches!(performative, Performative::End(_)) {
            // The peer had not seen our end when it sent this.
            return Ok(());
        }
        match performative {
            Performative::Transfer(transfer) => {
                return self.on_transfer(session, &transfer, payload);
            }
            Performative::Attach(attach) => return self.on_attach(session, attach),
            Performative::Disposition(disposition) => {
                let session = SessionId(session);
                self.events.push_back(Event::Disposition {
                    session,
                    disposition,
                });
            }
            Performative::Flow(flow) => self.on_flow(session, &flow),
            Performative::Detach(detach) => self.on_detach(session, *detach),
            Performative::End(end) => self.on_end(session, end.error),
            // These are the connection's.
            Performative::Open(_) | Performative::Begin(_) | Performative::Close(_) => {}
        }
        Ok(())
    }

    fn on_close(&mut self, close: Close) {
        self.outbox.close(None);
        self.shut();
        self.events.push_back(Event::Closed(close.error));
    }
}
