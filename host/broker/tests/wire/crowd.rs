//! A crowd of connections, some idle and some hostile, and a neighbour who must not notice.

use std::{net::SocketAddr, time::Duration};

use nightshift_amqp::engine::ClientOptions;
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    PATIENCE,
    client::{Client, id_of, message},
};

/// What the test may open besides the crowd, both ends counted.
const SPARE_FILES: usize = 100;

/// How many connections the crowd has: 1,000, or 10,000 when `NIGHTSHIFT_TEST_SOAK` is set, or what
/// the limit of open files allows, for both ends are in this process.
fn size() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let files = soft
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(1_024_usize);
    let possible = files.saturating_sub(SPARE_FILES) / 2;
    if std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some() {
        assert!(
            possible >= 9_000,
            "a crowd of 10,000 needs 20,100 open files (`ulimit -n`), and there may be {files}"
        );
        return possible.min(10_000);
    }
    // Other tests run beside this one.
    possible.saturating_sub(150).min(1_000)
}

/// How a member of the crowd misbehaves.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Attaches a receiver, never gives credit.
    Idle,
    /// Takes messages and never settles them.
    Hoards,
    /// Asks for messages and never reads.
    Deaf,
    /// Says nothing at all.
    Silent,
    /// Sends half a frame and stops.
    Half,
    /// Sends random octets.
    Garbage,
}

const MANNERS: [Manner; 6] = [
    Manner::Idle,
    Manner::Hoards,
    Manner::Deaf,
    Manner::Silent,
    Manner::Half,
    Manner::Garbage,
];

/// Whatever keeps the connection open.
enum Member {
    Client(Box<Client>),
    Stream(TcpStream),
}

async fn join(address: SocketAddr, manner: Manner, seed: u64) -> Member {
    let mut dice = StdRng::seed_from_u64(seed);
    match manner {
        Manner::Idle | Manner::Hoards | Manner::Deaf => {
            let mut client = Client::connect(address).await;
            let receiver = client.attach_receiver("shared", false).await.unwrap();
            let credit = match manner {
                Manner::Hoards => 2,
                Manner::Deaf => 1_000,
                _ => 0,
            };
            client.give_credit(receiver, credit).await;
            Member::Client(Box::new(client))
        }
        Manner::Silent => Member::Stream(TcpStream::connect(address).await.unwrap()),
        Manner::Half => {
            let mut client = Client::dial(address, ClientOptions::new("half")).await;
            client.flush().await;
            client.write_raw(&[0, 0, 1]).await;
            Member::Client(Box::new(client))
        }
        Manner::Garbage => {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut noise = vec![0; dice.random_range(1..2_000)];
            dice.fill_bytes(&mut noise);
            drop(stream.write_all(&noise).await);
            Member::Stream(stream)
        }
    }
}

/// One message to the neighbour's own queue and back.
async fn round_trip(client: &mut Client, n: usize) {
    let sender = client.attach_sender("mine").await.unwrap();
    let receiver = client.attach_receiver("mine", true).await.unwrap();
    client.give_credit(receiver, 1).await;
    client.start_sending(sender, &message(&n.to_string(), "x"), 0, true);
    client.flush().await;
    assert_eq!(id_of(&client.delivery().await), n.to_string());
    for link in [sender, receiver] {
        client.engine.detach(link, true, None).unwrap();
    }
    client.flush().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_does_not_notice_a_crowd() {
    let size = size();
    let config = crate::config(["shared", "mine"].map(QueueConfig::new));
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let address = broker.local_addr();
    let mut neighbour = Client::connect(address).await;
    let feeder = neighbour.attach_sender("shared").await.unwrap();
    for n in 0..200 {
        let body = vec![0; 20_000];
        neighbour.send(feeder, &message(&n.to_string(), body)).await;
    }
    let mut crowd = Vec::new();
    let manners = MANNERS.into_iter().cycle();
    for (n, manner) in manners.enumerate().take(size) {
        crowd.push(join(address, manner, n as u64).await);
        if n % 100 == 0 {
            let served = timeout(PATIENCE, round_trip(&mut neighbour, n)).await;
            served.expect("the neighbour is served while the crowd gathers");
        }
    }
    assert_eq!(crowd.len(), size);
    let until = Instant::now() + Duration::from_millis(500);
    let mut n = size;
    while Instant::now() < until {
        let served = timeout(PATIENCE, round_trip(&mut neighbour, n)).await;
        served.expect("the neighbour is served while the crowd is there");
        n += 1;
    }
    // They leave all at once.
    for member in crowd {
        match member {
            Member::Client(client) => drop(client),
            Member::Stream(stream) => drop(stream),
        }
    }
    round_trip(&mut neighbour, n).await;
    broker.stop().await;
}
