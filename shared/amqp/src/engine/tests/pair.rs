//! A client and a server engine joined by their bytes.

use crate::engine::{
    AttachAnswer, ClientOptions, Delivery, Engine, Event, LinkId, NewDelivery, NewLink,
    ServerOptions, SessionId,
};
use crate::performative::{Role, Source, Target};
use crate::value::DeliveryTag;

pub(super) struct Pair {
    pub(super) client: Engine,
    pub(super) server: Engine,
    /// Most octets handed over at a time.
    pub(super) chunk: usize,
}

/// What each side has reported.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) client: Vec<Event>,
    pub(super) server: Vec<Event>,
}

impl Pair {
    pub(super) fn new(client: ClientOptions, server: ServerOptions) -> Self {
        let (client, server) = (Engine::client(client), Engine::server(server));
        Self {
            client,
            server,
            chunk: usize::MAX,
        }
    }

    /// Past the handshake.
    pub(super) fn opened(client: ClientOptions, server: ServerOptions) -> Self {
        let mut pair = Self::new(client, server);
        let seen = pair.run();
        assert!(matches!(seen.client[..], [Event::Opened(_)]), "{seen:?}");
        assert!(matches!(seen.server[..], [Event::Opened(_)]), "{seen:?}");
        pair
    }

    /// Moves octets until both sides are quiet.
    pub(super) fn run(&mut self) -> Seen {
        let mut seen = Seen::default();
        loop {
            let before = (self.client.output().len(), self.server.output().len());
            if before == (0, 0) {
                break;
            }
            seen.server.extend(self.feed_server());
            seen.client.extend(self.feed_client());
        }
        seen
    }

    pub(super) fn feed_server(&mut self) -> Vec<Event> {
        hand_over(&self.client.output().split(), &mut self.server, self.chunk)
    }

    pub(super) fn feed_client(&mut self) -> Vec<Event> {
        hand_over(&self.server.output().split(), &mut self.client, self.chunk)
    }

    /// A session that both sides know: the client's id and the server's.
    pub(super) fn session(&mut self) -> (SessionId, SessionId) {
        let ours = self.client.begin_session().unwrap();
        let seen = self.run();
        let [
            Event::SessionBegun {
                session,
                by_peer: true,
            },
        ] = seen.server[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!(
            seen.client,
            [Event::SessionBegun {
                session: ours,
                by_peer: false
            }]
        );
        (ours, session)
    }

    /// A link on a new session: the client's id and the server's.
    pub(super) fn link(&mut self, role: Role) -> (LinkId, LinkId) {
        let (session, _) = self.session();
        self.link_on(session, role, "link")
    }

    pub(super) fn link_on(
        &mut self,
        session: SessionId,
        role: Role,
        name: &str,
    ) -> (LinkId, LinkId) {
        let new = NewLink::new(name, Source::new("q"), Target::new("q"));
        let ours = match role {
            Role::Sender => self.client.attach_sender(session, new),
            Role::Receiver => self.client.attach_receiver(session, new),
        }
        .unwrap();
        let seen = self.run();
        let [Event::LinkAttaching { link, attach, .. }] = &seen.server[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(attach.name, name);
        self.server
            .accept_link(*link, AttachAnswer::granting(attach))
            .unwrap();
        let seen = self.run();
        assert!(
            matches!(&seen.client[..], [Event::LinkAttached { .. }]),
            "{seen:?}"
        );
        (ours, *link)
    }

    /// A link that the client sends on, with credit.
    pub(super) fn sender(&mut self, credit: u32) -> (LinkId, LinkId) {
        let (ours, theirs) = self.link(Role::Sender);
        self.server.set_credit(theirs, credit).unwrap();
        let seen = self.run();
        assert_eq!(
            seen.client,
            [Event::Credit {
                link: ours,
                credit,
                drain: false
            }]
        );
        (ours, theirs)
    }
}

fn hand_over(octets: &[u8], to: &mut Engine, chunk: usize) -> Vec<Event> {
    let mut seen = Vec::new();
    for piece in octets.chunks(chunk.min(octets.len().max(1))) {
        to.receive(piece);
        while let Some(event) = to.next_event().unwrap() {
            seen.push(event);
        }
    }
    seen
}

/// The session of a link that exists.
pub(super) fn session_of(engine: &Engine, link: LinkId) -> Option<SessionId> {
    engine.links.get(link.0).map(|link| SessionId(link.session))
}

/// Unsettled, with a tag of one octet.
pub(super) fn unsettled(tag: u8) -> NewDelivery {
    let tag = DeliveryTag::new(&[tag]).unwrap();
    NewDelivery {
        tag,
        message_format: 0,
        settled: false,
    }
}

pub(super) fn deliveries(events: Vec<Event>) -> Vec<Delivery> {
    events
        .into_iter()
        .map(|event| match event {
            Event::Delivery(delivery) => delivery,
            event => panic!("{event:?}"),
        })
        .collect()
}
