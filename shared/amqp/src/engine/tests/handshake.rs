//! Headers, SASL, open and close.

use bytes::BytesMut;

use super::pair::Pair;
use super::raw_peer::{attach, begin, framed, performatives};
use crate::encode::Encode;
use crate::engine::{
    ClientOptions, Engine, Event, Limits, ProtocolError, SaslClient, ServerOptions,
};
use crate::frame::{self, FrameError, FrameKind, ProtocolHeader};
use crate::performative::{AmqpError, Open, Performative, Role};
use crate::sasl::{self, PlainCredentials, SaslCode, SaslInit};
use crate::{Symbol, condition};

fn with_sasl(sasl: SaslClient) -> ClientOptions {
    ClientOptions {
        sasl,
        ..ClientOptions::new("c")
    }
}

fn credentials() -> PlainCredentials {
    PlainCredentials {
        authorization_id: String::new(),
        user: "rule".to_owned(),
        password: "key".to_owned(),
    }
}

fn sasl_frame(body: &impl Encode) -> BytesMut {
    let mut out = BytesMut::new();
    let start = frame::begin(&mut out, FrameKind::Sasl, 0);
    body.encode(&mut out);
    frame::finish(&mut out, start);
    out
}

#[test]
fn every_mechanism_leads_to_open_however_the_bytes_are_cut() {
    let cases = [
        (SaslClient::None, None),
        (SaslClient::Anonymous, Some(sasl::ANONYMOUS)),
        (SaslClient::MssbCbs, Some(sasl::MSSBCBS)),
        (SaslClient::External, Some(sasl::EXTERNAL)),
    ];
    for chunk in [1, 2, 3, 7, 8, 9, usize::MAX] {
        for (sasl, name) in cases.clone() {
            // Taking nothing else, the server proves what the client used.
            let server = ServerOptions {
                mechanisms: name.map(Symbol::from_static).into_iter().collect(),
                ..ServerOptions::new("s")
            };
            let mut pair = Pair::new(with_sasl(sasl), server);
            pair.chunk = chunk;
            let seen = pair.run();
            let [Event::Opened(open)] = &seen.client[..] else {
                panic!("{seen:?}")
            };
            assert_eq!(open.container_id, "s");
            let [Event::Opened(open)] = &seen.server[..] else {
                panic!("{seen:?}")
            };
            assert_eq!(open.container_id, "c");
        }
    }
}

#[test]
fn plain_credentials_are_the_applications_to_judge() {
    let mut pair = Pair::new(
        with_sasl(SaslClient::Plain(credentials())),
        ServerOptions::new("s"),
    );
    assert_eq!(pair.run().server, [Event::PlainCredentials(credentials())]);
    pair.server.answer_credentials(SaslCode::Ok).unwrap();
    let seen = pair.run();
    assert!(matches!(seen.server[..], [Event::Opened(_)]), "{seen:?}");
    assert!(matches!(seen.client[..], [Event::Opened(_)]), "{seen:?}");
}

#[test]
fn refused_credentials_end_both_sides() {
    let mut pair = Pair::new(
        with_sasl(SaslClient::Plain(credentials())),
        ServerOptions::new("s"),
    );
    pair.run();
    pair.server.answer_credentials(SaslCode::Auth).unwrap();
    assert!(pair.server.is_closed());
    let octets = pair.server.output().split();
    pair.client.receive(&octets);
    assert_eq!(
        pair.client.next_event(),
        Err(ProtocolError::Sasl {
            code: SaslCode::Auth
        })
    );
    assert!(pair.client.is_closed());
}

#[test]
fn credentials_are_not_printed() {
    assert!(!format!("{:?}", credentials()).contains("key"));
}

#[test]
fn a_client_without_a_common_mechanism_says_what_was_offered() {
    let server = ServerOptions {
        mechanisms: vec![Symbol::from_static(sasl::EXTERNAL)],
        ..ServerOptions::new("s")
    };
    let mut pair = Pair::new(ClientOptions::new("c"), server);
    pair.feed_server();
    let octets = pair.server.output().split();
    pair.client.receive(&octets);
    let offered = "EXTERNAL".to_owned();
    assert_eq!(
        pair.client.next_event(),
        Err(ProtocolError::SaslMechanism { offered })
    );
}

#[test]
fn a_mechanism_that_was_not_offered_fails_with_an_outcome() {
    let mut server = Engine::server(ServerOptions::new("s"));
    server.receive(&ProtocolHeader::Sasl.octets());
    let init = SaslInit {
        mechanism: "GSSAPI".into(),
        initial_response: None,
        hostname: None,
    };
    server.receive(&sasl_frame(&init));
    let offered = "GSSAPI".to_owned();
    assert_eq!(
        server.next_event(),
        Err(ProtocolError::SaslMechanism { offered })
    );
    // sasl-outcome with code 1: the credentials are not accepted.
    assert!(
        server
            .output()
            .ends_with(&[0x00, 0x53, 0x44, 0xc0, 0x03, 0x01, 0x50, 0x01])
    );
}

#[test]
fn a_client_may_send_everything_at_once() {
    let mut octets = BytesMut::new();
    octets.extend_from_slice(&ProtocolHeader::Sasl.octets());
    let init = SaslInit {
        mechanism: "ANONYMOUS".into(),
        initial_response: None,
        hostname: None,
    };
    octets.extend_from_slice(&sasl_frame(&init));
    octets.extend_from_slice(&ProtocolHeader::Amqp.octets());
    octets.extend_from_slice(&framed(0, &Open::new("eager"), &[]));
    // Python's first channel is 1.
    octets.extend_from_slice(&framed(1, &begin(65_536), &[]));
    octets.extend_from_slice(&framed(1, &attach("l", 3, Role::Sender), &[]));
    for chunk in [1, 5, octets.len()] {
        let mut server = Engine::server(ServerOptions::new("s"));
        let mut events = Vec::new();
        for piece in octets.chunks(chunk) {
            server.receive(piece);
            while let Some(event) = server.next_event().unwrap() {
                events.push(event);
            }
        }
        assert!(
            matches!(
                events[..],
                [
                    Event::Opened(_),
                    Event::SessionBegun { by_peer: true, .. },
                    Event::LinkAttaching { .. }
                ]
            ),
            "{events:?}"
        );
    }
}

#[test]
fn impossible_headers_are_answered_with_a_possible_one() {
    let mut wrong_version = ProtocolHeader::Amqp.octets();
    wrong_version[5] = 0;
    for octets in [
        ProtocolHeader::Tls.octets(),
        *b"GET / HT",
        *b"AMQP\0\0\x09\x01",
        wrong_version,
    ] {
        let mut server = Engine::server(ServerOptions::new("s"));
        server.receive(&octets);
        let expected = "SASL or AMQP";
        assert_eq!(
            server.next_event(),
            Err(ProtocolError::UnsupportedHeader { octets, expected })
        );
        assert_eq!(server.output()[..], ProtocolHeader::Sasl.octets());
        assert!(server.is_closed());
        server.receive(b"more");
        assert_eq!(server.next_event(), Ok(None));
        assert!(
            server.input().is_empty(),
            "what comes after the end is dropped"
        );
    }
}

#[test]
fn sasl_can_be_demanded() {
    let options = ServerOptions {
        allow_without_sasl: false,
        ..ServerOptions::new("s")
    };
    let mut server = Engine::server(options);
    server.receive(&ProtocolHeader::Amqp.octets());
    assert!(matches!(
        server.next_event(),
        Err(ProtocolError::UnsupportedHeader { .. })
    ));
    assert_eq!(server.output()[..], ProtocolHeader::Sasl.octets());
}

#[test]
fn a_frame_size_below_the_minimum_is_refused_after_our_open() {
    let mut server = Engine::server(ServerOptions::new("s"));
    server.receive(&ProtocolHeader::Amqp.octets());
    server.receive(&framed(
        0,
        &Open {
            max_frame_size: 511,
            ..Open::new("c")
        },
        &[],
    ));
    let error = server.next_event().unwrap_err();
    assert_eq!(error.condition(), condition::INVALID_FIELD);
    let octets = server.output().split();
    let heard = performatives(&octets[ProtocolHeader::LENGTH..]);
    assert!(
        matches!(
            heard[..],
            [(0, Performative::Open(_)), (0, Performative::Close(_))]
        ),
        "{heard:?}"
    );
}

#[test]
fn before_the_open_only_frames_of_the_handshake_are_waited_for() {
    let init = sasl_frame(&SaslInit {
        mechanism: "ANONYMOUS".into(),
        initial_response: None,
        hostname: None,
    });
    let open = framed(0, &Open::new("c"), &[]);
    let [sasl, amqp] = [ProtocolHeader::Sasl, ProtocolHeader::Amqp].map(ProtocolHeader::octets);
    let stages: [(Vec<&[u8]>, u32); 4] = [
        (vec![&sasl], 512),
        (vec![&sasl, &init, &amqp], 8_192),
        (vec![&amqp], 8_192),
        (vec![&amqp, &open], Limits::default().max_frame_size),
    ];
    for (before, limit) in stages {
        for size in [limit, limit + 1] {
            let mut server = Engine::server(ServerOptions::new("s"));
            server.receive(&before.concat());
            while server.next_event().unwrap().is_some() {}
            server.receive(&size.to_be_bytes());
            server.receive(&[2, 0, 0, 0]);
            let frame = FrameError::TooLong { size, limit };
            let expected = if size > limit {
                Err(ProtocolError::Frame(frame))
            } else {
                Ok(None)
            };
            assert_eq!(server.next_event(), expected, "after {before:02x?}");
            assert_eq!(server.input().capacity() == 0, size > limit);
        }
    }
}

#[test]
fn either_side_closes_and_the_other_confirms() {
    for server_closes in [false, true] {
        let mut pair = Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"));
        let error = AmqpError::new(condition::CONNECTION_FORCED, "maintenance");
        if server_closes {
            &mut pair.server
        } else {
            &mut pair.client
        }
        .close(Some(error.clone()));
        let seen = pair.run();
        let told = Event::Closed(Some(error));
        let confirmed = Event::Closed(None);
        let (client, server) = if server_closes {
            (told, confirmed)
        } else {
            (confirmed, told)
        };
        assert_eq!((seen.client, seen.server), (vec![client], vec![server]));
        assert!(pair.client.is_closed() && pair.server.is_closed());
    }
}

#[test]
fn both_sides_may_close_at_once() {
    let mut pair = Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"));
    pair.client.close(None);
    pair.server.close(None);
    let seen = pair.run();
    assert_eq!(seen.client, [Event::Closed(None)]);
    assert_eq!(seen.server, [Event::Closed(None)]);
}

#[test]
fn an_idle_connection_is_small() {
    let mut pair = Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"));
    let now = std::time::Instant::now();
    for _ in 0..3 {
        pair.server.tick(now).unwrap();
    }
    assert_eq!(pair.server.input().capacity(), 0);
    assert_eq!(pair.server.output().capacity(), 0);
    assert!(size_of::<Engine>() <= 1024, "{}", size_of::<Engine>());
    assert!(Limits::default().max_links >= 10_000);
}
