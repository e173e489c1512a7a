//! The connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};
use tokio::time::{Instant, timeout};

use crate::{CacheError, RedisSettings};

/// How long a command may take, waiting for the connection included. It may be waited for while a
/// transaction is open.
const COMMAND: Duration = Duration::from_millis(250);

/// How long connecting may take: longer than a command, so that a slow one comes to its end, which
/// later commands profit from.
const CONNECT: Duration = Duration::from_secs(3);

/// How long after a failure nothing is tried, so that an outage costs hardly any time.
const REST: Duration = Duration::from_secs(1);

/// Commands on their way to the server; the others wait for a place.
const QUEUED: usize = 16;

type Connecting = Shared<BoxFuture<'static, Result<MultiplexedConnection, CacheError>>>;

/// Redis, on one connection that all share. Clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    client: Client,
    state: Mutex<State>,
}

/// What is known of the connection.
#[derive(Default)]
struct State {
    /// Made, or being made.
    connection: Option<Connecting>,
    /// The last failure, and until when nothing is tried.
    rest: Option<(Instant, CacheError)>,
}

impl State {
    /// Forgets the connection. One that is still being made goes on.
    fn forget_made(&mut self) {
        self.connection = self.connection.take().filter(|made| made.peek().is_none());
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    /// Redis as `settings` say, to which it connects when it is first used, so that a process can
    /// answer its readiness probe before Redis does.
    pub fn connect_lazy(settings: RedisSettings) -> Self {
        Self(Arc::new(Inner {
            client: settings.client,
            state: Mutex::default(),
        }))
    }

    /// Asks the server what time it is, of which only matters that it answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<(), CacheError> {
        let _time: Vec<String> = self.query(&redis::cmd("TIME")).await?;
        Ok(())
    }

    /// Sends `command`. Nobody knows whether one that fails was executed.
    ///
    /// # Errors
    /// When there is no answer within a quarter of a second, or it says no. During the second after
    /// such a failure others fail with it at once.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        let connection = self.connection()?;
        let answer = timeout(COMMAND, self.try_twice(connection, command)).await;
        let answer = answer.unwrap_or(Err(CacheError::TooSlow(COMMAND)));
        answer.inspect_err(|error| self.note_failure(error))
    }

    /// A connection that was idle may have been closed without anybody having noticed.
    async fn try_twice<T: FromRedisValue>(
        &self,
        connection: Connecting,
        command: &Cmd,
    ) -> Result<T, CacheError> {
        let is_new = connection.peek().is_none();
        match send(connection, command).await {
            Err(CacheError::Unreachable(_)) if !is_new => {
                self.state().forget_made();
                send(self.connection()?, command).await
            }
            answer => answer,
        }
    }

    /// The connection, or the one that is being made.
    fn connection(&self) -> Result<Connecting, CacheError> {
        let mut state = self.state();
        if let Some((until, error)) = &state.rest
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        state.rest = None;
        let usable = |connection: &&Connecting| !matches!(connection.peek(), Some(Err(_)));
        if let Some(connection) = state.connection.as_ref().filter(usable) {
            return Ok(connection.clone());
        }
        let client = self.0.client.clone();
        let connection = async move { connect(&client).await }.boxed().shared();
        // It goes on when nobody waits for it any more.
        tokio::spawn(connection.clone());
        state.connection = Some(connection.clone());
        Ok(connection)
    }

    fn note_failure(&self, error: &CacheError) {
        if matches!(error, CacheError::Unexpected(_)) {
            return;
        }
        let mut state = self.state();
        state.rest = Some((Instant::now() + REST, error.clone()));
        state.forget_made();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send<T: FromRedisValue>(connection: Connecting, command: &Cmd) -> Result<T, CacheError> {
    let mut connection = connection.await?;
    Ok(command.query_async(&mut connection).await?)
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, CacheError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUED);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connection.await?)
}
