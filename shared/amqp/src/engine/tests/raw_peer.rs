//! A peer that says exactly what a test wants.

use bytes::{Buf, Bytes, BytesMut};

use crate::encode::Encode;
use crate::engine::{AttachAnswer, SessionId};
use crate::engine::{Engine, Event, Limits, LinkId, ProtocolError, ServerOptions};
use crate::field::Decode;
use crate::frame::{self, FrameHeader, FrameKind, ProtocolHeader};
use crate::performative::{
    AmqpError, Attach, Begin, Open, Performative, Role, Source, Target, Transfer,
};
use crate::value::DeliveryTag;
use crate::{Decoder, Symbol};

/// A server engine that a test talks to in frames.
pub(super) struct RawPeer {
    pub(super) engine: Engine,
}

/// A frame of these octets.
pub(super) fn framed(channel: u16, body: &impl Encode, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let start = frame::begin(&mut out, FrameKind::Amqp, channel);
    body.encode(&mut out);
    out.extend_from_slice(payload);
    frame::finish(&mut out, start);
    out
}

pub(super) fn begin(window: u32) -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: window,
        outgoing_window: 100,
        handle_max: 255,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

pub(super) fn attach(name: &str, handle: u32, role: Role) -> Attach {
    Attach {
        source: Some(Source::new("q")),
        target: Some(Target::new("q").into()),
        ..Attach::new(name, handle, role)
    }
}

pub(super) fn transfer(handle: u32, delivery_id: u32, more: bool) -> Transfer {
    Transfer {
        handle,
        delivery_id: Some(delivery_id),
        delivery_tag: DeliveryTag::new(b"t"),
        message_format: Some(0),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

impl RawPeer {
    /// A server past the handshake.
    pub(super) fn opened(limits: Limits) -> Self {
        let options = ServerOptions {
            limits,
            ..ServerOptions::new("s")
        };
        let mut peer = Self {
            engine: Engine::server(options),
        };
        peer.engine.receive(&ProtocolHeader::Amqp.octets());
        peer.say(0, &Open::new("raw"), &[]);
        assert!(matches!(peer.events()[..], [Event::Opened(_)]));
        peer.engine.output().advance(ProtocolHeader::LENGTH);
        assert!(matches!(peer.heard()[..], [(0, Performative::Open(_))]));
        peer
    }

    /// With a session on channel 0.
    pub(super) fn with_session(limits: Limits) -> (Self, SessionId) {
        let mut peer = Self::opened(limits);
        peer.say(0, &begin(1000), &[]);
        let [Event::SessionBegun { session, .. }] = peer.events()[..] else {
            panic!()
        };
        peer.heard();
        (peer, session)
    }

    /// With a link under handle 7 whose peer has this role, accepted.
    pub(super) fn with_link(limits: Limits, role: Role) -> (Self, LinkId) {
        let (mut peer, _) = Self::with_session(limits);
        let link = peer.attach("link", 7, role);
        (peer, link)
    }

    pub(super) fn attach(&mut self, name: &str, handle: u32, role: Role) -> LinkId {
        self.say(0, &attach(name, handle, role), &[]);
        let events = self.events();
        let [Event::LinkAttaching { link, attach, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        self.engine
            .accept_link(*link, AttachAnswer::granting(attach))
            .unwrap();
        self.heard();
        *link
    }

    pub(super) fn say(&mut self, channel: u16, body: &impl Encode, payload: &[u8]) {
        self.engine.receive(&framed(channel, body, payload));
    }

    /// What the engine reports; it has to be content.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.engine.next_event().unwrap() {
            events.push(event);
        }
        events
    }

    /// The error that the engine reports, and the one that it closes with.
    pub(super) fn failure(&mut self) -> (ProtocolError, Symbol) {
        self.engine.output().clear();
        let error = loop {
            match self.engine.next_event() {
                Ok(event) => assert!(event.is_some(), "no error"),
                Err(error) => break error,
            }
        };
        assert!(self.engine.is_closed());
        assert_eq!(self.engine.next_event(), Ok(None), "nothing follows");
        let heard = self.heard();
        let Some((0, Performative::Close(close))) = heard.last() else {
            panic!("{heard:?}")
        };
        let AmqpError { condition, .. } = close.error.clone().unwrap();
        assert_eq!(condition, error.condition());
        (error, condition)
    }

    /// What the engine says.
    pub(super) fn heard(&mut self) -> Vec<(u16, Performative)> {
        performatives(&self.engine.output().split().freeze())
    }
}

/// The performatives in these frames.
pub(super) fn performatives(mut octets: &[u8]) -> Vec<(u16, Performative)> {
    let mut found = Vec::new();
    while let Some(header) = FrameHeader::parse(octets, u32::MAX).unwrap() {
        let body = Bytes::copy_from_slice(&octets[header.body_offset..header.size]);
        if !body.is_empty() {
            found.push((
                header.channel,
                Performative::decode(&mut Decoder::new(&body)).unwrap(),
            ));
        }
        octets = &octets[header.size..];
    }
    assert!(octets.is_empty(), "half a frame");
    found
}
