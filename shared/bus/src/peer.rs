//! A scripted broker for tests: it does what a test says, and notes what it was asked.
//!
//! It speaks AMQP over a real socket with the engine's server side. Links are granted unless the
//! script says otherwise, tokens are taken, and requests to management nodes are answered by the
//! script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nightshift_amqp::engine::{
    AttachAnswer, Delivery, Engine, Event, LinkId, NewDelivery, ServerOptions, SessionId,
};
use nightshift_amqp::message::{Body, MESSAGE_FORMAT, Message, MessageId, Properties, RawMessage};
use nightshift_amqp::performative::{
    AmqpError, Attach, DeliveryState, Disposition, Rejected, Role,
};
use nightshift_amqp::{Encode as _, Map, Symbol, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::{ClientOptions, ServiceBusClient};

/// Long enough for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What the peer says to a link.
pub(crate) enum Grant {
    Yes,
    With(Box<AttachAnswer>),
    No(&'static str),
    /// Not before [`Deed::Grant`].
    Later,
}

/// A management request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) node: String,
    pub(crate) operation: String,
    pub(crate) words: Map,
    pub(crate) body: Map,
}

/// How a management request is answered.
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) condition: Option<&'static str>,
    pub(crate) body: Body,
}

impl Answer {
    pub(crate) fn granted(body: Map) -> Self {
        Self {
            status: 200,
            condition: None,
            body: Body::Value(Value::Map(body)),
        }
    }

    pub(crate) fn refused(status: i32, condition: &'static str) -> Self {
        Self {
            status,
            condition: Some(condition),
            body: Body::Empty,
        }
    }
}

/// What a test decides.
pub(crate) trait Script: Send + 'static {
    fn attach(&mut self, _attach: &Attach) -> Grant {
        Grant::Yes
    }

    /// `None` leaves the request unanswered.
    fn answer(&mut self, _asked: &Asked) -> Option<Answer> {
        Some(Answer::granted(Map::new()))
    }

    /// How dispositions of the client are confirmed; `None` leaves them unanswered.
    fn confirm(&mut self, disposition: &Disposition) -> Option<DeliveryState> {
        match &disposition.state {
            Some(DeliveryState::Rejected(_)) => {
                Some(DeliveryState::Rejected(Rejected { error: None }))
            }
            state => state.clone(),
        }
    }

    /// Whether drains are answered.
    fn drains(&self) -> bool {
        true
    }
}

/// Grants everything.
pub(crate) struct Willing;

impl Script for Willing {}

/// What the peer noted.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) attaches: Vec<Attach>,
    pub(crate) asked: Vec<Asked>,
    /// Tokens put to `$cbs`, each with the words of its request.
    pub(crate) tokens: Vec<(String, Map)>,
    pub(crate) dispositions: Vec<Disposition>,
    /// Links of entities that the client detached.
    pub(crate) detached: usize,
    pub(crate) connections: usize,
}

/// Something a test has the peer do of its own accord.
pub(crate) enum Deed {
    /// End the receiving links of the client with a condition.
    Detach(&'static str),
    /// Send one message on a receiving link of the client, as soon as there is credit.
    Send(Bytes),
    /// Grant the links that wait for it, if they still do.
    Grant,
    /// Hang up.
    HangUp,
}

pub(crate) struct Peer {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    deeds: mpsc::UnboundedSender<Deed>,
}

impl Peer {
    pub(crate) async fn start(script: impl Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<Mutex<Log>>::default();
        let (deeds, queue) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, Box::new(script), Arc::clone(&log), queue));
        Self {
            address,
            log,
            deeds,
        }
    }

    pub(crate) async fn client(&self) -> ServiceBusClient {
        self.client_with(ClientOptions {
            try_timeout: SOON,
            ..ClientOptions::default()
        })
        .await
    }

    pub(crate) async fn client_with(&self, options: ClientOptions) -> ServiceBusClient {
        let credential = "SharedAccessKeyName=n;SharedAccessKey=k";
        self.client_of(credential, options).await
    }

    pub(crate) async fn client_of(
        &self,
        credential: &str,
        options: ClientOptions,
    ) -> ServiceBusClient {
        let text = format!(
            "Endpoint=sb://{};{credential};UseDevelopmentEmulator=true",
            self.address
        );
        let connection_string = text.parse().unwrap();
        ServiceBusClient::connect(&connection_string, options)
            .await
            .unwrap()
    }

    pub(crate) fn has(&self, deed: Deed) {
        self.deeds.send(deed).ok().unwrap();
    }

    /// Looks at what was noted.
    pub(crate) fn noted<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.log.lock().unwrap())
    }

    /// Waits until what was noted is as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Log) -> bool) {
        let poll = async {
            while !self.noted(&is_so) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, poll).await;
        assert!(waited.is_ok(), "not in time: {what}");
    }
}

async fn serve(
    listener: TcpListener,
    mut script: Box<dyn Script>,
    log: Arc<Mutex<Log>>,
    mut deeds: mpsc::UnboundedReceiver<Deed>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        log.lock().unwrap().connections += 1;
        let mut service = Service {
            engine: Engine::server(ServerOptions::new("peer")),
            links: Vec::new(),
            sent: 0,
            pending: Vec::new(),
            unsent: Vec::new(),
            script,
            log: Arc::clone(&log),
        };
        service.run(stream, &mut deeds).await;
        script = service.script;
    }
}

/// A link that stands.
struct Open {
    id: LinkId,
    session: SessionId,
    attach: Attach,
}

struct Service {
    engine: Engine,
    links: Vec<Open>,
    sent: u32,
    /// Links that wait to be granted.
    pending: Vec<Open>,
    /// Messages that wait for credit.
    unsent: Vec<Bytes>,
    script: Box<dyn Script>,
    log: Arc<Mutex<Log>>,
}

impl Service {
    async fn run(&mut self, mut stream: TcpStream, deeds: &mut mpsc::UnboundedReceiver<Deed>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            loop {
                match self.engine.next_event() {
                    Ok(Some(event)) => self.on(event),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            self.send();
            let output = self.engine.output().split();
            if stream.write_all(&output).await.is_err() || self.engine.is_closed() {
                return;
            }
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => self.engine.receive(&buffer[..count]),
                    _ => return,
                },
                deed = deeds.recv() => match deed {
                    Some(Deed::Detach(condition)) => self.detach(condition),
                    Some(Deed::Send(payload)) => self.unsent.push(payload),
                    Some(Deed::Grant) => self.grant_pending(),
                    Some(Deed::HangUp) | None => return,
                },
            }
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::LinkAttaching {
                session,
                link,
                attach,
            } => self.attach(session, link, *attach),
            Event::LinkDetached { link, .. } => {
                let open = [&mut self.links, &mut self.pending]
                    .into_iter()
                    .find_map(|open| open.extract_if(.., |open| open.id == link).next());
                if open.is_some_and(|open| !is_node(&open.attach)) {
                    self.log.lock().unwrap().detached += 1;
                }
            }
            Event::Credit {
                link, drain: true, ..
            } if self.script.drains() => {
                self.engine.drained(link).unwrap();
            }
            Event::Delivery(delivery) => self.delivery(&delivery),
            Event::Disposition {
                session,
                disposition,
            } if disposition.role == Role::Receiver => {
                self.log
                    .lock()
                    .unwrap()
                    .dispositions
                    .push(disposition.clone());
                if disposition.settled {
                    return;
                }
                if let Some(state) = self.script.confirm(&disposition) {
                    let (first, last) = (disposition.first, disposition.last_id());
                    let answer = Disposition::new(Role::Sender, first, last, true, Some(state));
                    self.engine.disposition(session, &answer).unwrap();
                }
            }
            _ => {}
        }
    }

    fn attach(&mut self, session: SessionId, id: LinkId, attach: Attach) {
        let node = is_node(&attach);
        if !node {
            self.log.lock().unwrap().attaches.push(attach.clone());
        }
        let grant = if node {
            Grant::Yes
        } else {
            self.script.attach(&attach)
        };
        let answer = match grant {
            Grant::Yes => AttachAnswer::granting(&attach),
            Grant::With(answer) => *answer,
            Grant::No(condition) => {
                let error = AmqpError::new(Symbol::from_static(condition), "as scripted");
                return self.engine.refuse_link(id, error).unwrap();
            }
            Grant::Later => {
                return self.pending.push(Open {
                    id,
                    session,
                    attach,
                });
            }
        };
        self.engine.accept_link(id, answer).unwrap();
        if attach.role == Role::Sender {
            self.engine.set_credit(id, 100).unwrap();
        }
        self.links.push(Open {
            id,
            session,
            attach,
        });
    }

    fn grant_pending(&mut self) {
        for open in std::mem::take(&mut self.pending) {
            let answer = AttachAnswer::granting(&open.attach);
            // The client may have detached it by now.
            if self.engine.accept_link(open.id, answer).is_ok() {
                self.links.push(open);
            }
        }
    }

    fn delivery(&mut self, delivery: &Delivery) {
        let open = self.links.iter().find(|open| open.id == delivery.link);
        let Some(Open {
            session, attach, ..
        }) = open
        else {
            return;
        };
        let id = delivery.delivery_id;
        let accepted =
            Disposition::new(Role::Receiver, id, id, true, Some(DeliveryState::Accepted));
        self.engine.disposition(*session, &accepted).unwrap();
        let node = attach.target_address().unwrap_or_default().to_owned();
        if is_node(attach) {
            self.request(&node, &delivery.payload);
        }
    }

    fn request(&mut self, node: &str, payload: &Bytes) {
        let request = RawMessage::split(payload.clone())
            .unwrap()
            .decode()
            .unwrap();
        let properties = request.properties.unwrap_or_default();
        let words = request.application_properties.unwrap_or_default();
        let operation = words.get("operation").and_then(Value::as_str);
        let operation = operation.unwrap_or_default().to_owned();
        let answer = if node == "$cbs" {
            let token = match &request.body {
                Body::Value(Value::String(token)) => token.clone(),
                other => panic!("no token: {other:?}"),
            };
            self.log.lock().unwrap().tokens.push((token, words));
            Some(Answer {
                status: 202,
                condition: None,
                body: Body::Empty,
            })
        } else {
            let body = match request.body {
                Body::Value(Value::Map(body)) => body,
                _ => Map::new(),
            };
            let asked = Asked {
                node: node.to_owned(),
                operation,
                words,
                body,
            };
            self.log.lock().unwrap().asked.push(asked.clone());
            self.script.answer(&asked)
        };
        let back = self.links.iter().find(|open| {
            open.attach.source_address() == Some(node)
                && open.attach.target_address() == properties.reply_to.as_deref()
        });
        if let (Some(answer), Some(back)) = (answer, back) {
            let payload = response(answer, properties.message_id);
            let delivery = NewDelivery {
                tag: self.sent.to_be_bytes().into(),
                message_format: MESSAGE_FORMAT,
                settled: true,
            };
            self.sent += 1;
            self.engine.send(back.id, delivery, &[&payload]).unwrap();
        }
    }

    /// The client's receivers of entities.
    fn receivers(&self) -> Vec<LinkId> {
        let receives = |open: &&Open| open.attach.role == Role::Receiver && !is_node(&open.attach);
        self.links
            .iter()
            .filter(receives)
            .map(|open| open.id)
            .collect()
    }

    fn detach(&mut self, condition: &'static str) {
        for link in self.receivers() {
            let error = AmqpError::new(Symbol::from_static(condition), "as scripted");
            self.engine.detach(link, true, Some(error)).unwrap();
        }
    }

    /// Sends what the receivers have credit for.
    fn send(&mut self) {
        while let Some(payload) = self.unsent.first()
            && let Some(link) = self
                .receivers()
                .into_iter()
                .find(|id| self.engine.credit(*id) > 0)
        {
            let delivery = NewDelivery {
                tag: u128::from(self.sent).to_be_bytes().into(),
                message_format: MESSAGE_FORMAT,
                settled: false,
            };
            self.sent += 1;
            self.engine.send(link, delivery, &[payload]).unwrap();
            self.unsent.remove(0);
        }
    }
}

/// Whether a link leads to a node of requests, or back from one.
fn is_node(attach: &Attach) -> bool {
    let far = match attach.role {
        Role::Sender => attach.target_address(),
        Role::Receiver => attach.source_address(),
    };
    far.is_some_and(|address| address == "$cbs" || address.ends_with("/$management"))
}

fn response(answer: Answer, id: Option<MessageId>) -> Bytes {
    let mut words = Map::new();
    words.insert("statusCode", answer.status);
    words.insert("status-code", answer.status);
    words.insert("statusDescription", "as scripted");
    if let Some(condition) = answer.condition {
        words.insert("errorCondition", Symbol::from_static(condition));
    }
    let message = Message {
        properties: Some(Properties {
            correlation_id: id,
            ..Properties::default()
        }),
        application_properties: Some(words),
        body: answer.body,
        ..Message::default()
    };
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}
