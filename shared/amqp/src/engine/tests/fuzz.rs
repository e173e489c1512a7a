//! Engines that talk to a damaged peer: recorded conversations with bytes changed, cut and mixed
//! up, while the application goes on using the connection.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use nightshift_fuzz::{Random, generator, rounds};
use rand::Rng;

use super::pair::{Pair, session_of, unsettled};
use crate::Encode;
use crate::engine::{
    AttachAnswer, ClientOptions, Engine, Event, Limits, NewDelivery, NewLink, SaslClient,
    ServerOptions, Unsettled,
};
use crate::fuzz::{damage, full_message};
use crate::performative::{AmqpError, DeliveryState, Disposition, Role, Source, Target};
use crate::sasl::{PlainCredentials, SaslCode};
use crate::value::DeliveryTag;

/// Small enough that damage reaches them.
fn limits() -> Limits {
    Limits {
        max_frame_size: 4096,
        channel_max: 20,
        handle_max: 20,
        max_links: 50,
        max_message_size: 3_000,
        max_partial_bytes: 5_000,
        max_queued_bytes: 5_000,
        incoming_window: 8,
        handshake_timeout: Duration::from_secs(30),
    }
}

fn server() -> ServerOptions {
    ServerOptions {
        limits: limits(),
        ..ServerOptions::new("s")
    }
}

fn client(sasl: SaslClient) -> ClientOptions {
    ClientOptions {
        sasl,
        limits: limits(),
        ..ClientOptions::new("c")
    }
}

fn plain() -> SaslClient {
    SaslClient::Plain(PlainCredentials {
        authorization_id: String::new(),
        user: "rule".to_owned(),
        password: "key".to_owned(),
    })
}

/// What both sides said in whole conversations: to the server, and to the client.
fn recordings() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    for sasl in [SaslClient::None, SaslClient::Anonymous, plain()] {
        let mut recorder = Recorder {
            pair: Pair::new(client(sasl), server()),
            to_server: Vec::new(),
            to_client: Vec::new(),
        };
        recorder.converse();
        to_server.push(recorder.to_server);
        to_client.push(recorder.to_client);
    }
    (to_server, to_client)
}

struct Recorder {
    pair: Pair,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Recorder {
    /// Runs until quiet, with a server application that accepts everything.
    fn run(&mut self) {
        loop {
            self.to_server.extend_from_slice(self.pair.client.output());
            for event in self.pair.feed_server() {
                match event {
                    Event::PlainCredentials(_) => {
                        self.pair.server.answer_credentials(SaslCode::Ok).unwrap();
                    }
                    Event::LinkAttaching { link, attach, .. } => {
                        let answer = AttachAnswer::granting(&attach);
                        self.pair.server.accept_link(link, answer).unwrap();
                        if attach.role == Role::Sender {
                            self.pair.server.set_credit(link, 10).unwrap();
                        }
                    }
                    Event::Credit {
                        link,
                        credit,
                        drain,
                    } => {
                        for tag in 0..credit.min(3) {
                            let tag = u8::try_from(tag).unwrap();
                            self.pair
                                .server
                                .send(link, unsettled(tag), &[&[tag; 900]])
                                .unwrap();
                        }
                        if drain {
                            self.pair.server.drained(link).unwrap();
                        }
                    }
                    Event::Delivery(delivery) => {
                        let session = session_of(&self.pair.server, delivery.link).unwrap();
                        let id = delivery.delivery_id;
                        let state = Some(DeliveryState::Accepted);
                        let settle = Disposition::new(Role::Receiver, id, id, true, state);
                        self.pair.server.disposition(session, &settle).unwrap();
                    }
                    _ => {}
                }
            }
            self.to_client.extend_from_slice(self.pair.server.output());
            self.pair.feed_client();
            if self.pair.client.output().is_empty() && self.pair.server.output().is_empty() {
                return;
            }
        }
    }

    fn converse(&mut self) {
        self.run();
        let session = self.pair.client.begin_session().unwrap();
        let (source, target) = (Source::new("q"), Target::new("q"));
        let new = NewLink::new("out", source.clone(), target.clone());
        let out = self.pair.client.attach_sender(session, new).unwrap();
        let into = self
            .pair
            .client
            .attach_receiver(session, NewLink::new("in", source, target));
        let into = into.unwrap();
        self.run();
        // Before anything is sent: what the server says later counts the client's transfers, and
        // a client that replays this sends as many as it likes.
        self.pair.client.set_credit(into, 5).unwrap();
        self.run();
        let mut message = BytesMut::new();
        full_message().encode(&mut message);
        for tag in 0..4 {
            self.pair
                .client
                .send(out, unsettled(tag), &[&message])
                .unwrap();
        }
        self.pair
            .client
            .send(out, unsettled(9), &[&[1; 2_900]])
            .unwrap();
        self.run();
        self.pair.client.drain(into).unwrap();
        let state = DeliveryState::rejected(AmqpError::new("com.microsoft:dead-letter", "bad"));
        let settle = Disposition::new(Role::Receiver, 0, 2, false, Some(state));
        self.pair.client.disposition(session, &settle).unwrap();
        self.run();
        self.pair.client.detach(into, true, None).unwrap();
        self.run();
        self.pair.client.end_session(session, None).unwrap();
        self.run();
        self.pair.client.close(None);
        self.run();
    }
}

/// What the rounds of one test reached, so that none of them is idle without anyone noticing.
#[derive(Debug, Default)]
struct Reached {
    opened: u64,
    attached: u64,
    deliveries: u64,
    credits: u64,
    failures: u64,
}

impl Reached {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Opened(_) => self.opened += 1,
            Event::LinkAttaching { .. } | Event::LinkAttached { .. } => self.attached += 1,
            Event::Delivery(_) => self.deliveries += 1,
            Event::Credit { .. } => self.credits += 1,
            _ => {}
        }
    }

    /// Most conversations open, every kind of event occurs often, and many fail.
    fn check(&self, rounds: u64) {
        let Self {
            opened,
            attached,
            deliveries,
            credits,
            failures,
        } = *self;
        assert!(opened > rounds / 3, "{self:?}");
        let often = rounds / 20;
        assert!(
            attached.min(deliveries).min(credits).min(failures) > often,
            "{self:?}"
        );
    }
}

/// Feeds octets in random pieces to an engine whose application does something about everything.
fn torment(engine: &mut Engine, random: &mut Random, octets: &[u8], reached: &mut Reached) {
    let mut now = Instant::now();
    let mut unsettled = Unsettled::new();
    let mut rest = octets;
    let mut failed = false;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(random.random_range(1..=rest.len().min(700)));
        rest = others;
        engine.receive(piece);
        let mut events = 0;
        loop {
            match engine.next_event() {
                Ok(Some(event)) => {
                    assert!(!failed, "an event after the error: {event:?}");
                    reached.note(&event);
                    react(engine, random, &mut unsettled, event);
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(!failed && engine.is_closed());
                    failed = true;
                    reached.failures += 1;
                }
            }
            events += 1;
            assert!(events < 10_000, "events without end");
        }
        // Everything the peer can make it hold stays bounded.
        assert!(engine.partial_bytes <= engine.limits.max_partial_bytes);
        assert!(engine.links.len() <= engine.limits.max_links);
        assert!(engine.sessions.len() <= usize::from(engine.limits.channel_max) + 1);
        assert!(engine.input().len() <= engine.limits.max_frame_size as usize + 700);
        assert!(
            engine.output().len() <= 500_000,
            "{}",
            engine.output().len()
        );
        if random.random_bool(0.1) {
            now += Duration::from_secs(random.random_range(0..20));
            failed |= engine.tick(now).is_err();
        }
        if random.random_bool(0.5) {
            engine.output().clear();
        }
    }
}

fn react(engine: &mut Engine, random: &mut Random, unsettled: &mut Unsettled<()>, event: Event) {
    // Commands may fail on what the peer has ended meanwhile; they must not do harm.
    match event {
        Event::PlainCredentials(_) => {
            let code = if random.random_bool(0.9) {
                SaslCode::Ok
            } else {
                SaslCode::Auth
            };
            let _ = engine.answer_credentials(code);
        }
        Event::Opened(_) if random.random_bool(0.8) => {
            if let Ok(session) = engine.begin_session() {
                let new = NewLink::new("out", Source::new("a"), Target::new("b"));
                let _ = engine.attach_sender(session, new);
                let new = NewLink::new("in", Source::new("a"), Target::new("b"));
                if let Ok(link) = engine.attach_receiver(session, new) {
                    let _ = engine.set_credit(link, 5);
                }
            }
        }
        Event::LinkAttaching { link, attach, .. } => match random.random_range(0..10) {
            0 => drop(engine.refuse_link(link, AmqpError::new("amqp:not-found", "none"))),
            1 => {}
            _ => {
                let _ = engine.accept_link(link, AttachAnswer::granting(&attach));
                let _ = engine.set_credit(link, random.random_range(0..10));
            }
        },
        Event::LinkAttached { link, .. } => {
            let _ = engine.set_credit(link, random.random_range(0..10));
        }
        Event::Credit { link, drain, .. } => {
            for _ in 0..random.random_range(0..4) {
                let tag = DeliveryTag::from([1; 16]);
                let new = NewDelivery {
                    tag,
                    message_format: 0,
                    settled: false,
                };
                let body = vec![0; random.random_range(0..2_000)];
                if let Ok(id) = engine.send(link, new, &[b"header", &body]) {
                    unsettled.insert(id, ());
                }
            }
            if drain {
                let _ = engine.drained(link);
            }
        }
        Event::Delivery(delivery) => {
            assert!(delivery.payload.len() <= 3_000);
            let id = delivery.delivery_id;
            let state = Some(DeliveryState::Accepted);
            if let Some(session) = session_of(engine, delivery.link) {
                let settle = Disposition::new(Role::Receiver, id, id, true, state);
                let _ = engine.disposition(session, &settle);
            }
            match random.random_range(0..20) {
                0 => drop(engine.detach(delivery.link, true, None)),
                1 => drop(engine.drain(delivery.link)),
                _ => drop(engine.set_credit(delivery.link, 5)),
            }
        }
        Event::Disposition {
            session,
            disposition,
        } => {
            unsettled.take_range(disposition.first, disposition.last_id());
            if random.random_bool(0.02) {
                let _ = engine.end_session(session, None);
            }
        }
        _ => {}
    }
}

#[test]
fn a_server_survives_damaged_clients() {
    let (seeds, _) = recordings();
    let (rounds, mut reached) = (rounds(6_000), Reached::default());
    for round in 0..rounds {
        let mut random = generator(3, round);
        let mut octets = seeds[random.random_range(0..seeds.len())].clone();
        damage(&mut random, &mut octets, &seeds);
        let mut engine = Engine::server(server());
        torment(&mut engine, &mut random, &octets, &mut reached);
    }
    reached.check(rounds);
}

#[test]
fn a_client_survives_damaged_servers() {
    let (_, seeds) = recordings();
    let (rounds, mut reached) = (rounds(6_000), Reached::default());
    for round in 0..rounds {
        let mut random = generator(4, round);
        let at = random.random_range(0..seeds.len());
        let mut octets = seeds[at].clone();
        damage(&mut random, &mut octets, &seeds);
        let sasl = [SaslClient::None, SaslClient::Anonymous, plain()][at].clone();
        let mut engine = Engine::client(client(sasl));
        torment(&mut engine, &mut random, &octets, &mut reached);
    }
    reached.check(rounds);
}

/// Whether the frame ends a link, a session or the connection.
fn is_turning_point(frame: &[u8]) -> bool {
    matches!(frame[8..], [0, 0x53, 0x16..=0x18, ..])
}

/// Damage in the first octets ends most conversations at once, so the handshake and the first
/// links are kept whole here, and the frames after them are shuffled as well as damaged.
#[test]
fn an_open_connection_survives_damaged_frames() {
    let (seeds, _) = recordings();
    let whole = &seeds[0];
    // Header, then frames.
    let mut frames = Vec::new();
    let mut at = 8;
    while at < whole.len() {
        let size = u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
        frames.push(whole[at..at + size].to_vec());
        at += size;
    }
    // Open, begin, and the two attaches; what begins or ends a session comes again, but seldom.
    let (first, rest) = frames.split_at(4);
    let [turning, within]: [Vec<_>; 2] = {
        let (turning, within) = rest.iter().partition(|frame| is_turning_point(frame));
        [turning, within]
    };
    let (rounds, mut reached) = (rounds(6_000), Reached::default());
    for round in 0..rounds {
        let mut random = generator(5, round);
        let mut octets = whole[..8].to_vec();
        octets.extend(first.concat());
        for _ in 0..random.random_range(1..60) {
            let seldom = random.random_bool(0.02);
            let pool = if seldom { &turning } else { &within };
            let mut frame = pool[random.random_range(0..pool.len())].clone();
            if random.random_bool(0.1) {
                let mut body = frame.split_off(8);
                damage(&mut random, &mut body, &frames);
                frame.extend(body);
                let size = u32::try_from(frame.len()).unwrap();
                frame[..4].copy_from_slice(&size.to_be_bytes());
            }
            if random.random_bool(0.02) {
                frame[7] = random.random_range(0..4);
            }
            octets.extend(frame);
        }
        let mut engine = Engine::server(server());
        torment(&mut engine, &mut random, &octets, &mut reached);
    }
    reached.check(rounds);
}
