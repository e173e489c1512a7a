//! The list of functions a handler process knows, by name.

mod caller;
mod error;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use nightshift_bindings::function_json::{
    Binding, DataType, EntityPath, FunctionJson, ServiceBusTrigger,
};
use nightshift_bindings::host_json::HttpOptions;
use nightshift_bindings::route::RouteValues;
use nightshift_cache::Cache;
use nightshift_job::{
    BatchFunction, ExternalFunction, Listed, ListedFunction, MAX_NAME_LENGTH, RateLimit,
    ScheduledFunction, TransactionalFunction,
};
use nightshift_postgres::run::LongFunction;
use nightshift_telemetry::causes;
use nightshift_telemetry::trace::TRACEPARENT;
use nightshift_time::SharedClock;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use warp::http::{Request, Response};

pub(crate) use self::caller::{Caller, Invocable};
pub use self::error::RegistryError;
use crate::call::{Call, InvocationFailed};
use crate::drain::GivenUp;
use crate::http::{Door, HttpFunction, below};
use crate::outbox::Outbox;
use crate::rate::Limiter;
use crate::runner::Runner;
use crate::schedule::{self, Timed, Timer};
use crate::settings::CONNECTION;
use crate::shape::{External, InCommit, Long, OneByOne, Shape};
use crate::span::Span;

/// The least that a lease of a long run may be: three renewals a second apart.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

struct Entry {
    config: &'static str,
    caller: Caller,
}

/// The functions of one process.
pub struct Registry {
    pool: PgPool,
    outbox: Outbox,
    clock: SharedClock,
    release: DateTime<Utc>,
    limiter: Limiter,
    /// By name, each with the first function that names it.
    limits: BTreeMap<&'static str, (RateLimit, &'static str)>,
    /// What the paths of all HTTP requests begin with.
    route_prefix: String,
    entries: BTreeMap<&'static str, Entry>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty list; functions run against `pool` and send by `outbox`.
    pub fn new(pool: PgPool, outbox: Outbox, clock: SharedClock) -> Self {
        Self {
            pool,
            outbox,
            release: clock.now(),
            clock,
            limiter: Limiter::default(),
            limits: BTreeMap::new(),
            route_prefix: HttpOptions::default().route_prefix,
            entries: BTreeMap::new(),
        }
    }

    /// Which release this is, if it is not that of the moment: when it was deployed. Of two with different
    /// schedules for one function the newer one's counts.
    #[must_use]
    pub fn released_at(self, release: DateTime<Utc>) -> Self {
        Self { release, ..self }
    }

    /// Where the slots of rate limits come from; to be said before the functions are. Without it no limit
    /// can be kept to, and each means what it does while Redis is away.
    #[must_use]
    pub fn with_cache(self, cache: Cache) -> Self {
        let limiter = Limiter::new(Some(cache));
        Self { limiter, ..self }
    }

    /// What the paths of HTTP requests begin with, if it is not `api`: `extensions.http.routePrefix` of
    /// `host.json`.
    #[must_use]
    pub fn with_route_prefix(self, route_prefix: String) -> Self {
        Self {
            route_prefix,
            ..self
        }
    }

    /// Adds a batch function.
    pub fn with_batch<F: BatchFunction>(self, function: F) -> Result<Self, RegistryError> {
        self.with_shape(InCommit::<_, true>(function))
    }

    /// Adds a transactional function.
    pub fn with_transactional<F: TransactionalFunction>(
        self,
        function: F,
    ) -> Result<Self, RegistryError> {
        self.with_shape(InCommit::<_, false>(OneByOne(function)))
    }

    /// Adds an external function.
    pub fn with_external<F: ExternalFunction>(self, function: F) -> Result<Self, RegistryError> {
        self.with_shape(External(function))
    }

    /// Adds a function whose work takes longer than a transaction may.
    pub fn with_long<F: LongFunction>(self, function: F) -> Result<Self, RegistryError> {
        if F::LEASE < SHORTEST_LEASE {
            return Err(RegistryError::Lease {
                name: F::NAME,
                found: F::LEASE,
            });
        }
        let pool = self.pool.clone();
        self.with_shape(Long { function, pool })
    }

    fn with_shape<S: Shape>(mut self, shape: S) -> Result<Self, RegistryError> {
        if let Some(limit) = S::POLICY.rate {
            self.know_limit(S::NAME, limit)?;
        }
        let found = S::POLICY.concurrency;
        if found == 0 || S::IS_IN_COMMIT && found > 1 {
            return Err(RegistryError::Concurrency {
                name: S::NAME,
                found,
                is_in_commit: S::IS_IN_COMMIT,
            });
        }
        let (trigger, queue) = queue_of(S::NAME, S::CONFIG)?;
        let runner = Runner::new(
            shape,
            trigger,
            queue,
            self.pool.clone(),
            self.outbox.clone(),
            self.clock.clone(),
            &self.limiter,
        );
        self.with(S::NAME, S::CONFIG, Caller::Messages(Box::new(runner)))
    }

    fn know_limit(&mut self, name: &'static str, limit: RateLimit) -> Result<(), RegistryError> {
        limit.check().map_err(|source| RegistryError::RateLimit {
            name,
            limit: limit.name,
            source,
        })?;
        let (first, one) = self.limits.entry(limit.name).or_insert((limit, name));
        if *first == limit {
            return Ok(());
        }
        Err(RegistryError::RateLimitsDiffer {
            limit: limit.name,
            one,
            other: name,
        })
    }

    /// Adds a function that the clock calls. The `schedule` of its `function.json` must be the wake-up
    /// that its schedule asks for.
    pub fn with_schedule<S: ScheduledFunction>(self, function: S) -> Result<Self, RegistryError> {
        if S::NAME.len() > MAX_NAME_LENGTH {
            return Err(RegistryError::LongName(S::NAME));
        }
        let timetable = S::SCHEDULE
            .read()
            .map_err(|source| RegistryError::Schedule {
                name: S::NAME,
                source,
            })?;
        let config = parse(S::NAME, S::CONFIG)?;
        let Some(Binding::TimerTrigger(trigger)) = config.trigger() else {
            return Err(RegistryError::TimerTrigger(S::NAME));
        };
        let wake_up = timetable.wake_up();
        if trigger.schedule != wake_up {
            return Err(RegistryError::WakeUp {
                name: S::NAME,
                found: trigger.schedule.clone(),
                wake_up,
            });
        }
        let (_, queue) = queue_of(S::NAME, S::WORK)?;
        let (pool, outbox) = (self.pool.clone(), self.outbox.clone());
        let timer = Timer::new(function, queue, timetable, pool, outbox);
        self.with(S::NAME, S::CONFIG, Caller::Clock(Box::new(timer)))
    }

    /// Adds a function that answers HTTP requests.
    pub fn with_http<F: HttpFunction>(self, function: F) -> Result<Self, RegistryError> {
        let config = parse(F::NAME, F::CONFIG)?;
        let door = Door::new(function, &config)?;
        self.with(F::NAME, F::CONFIG, Caller::Requests(door))
    }

    fn with(
        mut self,
        name: &'static str,
        config: &'static str,
        caller: Caller,
    ) -> Result<Self, RegistryError> {
        let entry = Entry { config, caller };
        if self.entries.insert(name, entry).is_some() {
            return Err(RegistryError::Twice(name));
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
        Some(match &self.entries.get(name)?.caller {
            Caller::Messages(invocable) => invocable.invoke(body, call).await,
            Caller::Clock(timer) => {
                let span = Span::of(name, "timer", call.traceparent.as_deref());
                let invoked = schedule::invoke(timer.as_ref(), self.release, call);
                let invoked = span.around(invoked).await;
                span.end(invoked.as_ref().err().map(|error| causes(error)));
                invoked
            }
            Caller::Requests(_) => return None,
        })
    }

    /// Answers an HTTP request as the function does whose route it fits, without a socket. `None` when there
    /// is none.
    pub async fn respond(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (door, values) = self.door(request.method().as_str(), request.uri().path())?;
        let parent = request.headers().get(TRACEPARENT);
        let parent = parent.and_then(|context| context.to_str().ok());
        let span = Span::of(door.name, "http", parent);
        let answer = span.around(door.function.answer(request, values, self));
        let answer = answer.await;
        let status = answer.status();
        span.end(
            status
                .is_server_error()
                .then(|| format!("answered {status}")),
        );
        Some(answer)
    }

    /// The function that answers HTTP requests for `path`, and what its route's parameters are; of several
    /// the one whose route says most.
    pub(crate) fn door(&self, method: &str, path: &str) -> Option<(&Door, RouteValues)> {
        let path = below(&self.route_prefix, path)?;
        let doors = self
            .entries
            .values()
            .filter_map(|entry| match &entry.caller {
                Caller::Requests(door) => Some(door),
                Caller::Messages(_) | Caller::Clock(_) => None,
            });
        let open = doors.filter_map(|door| Some((door, door.matches(method, &path)?)));
        open.min_by_key(|(door, _)| door.route.precedence())
    }

    /// Whether the function `name` is called by the host's own invocations.
    pub(crate) fn is_invoked(&self, name: &str) -> bool {
        let entry = self.entries.get(name);
        entry.is_some_and(|entry| !matches!(entry.caller, Caller::Requests(_)))
    }

    pub(crate) fn callers(&self) -> impl Iterator<Item = (&'static str, &Caller)> {
        self.entries
            .iter()
            .map(|(name, entry)| (*name, &entry.caller))
    }

    pub(crate) fn caller(&self, name: &str) -> Option<&Caller> {
        Some(&self.entries.get(name)?.caller)
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn limits(&self) -> impl Iterator<Item = &(RateLimit, &'static str)> {
        self.limits.values()
    }

    /// The functions, in order, as somebody compares them who does not know them.
    pub fn functions(&self) -> Vec<ListedFunction> {
        let listed = self.entries.iter().map(|(name, entry)| ListedFunction {
            function: (*name).to_owned(),
            config: entry.config.to_owned(),
        });
        listed.collect()
    }

    /// The functions that the clock calls, in order.
    pub fn schedules(&self) -> Vec<Listed> {
        self.timers().map(Timed::listed).collect()
    }

    /// Looks at every schedule, each as soon as the database lets it and then every minute, until `stop`.
    pub(crate) async fn watch_schedules(&self, stop: &CancellationToken) {
        let watches = self
            .timers()
            .map(|timer| schedule::watch(timer, self.release, stop));
        join_all(watches).await;
    }

    fn timers(&self) -> impl Iterator<Item = &dyn Timed> {
        let callers = self.entries.values().map(|entry| &entry.caller);
        callers.filter_map(|caller| match caller {
            Caller::Clock(timer) => Some(timer.as_ref()),
            Caller::Messages(_) | Caller::Requests(_) => None,
        })
    }

    fn invocables(&self) -> impl Iterator<Item = &dyn Invocable> {
        let callers = self.entries.values().map(|entry| &entry.caller);
        callers.filter_map(|caller| match caller {
            Caller::Messages(invocable) => Some(invocable.as_ref()),
            Caller::Clock(_) | Caller::Requests(_) => None,
        })
    }

    /// How the messages of the function `name` come; `None` when no messages call it.
    pub fn trigger(&self, name: &str) -> Option<&ServiceBusTrigger> {
        match &self.entries.get(name)?.caller {
            Caller::Messages(invocable) => Some(invocable.trigger()),
            Caller::Clock(_) | Caller::Requests(_) => None,
        }
    }

    /// How many messages of one concurrency key a function works on at a time, by its name.
    pub(crate) fn places(&self) -> BTreeMap<&'static str, u32> {
        let callers = self.callers().filter_map(|(name, caller)| match caller {
            Caller::Messages(invocable) => Some((name, invocable.policy().concurrency)),
            Caller::Clock(_) | Caller::Requests(_) => None,
        });
        callers.collect()
    }

    /// The queues that messages come from.
    pub(crate) fn queues(&self) -> Vec<&str> {
        self.invocables().map(Invocable::queue).collect()
    }

    /// Gives a message that the broker has given up to the function whose queue it was in.
    pub(crate) async fn take_back(&self, queue: &str, given_up: GivenUp) -> Result<(), String> {
        let mut invocables = self.invocables();
        match invocables.find(|invocable| invocable.queue() == queue) {
            Some(invocable) => invocable.take_back(given_up).await,
            None => Ok(()),
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What time it is.
    pub fn clock(&self) -> &SharedClock {
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

fn parse(name: &'static str, text: &str) -> Result<FunctionJson, RegistryError> {
    let file = Path::new(name).join("function.json");
    FunctionJson::parse(&file, text).map_err(|problems| RegistryError::Config { name, problems })
}

/// The trigger in the `function.json` in `config`, for `name`, and the queue that it names.
fn queue_of(
    name: &'static str,
    config: &str,
) -> Result<(ServiceBusTrigger, String), RegistryError> {
    let config = parse(name, config)?;
    let trigger = config
        .service_bus_trigger()
        .filter(|trigger| trigger.data_type == DataType::Binary && trigger.connection == CONNECTION)
        .ok_or(RegistryError::Trigger(name))?;
    match &trigger.entity {
        EntityPath::Queue(queue) if !queue.contains(['%', '/']) => {
            Ok((trigger.clone(), queue.clone()))
        }
        _ => Err(RegistryError::Trigger(name)),
    }
}
