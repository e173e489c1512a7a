//! One server, or the nodes of a cluster behind one address.
//!
//! Which of the two it is, the server is asked once per connection: `CLUSTER SLOTS` is what a client of
//! a cluster needs to know, and what any other server refuses. Versions and names of products are not
//! looked at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nightshift_settings::ExposeSecret;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClientBuilder, NodeAddress};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, RedisError, RedisFuture, Value,
};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::{CacheError, RedisSettings};

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

/// What tokens for Redis are good for, on all of Azure's kinds of it.
const SCOPE: &str = "https://redis.azure.com/.default";

/// Connects, and looks whether it is a cluster. With a token for a password it says for how much longer that is
/// good.
pub(crate) async fn connect(
    settings: &RedisSettings,
) -> Result<(Connection, Option<Duration>), CacheError> {
    let Some(credential) = &settings.credential else {
        return Ok((connect_to(&settings.client).await?, None));
    };
    let (token, left) = credential
        .password(SCOPE)
        .await
        .map_err(|error| CacheError::Token(Arc::new(error)))?;
    let info = settings.client.get_connection_info().clone();
    let user = info.redis_settings().clone();
    let info = info.set_redis_settings(user.set_password(token.expose_secret()));
    Ok((connect_to(&Client::open(info)?).await?, Some(left)))
}

async fn connect_to(client: &Client) -> Result<Connection, CacheError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUED);
    let one = client.get_multiplexed_async_connection_with_config(&config);
    let mut one = one.await?;
    let slots = timeout(CONNECT, slots(&mut one)).await;
    let slots = slots.unwrap_or(Err(CacheError::TooSlow(CONNECT)))?;
    if slots.is_empty() {
        return Ok(Connection::One(one));
    }
    let info = client.get_connection_info().clone();
    let named = match info.addr() {
        ConnectionAddr::TcpTls { host, port, .. } => {
            // Without an answer there are no names to be had, and the addresses have to do.
            let found = timeout(CONNECT, lookup_host((host.as_str(), *port))).await;
            let own = found.into_iter().flatten().flatten().map(|at| at.ip());
            named(&slots, host, &own.collect::<Vec<_>>())
        }
        _ => HashMap::new(),
    };
    let cluster = ClusterClientBuilder::new([info])
        .connection_timeout(CONNECT)
        .retries(RETRIES)
        .min_retry_wait(SHORTEST_PAUSE)
        .max_retry_wait(LONGEST_PAUSE)
        .node_address_map(named)
        .build()?;
    let connecting = timeout(CONNECT, cluster.get_async_connection()).await;
    let connection = connecting.map_err(|_| CacheError::TooSlow(CONNECT))??;
    Ok(Connection::Cluster(connection))
}

/// Who has which slots. A server that refuses to tell is no cluster, or one of which we may not know that
/// it is; then the first key that is elsewhere says so ([`CacheError::Denied`]).
async fn slots(connection: &mut MultiplexedConnection) -> Result<Vec<Value>, CacheError> {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    match slots.query_async(connection).await {
        Ok(Value::Array(slots)) => Ok(slots),
        Ok(_) => Ok(Vec::new()),
        Err(error) if is_refusal(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The nodes in `slots` that are reached at `host`, which is at the addresses `own`. A managed cluster says
/// of its nodes that they are at an address, for which its certificate is not: they are ports of the one
/// name that it has.
fn named(slots: &[Value], host: &str, own: &[IpAddr]) -> HashMap<NodeAddress, NodeAddress> {
    let nodes = slots.iter().filter_map(|range| match range {
        // The first and the last slot, and then whoever has them.
        Value::Array(parts) => parts.get(2..),
        _ => None,
    });
    let named = nodes.flatten().filter_map(|node| {
        let Value::Array(parts) = node else {
            return None;
        };
        let [Value::BulkString(address), Value::Int(port), ..] = &parts[..] else {
            return None;
        };
        let address = std::str::from_utf8(address).ok()?;
        let port = u16::try_from(*port).ok()?;
        let is_own = own.contains(&address.parse().ok()?);
        is_own.then(|| {
            (
                NodeAddress::new(address, port),
                NodeAddress::new(host, port),
            )
        })
    });
    named.collect()
}

/// Whether it is the server that says no, and not the connection that failed.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, port: i64) -> Value {
        let id = Value::BulkString(b"id".to_vec());
        let address = Value::BulkString(address.as_bytes().to_vec());
        Value::Array(vec![address, Value::Int(port), id])
    }

    #[test]
    fn nodes_at_the_address_of_the_name_are_reached_by_it_and_no_others() {
        let range = |nodes: Vec<Value>| {
            let slots = [Value::Int(0), Value::Int(8_191)];
            Value::Array(slots.into_iter().chain(nodes).collect())
        };
        let slots = [
            range(vec![node("20.1.2.3", 15_000), node("20.1.2.3", 15_001)]),
            range(vec![node("10.0.0.9", 6_380), node("other.example", 6_380)]),
            range(vec![node("", 6_380), node("20.1.2.3", -1), Value::Nil]),
            Value::Nil,
        ];
        let own = ["20.1.2.3".parse().unwrap(), "::1".parse().unwrap()];
        let named = named(&slots, "cache.example", &own);
        let expected = [15_000, 15_001].map(|port| {
            let name = NodeAddress::new("cache.example", port);
            (NodeAddress::new("20.1.2.3", port), name)
        });
        assert_eq!(named, HashMap::from(expected));
    }
}
