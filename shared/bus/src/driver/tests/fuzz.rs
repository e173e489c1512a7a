//! A broker whose bytes are damaged: the core ends the connection or goes on, and every caller is
//! answered when it ends.

use nightshift_amqp::message::MESSAGE_FORMAT;
use nightshift_fuzz::{generator, rounds};
use rand::Rng as _;

use super::*;
use crate::connection::SessionFilter;
use crate::fuzz::damage;
use crate::outcome::Outcome;

/// Callers that wait for the broker's word, and the bytes by which it answers all of them.
struct Conversation {
    core: Core,
    inbox: Arc<Inbox>,
    answers: Vec<u8>,
    settling: oneshot::Receiver<Vec<Result<(), BusError>>>,
    waiting: oneshot::Receiver<Result<Attached, BusError>>,
}

fn attach_command(
    key: u64,
    role: LinkRole,
) -> (Command, oneshot::Receiver<Result<Attached, BusError>>) {
    let (reply, answer) = oneshot::channel();
    let command = Command::Attach {
        key: LinkKey(key),
        name: LinkName {
            text: Arc::from(format!("fuzz-{key}")),
            lost: Arc::default(),
        },
        spec: LinkSpec {
            entity: "q".to_owned(),
            address: "q".to_owned(),
            role,
        },
        reply,
    };
    (command, answer)
}

/// A receiver that settles, and a session that is asked for, up to the broker's answers.
fn conversation() -> Conversation {
    let mut pair = Pair::new();
    let (link, inbox) = pair.receiver(8);
    for tag in 0..4 {
        pair.broker.send(link, delivery(tag), &[b"x"]).unwrap();
    }
    pair.run();
    let deliveries = inbox.take(4).unwrap().deliveries;
    let (reply, settling) = oneshot::channel();
    pair.core.command(Command::Settle {
        link: LINK,
        deliveries: deliveries.iter().map(|delivery| delivery.id).collect(),
        outcome: Outcome::Complete,
        reply,
    });
    let session = LinkRole::Receiver {
        inbox: Arc::new(Inbox::new(4)),
        settled: false,
        session: Some(SessionFilter::Named("s".to_owned())),
    };
    let (command, waiting) = attach_command(2, session);
    pair.core.command(command);
    let events = pair.feed_broker();
    for event in events {
        if let Event::Disposition {
            session,
            disposition,
        } = event
        {
            let (first, last) = (disposition.first, disposition.last_id());
            let state = Some(DeliveryState::Accepted);
            let confirmed = Disposition::new(Role::Sender, first, last, true, state);
            pair.broker.disposition(session, &confirmed).unwrap();
        }
    }
    let large = vec![b'x'; 3_000];
    pair.broker.send(link, delivery(9), &[&large]).unwrap();
    let credit = pair.broker.credit(link);
    assert!(credit > 0);
    pair.broker.detach(link, true, None).unwrap();
    Conversation {
        answers: pair.broker.output().to_vec(),
        core: pair.core,
        inbox,
        settling,
        waiting,
    }
}

#[test]
fn the_undamaged_answers_answer_everybody() {
    let mut talk = conversation();
    talk.core.input().extend_from_slice(&talk.answers);
    talk.core.process_input().unwrap();
    talk.core.end_round();
    let settled = talk.settling.try_recv().unwrap();
    assert!(settled.len() == 4 && settled.iter().all(Result::is_ok));
    let attached = talk.waiting.try_recv().unwrap().unwrap();
    assert_eq!(attached.session_id.as_deref(), Some("s"));
    assert!(talk.inbox.take(1).is_err(), "the link is gone");
}

#[test]
fn damaged_answers_end_the_connection_or_are_lived_with() {
    let total = rounds(2_000);
    let mut ended = 0_u64;
    for round in 0..total {
        let mut random = generator(4, round);
        let mut talk = conversation();
        let others = [talk.answers.clone()];
        damage(&mut random, &mut talk.answers, &others);
        let mut failure = None;
        let mut rest = &talk.answers[..];
        while !rest.is_empty() && failure.is_none() {
            let (now, later) = rest.split_at(random.random_range(1..=rest.len()));
            talk.core.input().extend_from_slice(now);
            rest = later;
            failure = talk.core.process_input().err();
            talk.core.end_round();
        }
        ended += u64::from(failure.is_some());
        let failure = failure.unwrap_or_else(|| lost("the test ends it"));
        talk.core.fail(&failure);
        assert!(
            talk.settling.try_recv().is_ok(),
            "round {round}: a settlement hangs"
        );
        assert!(
            talk.waiting.try_recv().is_ok(),
            "round {round}: an attach hangs"
        );
        let (reply, mut answer) = oneshot::channel();
        talk.core.command(Command::Send {
            link: LINK,
            transfer: Transfer {
                format: MESSAGE_FORMAT,
                payload: Bytes::new(),
            },
            reply,
        });
        // Its link is gone, and the reply with it.
        assert!(answer.try_recv().is_err());
    }
    assert!(
        ended > 0 && ended < total,
        "{ended} of {total} rounds ended"
    );
}
