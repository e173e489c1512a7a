//! One server, or the nodes of a cluster behind one address.
//!
//! Which of the two it is, the server is asked once per connection: `CLUSTER SLOTS` is what a client of
//! a cluster needs to know, and what any other server refuses. Versions and names of products are not
//! looked at.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, Value};
use tokio::time::timeout;

use crate::CacheError;

/// How long connecting may take: longer than a command, so that a slow one comes to its end, which
/// later commands profit from.
const CONNECT: Duration = Duration::from_secs(3);

/// Commands on their way to one server; the others wait for a place.
const QUEUED: usize = 16;

/// How often a cluster's command is sent again: once for a slot that has moved, and for a node that has
/// closed its connection.
const RETRIES: u32 = 3;

/// The pauses before that, in milliseconds. Commands have a quarter of a second.
const SHORTEST_PAUSE: u64 = 5;
const LONGEST_PAUSE: u64 = 50;

/// A connection that many use at once.
#[derive(Clone)]
pub(crate) enum Connection {
    /// To a server.
    One(MultiplexedConnection),
    /// To the nodes of a cluster, which connects to each of them again by itself.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Whether it notices by itself that a server has closed it.
    pub(crate) fn heals(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Connects, and looks whether it is a cluster.
pub(crate) async fn connect(client: &Client) -> Result<Connection, CacheError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUED);
    let one = client.get_multiplexed_async_connection_with_config(&config);
    let mut one = one.await?;
    let is_cluster = timeout(CONNECT, is_cluster(&mut one)).await;
    if !is_cluster.unwrap_or(Err(CacheError::TooSlow(CONNECT)))? {
        return Ok(Connection::One(one));
    }
    let cluster = ClusterClientBuilder::new([client.get_connection_info().clone()])
        .connection_timeout(CONNECT)
        .retries(RETRIES)
        .min_retry_wait(SHORTEST_PAUSE)
        .max_retry_wait(LONGEST_PAUSE)
        .build()?;
    let connecting = timeout(CONNECT, cluster.get_async_connection()).await;
    let connection = connecting.map_err(|_| CacheError::TooSlow(CONNECT))??;
    Ok(Connection::Cluster(connection))
}

/// Whether the server has told who has which slots. One that refuses is no cluster, or one of which we
/// may not know that it is; then the first key that is elsewhere says so ([`CacheError::Denied`]).
async fn is_cluster(connection: &mut MultiplexedConnection) -> Result<bool, CacheError> {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    match slots.query_async(connection).await {
        Ok(Value::Array(slots)) => Ok(!slots.is_empty()),
        Ok(_) => Ok(false),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is the server that says no, and not the connection that failed.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}
