//! The list of functions a handler process knows, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use nightshift_bindings::function_json::{DataType, EntityPath, FunctionJson};
use nightshift_bindings::problem::ConfigProblems;
use nightshift_job::{BatchFunction, ExternalFunction, TransactionalFunction};
use nightshift_postgres::run::LongFunction;
use nightshift_time::SharedClock;
use sqlx::PgPool;

use crate::call::{Call, InvocationFailed};
use crate::drain::GivenUp;
use crate::outbox::Outbox;
use crate::runner::Runner;
use crate::settings::CONNECTION;
use crate::shape::{Batch, External, Long, Shape, Transactional};

/// Something that answers invocations.
pub(crate) trait Invocable: Send + Sync {
    fn invoke<'a>(
        &'a self,
        body: &'a [u8],
        call: &'a Call,
    ) -> BoxFuture<'a, Result<(), InvocationFailed>>;

    /// Where its messages come from.
    fn queue(&self) -> &str;

    /// Takes back messages that the broker has given up.
    fn take_back(&self, given_up: Vec<GivenUp>) -> BoxFuture<'_, Result<(), String>>;
}

impl<S: Shape> Invocable for Runner<S> {
    fn invoke<'a>(
        &'a self,
        body: &'a [u8],
        call: &'a Call,
    ) -> BoxFuture<'a, Result<(), InvocationFailed>> {
        Box::pin(Runner::invoke(self, body, call))
    }

    fn queue(&self) -> &str {
        Runner::queue(self)
    }

    fn take_back(&self, given_up: Vec<GivenUp>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Runner::take_back(self, given_up))
    }
}

struct Entry {
    config: &'static str,
    invocable: Box<dyn Invocable>,
}

/// The functions of one process.
pub struct Registry {
    pool: PgPool,
    outbox: Outbox,
    clock: SharedClock,
    entries: BTreeMap<&'static str, Entry>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

/// Why a function cannot be registered, or the app on disk is not the one that is compiled in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The embedded `function.json` is malformed.
    #[error("the function.json compiled into {name} is malformed: {problems}")]
    Config {
        /// The function.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        problems: ConfigProblems,
    },
    /// The embedded `function.json` has no trigger by which this shape of function can be called.
    #[error(
        "{0} takes Service Bus messages, so its function.json needs a serviceBusTrigger of a queue by its plain name, with \"dataType\": \"binary\" and the connection {CONNECTION}"
    )]
    Trigger(&'static str),
    /// Two functions have one name.
    #[error("there are two functions named {0}")]
    Twice(&'static str),
    /// A folder on disk holds a function that this binary does not know.
    #[error("{} is not a function of this binary; it knows {known}", folder.display())]
    Unknown {
        /// The folder.
        folder: PathBuf,
        /// The names that are known.
        known: String,
    },
    /// A `function.json` on disk differs from the one compiled in.
    #[error("{} differs from the one this binary was built with; deploy both together", .0.display())]
    Differs(PathBuf),
    /// The app's folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Registry {
    /// An empty list; functions run against `pool` and send by `outbox`.
    pub fn new(pool: PgPool, outbox: Outbox, clock: SharedClock) -> Self {
        Self {
            pool,
            outbox,
            clock,
            entries: BTreeMap::new(),
        }
    }

    /// Adds a batch function.
    pub fn with_batch<F: BatchFunction>(self, function: F) -> Result<Self, RegistryError> {
        self.with(Batch(function))
    }

    /// Adds a transactional function.
    pub fn with_transactional<F: TransactionalFunction>(
        self,
        function: F,
    ) -> Result<Self, RegistryError> {
        self.with(Transactional(function))
    }

    /// Adds an external function.
    pub fn with_external<F: ExternalFunction>(self, function: F) -> Result<Self, RegistryError> {
        self.with(External(function))
    }

    /// Adds a function whose work takes longer than a transaction may.
    pub fn with_long<F: LongFunction>(self, function: F) -> Result<Self, RegistryError> {
        let pool = self.pool.clone();
        self.with(Long { function, pool })
    }

    fn with<S: Shape>(mut self, shape: S) -> Result<Self, RegistryError> {
        let file = Path::new(S::NAME).join("function.json");
        let config =
            FunctionJson::parse(&file, S::CONFIG).map_err(|problems| RegistryError::Config {
                name: S::NAME,
                problems,
            })?;
        let trigger = config
            .service_bus_trigger()
            .filter(|trigger| {
                trigger.data_type == DataType::Binary && trigger.connection == CONNECTION
            })
            .ok_or(RegistryError::Trigger(S::NAME))?
            .clone();
        let queue = match &trigger.entity {
            EntityPath::Queue(queue) if !queue.contains(['%', '/']) => queue.clone(),
            _ => return Err(RegistryError::Trigger(S::NAME)),
        };
        let runner = Runner::new(
            shape,
            trigger,
            queue,
            self.pool.clone(),
            self.outbox.clone(),
            self.clock.clone(),
        );
        let entry = Entry {
            config: S::CONFIG,
            invocable: Box::new(runner),
        };
        if self.entries.insert(S::NAME, entry).is_some() {
            return Err(RegistryError::Twice(S::NAME));
        }
        Ok(self)
    }

    /// The functions' names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.entries.keys().copied().collect()
    }

    /// Runs one invocation of the function `name` whose request body is `body`, without a socket.
    /// `None` when there is no such function.
    pub async fn invoke(
        &self,
        name: &str,
        body: &[u8],
        call: &Call,
    ) -> Option<Result<(), InvocationFailed>> {
        Some(self.entries.get(name)?.invocable.invoke(body, call).await)
    }

    /// The queues that messages come from.
    pub(crate) fn queues(&self) -> Vec<&str> {
        let entries = self.entries.values();
        entries.map(|entry| entry.invocable.queue()).collect()
    }

    /// Gives messages that the broker has given up to the function whose queue they were in.
    pub(crate) async fn take_back(
        &self,
        queue: &str,
        given_up: Vec<GivenUp>,
    ) -> Result<(), String> {
        let mut entries = self.entries.values();
        match entries.find(|entry| entry.invocable.queue() == queue) {
            Some(entry) => entry.invocable.take_back(given_up).await,
            None => Ok(()),
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Compares the functions in `app_root` with those of this binary: each folder there must be a
    /// function of ours with the very same `function.json`. Functions without a folder are fine: a
    /// team can deploy a subset.
    pub fn check_app(&self, app_root: &Path) -> Result<(), RegistryError> {
        let unreadable = |path: &Path, source| RegistryError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let folders = std::fs::read_dir(app_root).map_err(|error| unreadable(app_root, error))?;
        for folder in folders {
            let folder = folder.map_err(|error| unreadable(app_root, error))?.path();
            let file = folder.join("function.json");
            if !file.is_file() {
                continue;
            }
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let entry = self
                .entries
                .get(name)
                .ok_or_else(|| RegistryError::Unknown {
                    folder: folder.clone(),
                    known: self.names().join(", "),
                })?;
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
            let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            if text != entry.config && parsed(&text) != parsed(entry.config) {
                return Err(RegistryError::Differs(file));
            }
        }
        Ok(())
    }
}
