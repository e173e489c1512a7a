//! Redis for what is asked of it often and briefly.

use redis::{Cmd, FromRedisValue};

use crate::link::Link;
use crate::{CacheError, RedisSettings};

/// Redis, on one connection that all share. Clones share everything.
#[derive(Clone)]
pub struct Cache(Link);

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    /// Redis as `settings` say, to which it connects when it is first used, so that a process can
    /// answer its readiness probe before Redis does.
    pub fn connect_lazy(settings: RedisSettings) -> Self {
        Self(Link::new(settings))
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
        self.0.query(command).await
    }
}
