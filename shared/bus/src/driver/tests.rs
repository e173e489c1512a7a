//! The core against a broker's engine, joined by their bytes: what happens when both speak at
//! once is then the test's to decide.

mod fuzz;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nightshift_amqp::engine::{
    AttachAnswer, ClientOptions, Delivery, Event, LinkId, NewDelivery, ServerOptions, SessionId,
};
use nightshift_amqp::message::MESSAGE_FORMAT;
use nightshift_amqp::performative::{DeliveryState, Disposition, Role};
use tokio::sync::oneshot;

use super::core::Core;
use super::*;
use crate::connection::{Attached, LinkName, LinkRole, LinkSpec, Transfer};
use crate::inbox::Inbox;
use crate::received_message::LinkKey;

const LINK: LinkKey = LinkKey(1);
const TRY_TIMEOUT: Duration = Duration::from_secs(1);

struct Pair {
    core: Core,
    broker: Engine,
    /// The broker's name for the link's session.
    session: Option<SessionId>,
    /// What the link's owner looks at.
    lost: Arc<AtomicBool>,
}

impl Pair {
    fn new() -> Self {
        let (opened, mut is_open) = oneshot::channel();
        let engine = Engine::client(ClientOptions::new("c"));
        let mut pair = Self {
            core: Core::new(engine, "host".to_owned(), TRY_TIMEOUT, opened),
            broker: Engine::server(ServerOptions::new("s")),
            session: None,
            lost: Arc::default(),
        };
        pair.run();
        is_open.try_recv().unwrap();
        pair
    }

    /// Hands over what the client has to say; the broker grants links and answers drains.
    fn feed_broker(&mut self) -> Vec<Event> {
        self.core.end_round();
        let octets = self.core.take_output();
        self.broker.receive(&octets);
        let mut events = Vec::new();
        while let Some(event) = self.broker.next_event().unwrap() {
            match &event {
                Event::LinkAttaching {
                    session,
                    link,
                    attach,
                } => {
                    self.session = Some(*session);
                    let answer = AttachAnswer::granting(attach);
                    self.broker.accept_link(*link, answer).unwrap();
                }
                Event::Credit {
                    link, drain: true, ..
                } => self.broker.drained(*link).unwrap(),
                _ => {}
            }
            events.push(event);
        }
        events
    }

    fn feed_client(&mut self) {
        let octets = self.broker.output().split();
        self.core.input().extend_from_slice(&octets);
        self.core.process_input().unwrap();
        self.core.end_round();
    }

    /// Until both are quiet; what the broker saw.
    fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.append(&mut self.feed_broker());
            self.feed_client();
            if self.core.output_len() == 0 && self.broker.output().is_empty() {
                return events;
            }
        }
    }

    /// Opens a link; the broker's id for it.
    fn attach(&mut self, role: LinkRole) -> LinkId {
        let spec = LinkSpec {
            entity: "q".to_owned(),
            address: "q".to_owned(),
            role,
        };
        let (reply, mut answer) = oneshot::channel();
        self.core.command(Command::Attach {
            key: LINK,
            name: LinkName {
                text: Arc::from("c-1"),
                lost: Arc::clone(&self.lost),
            },
            spec,
            reply,
        });
        let events = self.run();
        answer.try_recv().unwrap().unwrap();
        let attaching = |event: &Event| match event {
            Event::LinkAttaching { link, .. } => Some(*link),
            _ => None,
        };
        events.iter().find_map(attaching).unwrap()
    }

    fn receiver(&mut self, prefetch: u32) -> (LinkId, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::new(prefetch));
        let link = self.attach(LinkRole::Receiver {
            inbox: Arc::clone(&inbox),
            settled: false,
            session: None,
        });
        (link, inbox)
    }
}

fn delivery(tag: u8) -> NewDelivery {
    NewDelivery {
        tag: [tag; 4].into(),
        message_format: MESSAGE_FORMAT,
        settled: false,
    }
}

#[test]
fn a_closing_receiver_gives_back_what_crosses_the_end_of_its_call() {
    let mut pair = Pair::new();
    let (link, inbox) = pair.receiver(0);
    inbox.want(1);
    assert!(inbox.take(1).unwrap().adjust_credit);
    pair.core.command(Command::AdjustCredit { link: LINK });
    pair.run();
    // The call ends without a message and takes its credit back, and the receiver closes, while
    // the broker sends.
    assert!(inbox.unwant(1));
    pair.core.command(Command::AdjustCredit { link: LINK });
    let (reply, mut closed) = oneshot::channel();
    pair.core.command(Command::Detach {
        link: LINK,
        reply: Some(reply),
    });
    pair.broker.send(link, delivery(0), &[b"crosses"]).unwrap();
    let events = pair.run();
    let released = events.iter().position(|event| {
        matches!(
            event,
            Event::Disposition {
                disposition: Disposition {
                    first: 0,
                    settled: true,
                    state: Some(DeliveryState::Released),
                    ..
                },
                ..
            }
        )
    });
    let detached = events
        .iter()
        .position(|event| matches!(event, Event::LinkDetached { error: None, .. }));
    assert!(released.is_some() && released < detached, "{events:?}");
    closed.try_recv().unwrap();
}

#[test]
fn closing_a_receiver_takes_no_more_messages() {
    let mut pair = Pair::new();
    let (link, _inbox) = pair.receiver(10);
    assert_eq!(pair.broker.credit(link), 10);
    pair.core.command(Command::Detach {
        link: LINK,
        reply: None,
    });
    let events = pair.feed_broker();
    assert!(
        events
            .iter()
            .all(|event| matches!(event, Event::Credit { credit: 0, .. })),
        "{events:?}"
    );
}

/// What a peer says who gives its message up half-way.
fn aborted(delivery_id: u32) -> Vec<u8> {
    use nightshift_amqp::performative::Transfer;
    use nightshift_amqp::{Encode as _, FrameHeader};

    let half = Transfer {
        handle: 0,
        delivery_id: Some(delivery_id),
        delivery_tag: Some([0; 4].into()),
        message_format: Some(MESSAGE_FORMAT),
        settled: Some(false),
        more: true,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    };
    let end = Transfer {
        more: false,
        aborted: true,
        ..half.clone()
    };
    let mut frames = Vec::new();
    for transfer in [half, end] {
        let mut frame = BytesMut::from(&[0, 0, 0, 0, 2, 0, 0, 0][..]);
        transfer.encode(&mut frame);
        assert!(frame.len() > FrameHeader::LENGTH);
        let size = u32::try_from(frame.len()).unwrap();
        frame[..4].copy_from_slice(&size.to_be_bytes());
        frames.extend_from_slice(&frame);
    }
    frames
}

#[test]
fn an_aborted_message_does_not_keep_the_credit_it_used() {
    let mut pair = Pair::new();
    let (link, inbox) = pair.receiver(0);
    inbox.want(1);
    assert!(inbox.take(1).unwrap().adjust_credit);
    pair.core.command(Command::AdjustCredit { link: LINK });
    pair.run();
    assert_eq!(pair.broker.credit(link), 1);
    pair.core.input().extend_from_slice(&aborted(0));
    assert_eq!(pair.core.output_len(), 0);
    pair.core.process_input().unwrap();
    assert!(
        pair.core.output_len() > 0,
        "new credit for the call that waits"
    );
}

#[test]
fn senders_write_no_more_than_the_high_water_at_once_and_everything_in_the_end() {
    const COUNT: usize = 100;
    const SIZE: usize = 200_000;
    let mut pair = Pair::new();
    let link = pair.attach(LinkRole::Sender);
    pair.broker.set_credit(link, 1_000).unwrap();
    pair.run();
    let mut answers = Vec::new();
    for _ in 0..COUNT {
        let (reply, answer) = oneshot::channel();
        let transfer = Transfer {
            format: MESSAGE_FORMAT,
            payload: Bytes::from(vec![0; SIZE]),
        };
        pair.core.command(Command::Send {
            link: LINK,
            transfer,
            reply,
        });
        answers.push(answer);
    }
    pair.core.end_round();
    let written = pair.core.output_len();
    assert!(
        (OUTPUT_HIGH_WATER..OUTPUT_HIGH_WATER + 2 * SIZE).contains(&written),
        "{written}"
    );
    assert!(pair.core.answers_len() < 1_000, "messages are no answers");
    let mut accepted = 0;
    while accepted < COUNT {
        let events = pair.feed_broker();
        assert!(!events.is_empty(), "stuck after {accepted}");
        for event in events {
            let Event::Delivery(Delivery {
                delivery_id,
                payload,
                ..
            }) = event
            else {
                panic!("{event:?}")
            };
            assert_eq!(payload.len(), SIZE);
            let state = Some(DeliveryState::Accepted);
            let yes = Disposition::new(Role::Receiver, delivery_id, delivery_id, true, state);
            let session = pair.session.unwrap();
            pair.broker.disposition(session, &yes).unwrap();
            accepted += 1;
        }
        pair.feed_client();
    }
    for mut answer in answers {
        answer.try_recv().unwrap().unwrap();
    }
}

#[test]
fn a_link_that_the_broker_ends_is_lost_and_its_unanswered_sends_are_unknown() {
    let mut pair = Pair::new();
    let link = pair.attach(LinkRole::Sender);
    pair.broker.set_credit(link, 1).unwrap();
    pair.run();
    assert!(!pair.lost.load(Ordering::Relaxed));
    let mut send = || {
        let (reply, answer) = oneshot::channel();
        pair.core.command(Command::Send {
            link: LINK,
            transfer: Transfer {
                format: MESSAGE_FORMAT,
                payload: Bytes::from_static(b"x"),
            },
            reply,
        });
        answer
    };
    let (mut first, mut second) = (send(), send());
    pair.run();
    let forced = nightshift_amqp::performative::AmqpError {
        condition: "amqp:link:detach-forced".into(),
        description: None,
        info: None,
    };
    pair.broker.detach(link, true, Some(forced)).unwrap();
    pair.run();
    assert!(pair.lost.load(Ordering::Relaxed));
    let unknown = first.try_recv().unwrap().unwrap_err();
    assert!(
        matches!(unknown, BusError::SendOutcomeUnknown { .. }),
        "{unknown}"
    );
    let unsent = second.try_recv().unwrap().unwrap_err();
    assert!(matches!(unsent, BusError::Detached { .. }), "{unsent}");
    assert!(unknown.is_transient() && unsent.is_transient());
}

#[test]
fn messages_that_are_not_accepted_in_time_are_given_up() {
    let mut pair = Pair::new();
    let link = pair.attach(LinkRole::Sender);
    pair.broker.set_credit(link, 1).unwrap();
    pair.run();
    let mut send = || {
        let (reply, answer) = oneshot::channel();
        pair.core.command(Command::Send {
            link: LINK,
            transfer: Transfer {
                format: MESSAGE_FORMAT,
                payload: Bytes::from_static(b"x"),
            },
            reply,
        });
        answer
    };
    let (mut first, mut second) = (send(), send());
    pair.run();
    let next = pair.core.tick(Instant::now()).unwrap();
    assert!(next.is_some(), "the clock is looked at again");
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    pair.core.tick(Instant::now() + TRY_TIMEOUT).unwrap();
    let error = first.try_recv().unwrap().unwrap_err();
    assert!(
        matches!(error, BusError::SendOutcomeUnknown { .. }),
        "{error}"
    );
    let error = second.try_recv().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "sending got no answer within 1.0 s");
    // The broker's word comes late, and the link goes on.
    let accepted = Disposition::new(Role::Receiver, 0, 0, true, Some(DeliveryState::Accepted));
    pair.broker
        .disposition(pair.session.unwrap(), &accepted)
        .unwrap();
    pair.broker.set_credit(link, 1).unwrap();
    pair.run();
    let (reply, mut third) = oneshot::channel();
    pair.core.command(Command::Send {
        link: LINK,
        transfer: Transfer {
            format: MESSAGE_FORMAT,
            payload: Bytes::from_static(b"y"),
        },
        reply,
    });
    pair.run();
    let accepted = Disposition::new(Role::Receiver, 1, 1, true, Some(DeliveryState::Accepted));
    pair.broker
        .disposition(pair.session.unwrap(), &accepted)
        .unwrap();
    pair.run();
    third.try_recv().unwrap().unwrap();
}
