//! Scripts: each runs as a whole or not at all, and nobody sees anything in between.

use redis::{Arg, Cmd, FromRedisValue, Script};

use crate::CacheError;
use crate::link::{Link, Session};

/// A call of a script, with its keys, which must all be in one slot of a cluster, and its arguments.
pub(crate) struct Call {
    text: &'static str,
    /// By the script's hash, which spares the server its text.
    command: Cmd,
}

impl Call {
    /// A call of the script `text` for `keys`.
    pub(crate) fn new(text: &'static str, keys: &[&str]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(Script::new(text).get_hash()).arg(keys.len());
        for key in keys {
            command.arg(*key);
        }
        Self { text, command }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl redis::ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// The command, to which a caller adds many arguments.
    pub(crate) fn command(&mut self) -> &mut Cmd {
        &mut self.command
    }

    /// Runs it in `session`.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub(crate) async fn run<T: FromRedisValue>(&self, session: &Session) -> Result<T, CacheError> {
        match session.query(&self.command).await {
            Err(error) if error.is_unknown_script() => session.query(&self.with_text()).await,
            answer => answer,
        }
    }

    /// Runs it as something that is asked often and briefly.
    ///
    /// # Errors
    /// As [`Link::query`].
    pub(crate) async fn ask<T: FromRedisValue>(&self, link: &Link) -> Result<T, CacheError> {
        match link.query(&self.command).await {
            Err(error) if error.is_unknown_script() => link.query(&self.with_text()).await,
            answer => answer,
        }
    }

    /// The same call for a server that has not seen the script yet.
    fn with_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}
