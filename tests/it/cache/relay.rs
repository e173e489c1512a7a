//! A relay in front of Redis that a test can let fail.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the relay does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    /// What the server answers is lost, as if it had died after it had done what it was asked.
    LoseAnswers,
    /// Nothing gets through, and nobody is told.
    Hold,
    /// Connections are closed.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    mode: Mode,
    /// Connections from before the last cut are closed.
    cuts: usize,
}

type Orders = watch::Receiver<Order>;

/// A running relay; dropping it ends it and its connections.
pub(crate) struct Relay {
    url: String,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Relay {
    /// In front of the server of `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let (login, server) = url.rsplit_once('@').unwrap();
        let (server, database) = server.split_once('/').unwrap_or((server, ""));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let order = Order {
            mode: Mode::Forward,
            cuts: 0,
        };
        let (orders, told) = watch::channel(order);
        let server = server.to_owned();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server.clone(), told.clone()));
            }
        });
        Self {
            url: format!("{login}@{address}/{database}"),
            orders,
            task,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn forward(&self) {
        self.set(Mode::Forward);
    }

    pub(crate) fn lose_answers(&self) {
        self.set(Mode::LoseAnswers);
    }

    pub(crate) fn hold(&self) {
        self.set(Mode::Hold);
    }

    pub(crate) fn refuse(&self) {
        self.set(Mode::Refuse);
    }

    /// Closes the connections there are.
    pub(crate) fn cut(&self) {
        self.orders.send_modify(|order| order.cuts += 1);
    }

    fn set(&self, mode: Mode) {
        self.orders.send_modify(|order| order.mode = mode);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, server: String, mut orders: Orders) {
    let cuts = orders.borrow().cuts;
    // Of a server that is away the client is told by the end of its connection.
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = copy(from_client, to_server, orders.clone(), false);
    let answered = copy(from_server, to_client, orders.clone(), true);
    let closed = orders.wait_for(|order| order.mode == Mode::Refuse || order.cuts > cuts);
    // Whoever hangs up first ends it; there is nobody to tell.
    tokio::select! {
        _ = closed => {}
        () = asked => {}
        () = answered => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: Orders,
    is_answer: bool,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let Ok(order) = orders
            .wait_for(|order| order.mode != Mode::Hold)
            .await
            .map(|order| *order)
        else {
            return;
        };
        let is_lost = is_answer && order.mode == Mode::LoseAnswers;
        if is_lost || to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
