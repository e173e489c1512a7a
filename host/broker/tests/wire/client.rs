//! A client made of the protocol engine and a socket, and nothing that hides anything.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use nightshift_amqp::{
    Encode, Map, Value,
    engine::{ClientOptions, Delivery, Engine, Event, LinkId, NewDelivery, NewLink, SessionId},
    message::{Body, Message, Properties, RawMessage},
    performative::{
        AmqpError, DeliveryState, Disposition, ReceiverSettleMode, Role, SenderSettleMode, Source,
        Target,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

pub(crate) struct Client {
    pub(crate) engine: Engine,
    session: Option<SessionId>,
    stream: TcpStream,
    events: VecDeque<Event>,
    tags: u32,
}

impl Client {
    /// Connects, begins a session and sets a token for everything.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::connect_without_token(address).await;
        let response = client.put_token("any", "sb://localhost/").await;
        assert_eq!(
            response.get("status-code"),
            Some(&Value::Int(202)),
            "{response:?}"
        );
        client
    }

    pub(crate) async fn connect_without_token(address: SocketAddr) -> Self {
        Self::connect_with(address, ClientOptions::new("test")).await
    }

    /// A socket, and nothing said yet.
    pub(crate) async fn dial(address: SocketAddr, options: ClientOptions) -> Self {
        Self {
            engine: Engine::client(options),
            session: None,
            stream: TcpStream::connect(address).await.unwrap(),
            events: VecDeque::new(),
            tags: 0,
        }
    }

    pub(crate) async fn connect_with(address: SocketAddr, options: ClientOptions) -> Self {
        let mut client = Self::dial(address, options).await;
        client.flush().await;
        client
            .wait(|event| matches!(event, Event::Opened(_)).then_some(()))
            .await;
        client.session = Some(client.engine.begin_session().unwrap());
        client.flush().await;
        client
    }

    /// The one session.
    pub(crate) fn session(&self) -> SessionId {
        self.session.expect("a client is made with one")
    }

    /// Puts a token and returns the application properties of the answer.
    pub(crate) async fn put_token(&mut self, token: &str, name: &str) -> Map {
        let mut properties = Map::from_iter([("operation", "put-token"), ("name", name)]);
        properties.insert("type", "servicebus.windows.net:sastoken");
        let body = Body::Value(Value::from(token));
        let answer = self.request("$cbs", properties, body).await;
        answer.application_properties.unwrap()
    }

    /// Sends a request to a node over links of its own and returns the answer.
    pub(crate) async fn request(&mut self, node: &str, properties: Map, body: Body) -> Message {
        let sender = self.attach_sender(node).await.unwrap();
        let receiver = self.attach_receiver(node, false).await.unwrap();
        self.engine.set_credit(receiver, 1).unwrap();
        let message = Message {
            properties: Some(Properties {
                message_id: Some("r1".into()),
                ..Properties::default()
            }),
            application_properties: Some(properties),
            body,
            ..Message::default()
        };
        let outcome = self.send(sender, &encode(&message)).await;
        assert_eq!(outcome, DeliveryState::Accepted);
        let delivery = self.delivery().await;
        let answer = RawMessage::split(delivery.payload)
            .unwrap()
            .decode()
            .unwrap();
        let correlation_id = answer
            .properties
            .as_ref()
            .and_then(|p| p.correlation_id.clone());
        assert_eq!(correlation_id, Some("r1".into()));
        for link in [sender, receiver] {
            self.engine.detach(link, true, None).unwrap();
        }
        self.flush().await;
        answer
    }

    pub(crate) async fn attach_sender(&mut self, to: &str) -> Result<LinkId, AmqpError> {
        let link = NewLink::new(self.name(), Source::new("here"), Target::new(to));
        let session = self.session();
        let link = self.engine.attach_sender(session, link).unwrap();
        self.attached(link).await
    }

    /// Attaches a receiver in peek-lock mode, or in receive-and-delete mode when `settled`.
    pub(crate) async fn attach_receiver(
        &mut self,
        from: &str,
        settled: bool,
    ) -> Result<LinkId, AmqpError> {
        let mut link = NewLink::new(self.name(), Source::new(from), Target::new("here"));
        if settled {
            link.snd_settle_mode = SenderSettleMode::Settled;
        } else {
            link.rcv_settle_mode = ReceiverSettleMode::Second;
        }
        self.attach(link).await
    }

    /// Attaches any receiver.
    pub(crate) async fn attach(&mut self, link: NewLink) -> Result<LinkId, AmqpError> {
        let session = self.session();
        let link = self.engine.attach_receiver(session, link).unwrap();
        self.attached(link).await
    }

    async fn attached(&mut self, link: LinkId) -> Result<LinkId, AmqpError> {
        self.wait(|event| match event {
            Event::LinkAttached { link: attached, .. } if *attached == link => Some(Ok(link)),
            Event::LinkDetached {
                link: detached,
                error,
                ..
            } if *detached == link => Some(Err(error.clone().expect("a refusal says why"))),
            _ => None,
        })
        .await
    }

    fn name(&mut self) -> String {
        self.tags += 1;
        format!("link-{}", self.tags)
    }

    /// Sends one message and returns what the broker says to it.
    pub(crate) async fn send(&mut self, link: LinkId, payload: &[u8]) -> DeliveryState {
        self.send_format(link, payload, 0).await
    }

    pub(crate) async fn send_format(
        &mut self,
        link: LinkId,
        payload: &[u8],
        message_format: u32,
    ) -> DeliveryState {
        while self.engine.credit(link) == 0 {
            self.wait(|event| matches!(event, Event::Credit { .. }).then_some(()))
                .await;
        }
        let id = self.start_sending(link, payload, message_format, false);
        self.flush().await;
        self.answer(id).await
    }

    /// Queues a message without writing it.
    pub(crate) fn start_sending(
        &mut self,
        link: LinkId,
        payload: &[u8],
        message_format: u32,
        settled: bool,
    ) -> u32 {
        self.tags += 1;
        let tag = self.tags.to_be_bytes().into();
        let delivery = NewDelivery {
            tag,
            message_format,
            settled,
        };
        self.engine.send(link, delivery, &[payload]).unwrap()
    }

    /// The broker's word on a delivery.
    pub(crate) async fn answer(&mut self, id: u32) -> DeliveryState {
        self.wait(|event| match event {
            Event::Disposition { disposition, .. }
                if (disposition.first..=disposition.last_id()).contains(&id) =>
            {
                assert!(
                    disposition.settled,
                    "an unsettled answer makes SDKs wait for ever"
                );
                disposition.state.clone()
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn give_credit(&mut self, link: LinkId, credit: u32) {
        self.engine.set_credit(link, credit).unwrap();
        self.flush().await;
    }

    /// The next message.
    pub(crate) async fn delivery(&mut self) -> Delivery {
        let is_delivery = |event: &Event| match event {
            Event::Delivery(delivery) => Some(delivery.clone()),
            _ => None,
        };
        self.wait(is_delivery).await
    }

    /// The next message, if one comes within `span`.
    pub(crate) async fn delivery_within(&mut self, span: Duration) -> Option<Delivery> {
        let next = async {
            loop {
                let event = self.next().await.expect("an open connection");
                if let Event::Delivery(delivery) = event {
                    return delivery;
                }
            }
        };
        timeout(span, next).await.ok()
    }

    /// Says what became of deliveries and returns the broker's answer.
    pub(crate) async fn settle(
        &mut self,
        first: u32,
        last: u32,
        state: DeliveryState,
    ) -> DeliveryState {
        let disposition = Disposition::new(Role::Receiver, first, last, false, Some(state));
        let session = self.session();
        self.engine.disposition(session, &disposition).unwrap();
        self.flush().await;
        self.answer(last).await
    }

    /// Waits for an event that `find` takes; the others are dropped.
    pub(crate) async fn wait<T>(&mut self, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = timeout(PATIENCE, self.next())
                .await
                .expect("an answer in time");
            let event = event.expect("an open connection");
            if let Some(found) = find(&event) {
                return found;
            }
        }
    }

    /// The next event, or `None` when the broker hung up.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            while let Some(event) = self.engine.next_event().unwrap() {
                self.events.push_back(event);
            }
            self.flush().await;
            if self.events.is_empty() && self.read().await == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn read(&mut self) -> usize {
        let input = self.engine.input();
        input.reserve(64 * 1024);
        self.stream.read_buf(input).await.unwrap_or(0)
    }

    pub(crate) async fn flush(&mut self) {
        while !self.engine.output().is_empty() {
            if self.stream.write_buf(self.engine.output()).await.is_err() {
                return;
            }
        }
    }

    /// Writes bytes past the engine.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

pub(crate) fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

/// An encoded message with an id and a body.
pub(crate) fn message(id: &str, body: impl Into<Bytes>) -> Bytes {
    encode(&Message {
        properties: Some(Properties {
            message_id: Some(id.into()),
            ..Properties::default()
        }),
        body: Body::data(body),
        ..Message::default()
    })
}

/// The id of a message that came.
pub(crate) fn id_of(delivery: &Delivery) -> String {
    let raw = RawMessage::split(delivery.payload.clone()).unwrap();
    raw.properties()
        .unwrap()
        .unwrap()
        .message_id
        .unwrap()
        .to_string()
}
