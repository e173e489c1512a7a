//! The way to Redis: a connection that is made when it is first used, that all share, and that is made
//! again after a failure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, Value};
use tokio::time::{Instant, timeout};

use crate::connection::{Connection, connect};
use crate::{CacheError, RedisSettings};

/// How long a command may take, waiting for the connection included. It may be waited for while a
/// transaction is open.
pub(crate) const COMMAND: Duration = Duration::from_millis(250);

/// How long after a failure nothing is tried, so that an outage costs hardly any time.
const REST: Duration = Duration::from_secs(1);

/// How long before the end of the token that has let us in a connection is replaced, so that whoever is at
/// work on it comes to an end.
const SPARE: Duration = Duration::from_mins(3);

type Connecting = Shared<BoxFuture<'static, Result<Made, CacheError>>>;

/// A connection, and until when it is to be used: the server closes it when the token ends that let us in.
#[derive(Clone)]
struct Made {
    connection: Connection,
    until: Option<Instant>,
}

/// A connection to Redis. Clones share everything.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    settings: RedisSettings,
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

impl Link {
    pub(crate) fn new(settings: RedisSettings) -> Self {
        Self(Arc::new(Inner {
            settings,
            state: Mutex::default(),
        }))
    }

    /// Sends `command`. Nobody knows whether one that fails was executed.
    ///
    /// # Errors
    /// When there is no answer within a quarter of a second, or it says no. During the second after
    /// such a failure others fail with it at once.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        let connection = self.rested()?;
        let answer = timeout(COMMAND, self.try_twice(connection, command)).await;
        let answer = answer.unwrap_or(Err(CacheError::TooSlow(COMMAND)));
        answer.inspect_err(|error| self.note_failure(error))
    }

    /// The connection for work of several commands, each of which may take `deadline`. It is tried
    /// whatever has failed before, and what fails in it makes nobody rest.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn session(&self, deadline: Duration) -> Result<Session, CacheError> {
        let connection = timeout(deadline, self.answering()).await;
        Ok(Session {
            connection: connection.unwrap_or(Err(CacheError::TooSlow(deadline)))?,
            link: self.clone(),
            deadline,
        })
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
                send(self.rested()?, command).await
            }
            answer => answer,
        }
    }

    /// A connection on which the server has just answered.
    async fn answering(&self) -> Result<Connection, CacheError> {
        let connecting = self.connecting();
        let is_new = connecting.peek().is_none();
        let connection = connecting.clone().await?.connection;
        if is_new || connection.heals() {
            return Ok(connection);
        }
        match send::<Value>(connecting, &redis::cmd("PING")).await {
            // Somebody who may not ask is answered too.
            Ok(_) | Err(CacheError::Denied(_)) => Ok(connection),
            Err(CacheError::Unreachable(_)) => {
                self.state().forget_made();
                Ok(self.connecting().await?.connection)
            }
            Err(error) => Err(error),
        }
    }

    /// The connection, unless there is to be none for a while.
    fn rested(&self) -> Result<Connecting, CacheError> {
        let mut state = self.state();
        if let Some((until, error)) = &state.rest
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        state.rest = None;
        drop(state);
        Ok(self.connecting())
    }

    /// The connection, or the one that is being made.
    fn connecting(&self) -> Connecting {
        let mut state = self.state();
        let usable = |connection: &&Connecting| match connection.peek() {
            None => true,
            Some(Ok(made)) => made.until.is_none_or(|until| Instant::now() < until),
            Some(Err(_)) => false,
        };
        if let Some(connection) = state.connection.as_ref().filter(usable) {
            return connection.clone();
        }
        let settings = self.0.settings.clone();
        let connection = async move {
            let (connection, left) = connect(&settings).await?;
            let until = left.map(|left| Instant::now() + left.saturating_sub(SPARE).max(left / 2));
            Ok(Made { connection, until })
        };
        let connection = connection.boxed().shared();
        // It goes on when nobody waits for it any more.
        tokio::spawn(connection.clone());
        state.connection = Some(connection.clone());
        connection
    }

    fn note_failure(&self, error: &CacheError) {
        if !is_outage(error) {
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

/// A connection in use for something longer. What is sent is sent once: who gets an error does not know
/// whether it was executed.
pub(crate) struct Session {
    link: Link,
    connection: Connection,
    deadline: Duration,
}

impl Session {
    /// Sends `command`.
    ///
    /// # Errors
    /// When there is no answer in time, or it says no.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        let mut connection = self.connection.clone();
        let answer = command.query_async(&mut connection);
        self.within(self.deadline, answer).await
    }

    /// Sends the commands of `pipeline`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn pipe<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, CacheError> {
        let mut connection = self.connection.clone();
        let answer = pipeline.query_async(&mut connection);
        self.within(self.deadline, answer).await
    }

    /// Sends `command`, which is no loss if it does not arrive.
    pub(crate) async fn try_briefly(&self, command: &Cmd) {
        let mut connection = self.connection.clone();
        let answer = command.query_async::<Value>(&mut connection);
        // Whoever calls has something worse to report.
        let _ = self.within(self.deadline.min(COMMAND), answer).await;
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, CacheError> {
        let answer = timeout(deadline, answer).await;
        let answer = answer.map_or(Err(CacheError::TooSlow(deadline)), |answer| Ok(answer?));
        answer.inspect_err(|error| {
            if is_outage(error) {
                self.link.state().forget_made();
            }
        })
    }
}

/// Whether it says something about the server, and not about what it was asked.
fn is_outage(error: &CacheError) -> bool {
    !matches!(
        error,
        CacheError::Unexpected(_) | CacheError::Disturbed { .. }
    )
}

async fn send<T: FromRedisValue>(connection: Connecting, command: &Cmd) -> Result<T, CacheError> {
    let mut connection = connection.await?.connection;
    Ok(command.query_async(&mut connection).await?)
}
