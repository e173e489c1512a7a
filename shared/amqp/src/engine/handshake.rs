//! From the first octet to the peer's open: protocol headers, SASL, `open`.
//!
//! Clients do not wait: header, open, begin and attach often come in one packet. So every step
//! reads exactly its own octets and leaves the rest of the input to the next.

use std::time::Duration;

use bytes::Bytes;

use super::options::open_frame;
use super::{ClientOptions, CommandError, Engine, Event, ProtocolError, SaslClient, ServerOptions};
use crate::frame::{MIN_MAX_FRAME_SIZE, ProtocolHeader};
use crate::performative::Open;
use crate::sasl::{
    self, PlainCredentials, SaslCode, SaslFrame, SaslInit, SaslMechanisms, SaslOutcome,
};
use crate::value::Symbol;

/// Longest open taken, in octets: properties have room in it, but nobody is authorised yet.
const MAX_OPEN: u32 = 8 * 1024;

/// Which end of the connection this is.
#[derive(Debug)]
pub(super) enum Side {
    Client(ClientOptions),
    Server(ServerOptions),
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Server: the client's first header.
    ServerHeader,
    /// Server: the client's choice of mechanism.
    ServerInit,
    /// Server: the application's word on PLAIN credentials.
    ServerCredentials,
    /// Server: the header after SASL.
    ServerAmqpHeader,
    /// Client: the answer to the SASL header.
    ClientSaslHeader,
    /// Client: the offered mechanisms.
    ClientMechanisms,
    /// Client: how SASL went.
    ClientOutcome,
    /// Client: the answer to the AMQP header.
    ClientAmqpHeader,
    /// The peer's open.
    AwaitOpen,
    /// Anything.
    Open,
    /// The answer to our close.
    CloseSent,
    /// Nothing.
    Closed,
}

impl Engine {
    /// Octets of the longest frame that is taken now. A SASL frame has at most 512 (5.3.1).
    pub(super) fn frame_limit(&self) -> u32 {
        match self.phase {
            Phase::ServerInit | Phase::ClientMechanisms | Phase::ClientOutcome => {
                MIN_MAX_FRAME_SIZE
            }
            Phase::AwaitOpen => self.limits.max_frame_size.min(MAX_OPEN),
            _ => self.limits.max_frame_size,
        }
    }

    /// Says what a client says first.
    pub(super) fn start_client(&mut self) {
        let Some(Side::Client(options)) = self.side.as_deref() else {
            return;
        };
        if matches!(options.sasl, SaslClient::None) {
            self.begin_amqp();
        } else {
            self.outbox.header(ProtocolHeader::Sasl);
        }
    }

    /// Client: goes from SASL (or nothing) to AMQP, without waiting for the answer.
    fn begin_amqp(&mut self) {
        self.outbox.header(ProtocolHeader::Amqp);
        self.send_open();
        self.phase = Phase::ClientAmqpHeader;
    }

    /// Sends our open, once: the side that it is made from is dropped afterwards.
    pub(super) fn send_open(&mut self) {
        let Some(side) = self.side.take() else { return };
        let open = match &*side {
            Side::Client(options) => open_frame(
                &options.container_id,
                options.hostname.as_deref(),
                options.idle_timeout,
                options.properties.as_ref(),
                &self.limits,
            ),
            Side::Server(options) => open_frame(
                &options.container_id,
                None,
                options.idle_timeout,
                options.properties.as_ref(),
                &self.limits,
            ),
        };
        self.outbox.frame(0, &open);
    }

    pub(super) fn on_header(&mut self, octets: [u8; 8]) -> Result<(), ProtocolError> {
        let header = ProtocolHeader::parse(octets);
        match (self.phase, header) {
            (Phase::ServerHeader, Some(ProtocolHeader::Sasl)) => self.offer_mechanisms(),
            (Phase::ServerHeader, Some(ProtocolHeader::Amqp)) if self.allows_without_sasl() => {
                self.outbox.header(ProtocolHeader::Amqp);
                self.phase = Phase::AwaitOpen;
            }
            (Phase::ServerAmqpHeader, Some(ProtocolHeader::Amqp)) => {
                self.outbox.header(ProtocolHeader::Amqp);
                self.phase = Phase::AwaitOpen;
            }
            (Phase::ClientSaslHeader, Some(ProtocolHeader::Sasl)) => {
                self.phase = Phase::ClientMechanisms;
            }
            (Phase::ClientAmqpHeader, Some(ProtocolHeader::Amqp)) => {
                self.phase = Phase::AwaitOpen;
            }
            _ => return Err(self.refuse_header(octets)),
        }
        Ok(())
    }

    /// A server answers an impossible header with a possible one, then hangs up (2.2).
    fn refuse_header(&mut self, octets: [u8; 8]) -> ProtocolError {
        let expected = match self.phase {
            Phase::ServerHeader => {
                self.outbox.header(ProtocolHeader::Sasl);
                "SASL or AMQP"
            }
            Phase::ServerAmqpHeader => {
                self.outbox.header(ProtocolHeader::Amqp);
                "AMQP"
            }
            Phase::ClientSaslHeader => "SASL",
            _ => "AMQP",
        };
        ProtocolError::UnsupportedHeader { octets, expected }
    }

    fn allows_without_sasl(&self) -> bool {
        matches!(self.side.as_deref(), Some(Side::Server(options)) if options.allow_without_sasl)
    }

    fn offer_mechanisms(&mut self) {
        self.outbox.header(ProtocolHeader::Sasl);
        if let Some(Side::Server(options)) = self.side.as_deref() {
            let sasl_server_mechanisms = options.mechanisms.clone();
            self.outbox.sasl_frame(&SaslMechanisms {
                sasl_server_mechanisms,
            });
        }
        self.phase = Phase::ServerInit;
    }

    pub(super) fn on_sasl(&mut self, frame: SaslFrame) -> Result<(), ProtocolError> {
        match (self.phase, frame) {
            (Phase::ServerInit, SaslFrame::Init(init)) => self.on_init(init),
            (Phase::ClientMechanisms, SaslFrame::Mechanisms(mechanisms)) => {
                self.choose_mechanism(&mechanisms)
            }
            (Phase::ClientOutcome, SaslFrame::Outcome(outcome)) => match outcome.code {
                SaslCode::Ok => {
                    self.begin_amqp();
                    Ok(())
                }
                code => Err(ProtocolError::Sasl { code }),
            },
            (_, frame) => Err(ProtocolError::UnexpectedFrame {
                frame: match frame {
                    SaslFrame::Mechanisms(_) => "sasl-mechanisms",
                    SaslFrame::Init(_) => "sasl-init",
                    SaslFrame::Outcome(_) => "sasl-outcome",
                },
                channel: 0,
                why: "another step of SASL is due",
            }),
        }
    }

    /// Server: takes the client's choice.
    fn on_init(&mut self, init: SaslInit) -> Result<(), ProtocolError> {
        let offered = match self.side.as_deref() {
            Some(Side::Server(options)) => options.mechanisms.contains(&init.mechanism),
            _ => false,
        };
        if !offered {
            self.sasl_outcome(SaslCode::Auth);
            let offered = shortened(init.mechanism.as_str());
            return Err(ProtocolError::SaslMechanism { offered });
        }
        let plain = init.mechanism == sasl::PLAIN;
        if !plain {
            self.sasl_outcome(SaslCode::Ok);
            self.phase = Phase::ServerAmqpHeader;
            return Ok(());
        }
        let response = init.initial_response.unwrap_or_default();
        let Some(credentials) = PlainCredentials::parse(&response) else {
            self.sasl_outcome(SaslCode::Auth);
            let code = SaslCode::Auth;
            return Err(ProtocolError::Sasl { code });
        };
        self.phase = Phase::ServerCredentials;
        self.events.push_back(Event::PlainCredentials(credentials));
        Ok(())
    }

    fn sasl_outcome(&mut self, code: SaslCode) {
        self.outbox.sasl_frame(&SaslOutcome {
            code,
            additional_data: None,
        });
    }

    /// Answers [`Event::PlainCredentials`]: anything but [`SaslCode::Ok`] ends the connection.
    pub fn answer_credentials(&mut self, code: SaslCode) -> Result<(), CommandError> {
        if self.phase != Phase::ServerCredentials {
            return Err(CommandError::Closed);
        }
        self.sasl_outcome(code);
        if code == SaslCode::Ok {
            self.phase = Phase::ServerAmqpHeader;
        } else {
            self.shut();
        }
        Ok(())
    }

    /// Client: answers the offer with the mechanism that it was told to use.
    fn choose_mechanism(&mut self, offer: &SaslMechanisms) -> Result<(), ProtocolError> {
        let Some(Side::Client(options)) = self.side.as_deref() else {
            return Ok(());
        };
        let (mechanism, initial_response) = match &options.sasl {
            SaslClient::None | SaslClient::Anonymous => (sasl::ANONYMOUS, None),
            SaslClient::MssbCbs => (sasl::MSSBCBS, None),
            SaslClient::Plain(credentials) => (sasl::PLAIN, Some(credentials.to_response())),
            SaslClient::External => (sasl::EXTERNAL, Some(Bytes::new())),
        };
        let mechanism = Symbol::from_static(mechanism);
        if !offer.sasl_server_mechanisms.contains(&mechanism) {
            let names: Vec<_> = offer
                .sasl_server_mechanisms
                .iter()
                .map(Symbol::as_str)
                .collect();
            let offered = shortened(&names.join(", "));
            return Err(ProtocolError::SaslMechanism { offered });
        }
        let hostname = options.hostname.clone();
        let init = SaslInit {
            mechanism,
            initial_response,
            hostname,
        };
        self.outbox.sasl_frame(&init);
        self.phase = Phase::ClientOutcome;
        Ok(())
    }

    /// Takes the peer's open, and answers it if ours has not been sent.
    pub(super) fn on_open(&mut self, open: Box<Open>) -> Result<(), ProtocolError> {
        if open.max_frame_size < MIN_MAX_FRAME_SIZE {
            return Err(ProtocolError::InvalidField {
                field: "open.max-frame-size",
                why: "it is below 512",
            });
        }
        self.send_open();
        self.outbox.max_frame_size = open.max_frame_size;
        self.channel_max = self.limits.channel_max.min(open.channel_max);
        // Zero means the same as absent.
        if let Some(millis @ 1..) = open.idle_time_out {
            self.idle.peer_timeout(Duration::from_millis(millis.into()));
        }
        self.phase = Phase::Open;
        self.idle.restart();
        self.events.push_back(Event::Opened(open));
        Ok(())
    }
}

/// A peer's text for an error, cut to a length that a log line takes.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
