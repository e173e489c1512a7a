//! What operators need: to see what ran, what failed and why, what comes next and who changed what, and to
//! put it right.
//!
//! `admin-api` is one HTTP function, whose paths begin with `ops/`. A request comes to a route (`routes`),
//! whose role its caller must have (`access`), and then to what the route is about,
//! each in a module of its own. Whatever it changes it changes in one transaction with an
//! entry of the audit. What it does not do it says as a problem (`problem`).

mod access;
mod ask;
mod audit;
mod dead_letters;
mod functions;
mod health;
mod limits;
mod messages;
mod openapi;
mod page;
mod problem;
mod queues;
mod redrive;
mod routes;
mod runs;
mod schedules;
mod settings;
mod trace;

use bytes::Bytes;
use http::{Request, Response};
use nightshift_handler::{HttpFunction, Registry, RouteValues};
use nightshift_postgres::in_time;
use tokio::sync::Semaphore;

pub use access::{Access, Principal, Role};
pub use problem::{Kind, Problem};
pub use settings::Settings;

use ask::{Answer, Ask, PATIENCE};

/// The function `admin-api`.
#[derive(Debug)]
pub struct Api {
    access: Access,
    settings: Settings,
    /// How many transactions of this process may be about operators' questions.
    turns: Semaphore,
}

/// That many: the work of functions needs the connections more.
const TURNS: usize = 3;

/// The longest body that is answered for, in bytes. The handler reads somewhat more, so that what is too long
/// gets an answer in the form of the others.
const MAX_BODY_BYTES: usize = 1 << 20;

impl Api {
    /// For those whom `access` lets in; `settings` are what the process has read.
    pub fn new(access: Access, settings: Settings) -> Self {
        Self {
            access,
            settings,
            turns: Semaphore::new(TURNS),
        }
    }

    async fn ask(&self, request: &Request<Bytes>, path: &str, app: &Registry) -> Answer {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let found = routes::find(request.method().as_str(), &path);
        // Who is not known learns nothing about paths either.
        let least = found
            .as_ref()
            .map_or(Role::Reader, |(found, _)| found.least);
        let principal = self.access.admit(request, least).await?;
        let (operation, parameters) = found?;
        if request.body().len() > MAX_BODY_BYTES {
            let what = format!("the body has more than {MAX_BODY_BYTES} bytes");
            return Err(Problem::new(Kind::TooLarge, what));
        }
        let ask = Ask {
            api: self,
            app,
            principal,
            request,
            parameters,
        };
        in_time(PATIENCE, (operation.answer)(&ask)).await
    }
}

impl HttpFunction for Api {
    const NAME: &'static str = "admin-api";
    const CONFIG: &'static str = include_str!("../api/function.json");
    const MAX_BODY_BYTES: usize = 16 * MAX_BODY_BYTES;

    async fn answer(
        &self,
        request: Request<Bytes>,
        route: RouteValues,
        app: &Registry,
    ) -> Response<Bytes> {
        let path = route.into_iter().find_map(|(_, value)| value);
        let answer = self.ask(&request, &path.unwrap_or_default(), app).await;
        answer.unwrap_or_else(Problem::into_response)
    }
}
