//! `leaderboard-rollup-read`: boards for those who look at them.
//!
//! `GET leaderboards/<board>/<kind>[/<label>]/top` and its like, as docs/LEADERBOARDS.md lists them. What many
//! ask for is kept in the process for a second (`answers`), so that neither server notices how many they are;
//! behind that Redis is asked (`redis`), and where Redis is away, lost the board or does not hold so much of it,
//! Postgres (`postgres`), which knows all of it. All give the same page (`crate::page`).

mod answers;
mod ask;
mod postgres;
mod problem;
mod redis;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use nightshift_cache::board::Boards;
use nightshift_handler::{HttpFunction, Registry, RouteValues};

use answers::{Answer, Answers};
use ask::Ask;
use problem::Problem;

/// How long an answer that many ask for is given again without looking.
const FRESH: Duration = Duration::from_secs(1);

/// The function.
#[derive(Debug)]
pub struct Read {
    boards: Option<Boards>,
    database: postgres::Reader,
    answers: Answers,
}

impl Read {
    /// Reads what is shown in `boards`, and what is not there from the database.
    pub fn new(boards: Option<Boards>) -> Self {
        Self {
            boards,
            database: postgres::Reader::default(),
            answers: Answers::default(),
        }
    }

    /// What is asked for, from Redis or the database.
    async fn find(&self, app: &Registry, ask: &Ask) -> Result<Answer, Problem> {
        if let Some(boards) = &self.boards
            && let Some(body) = redis::page(boards, &self.database, app, ask).await?
        {
            return Ok(Answer::new(body));
        }
        Ok(Answer::new(self.database.page(app, ask).await?))
    }
}

impl HttpFunction for Read {
    const NAME: &'static str = "leaderboard-rollup-read";
    const CONFIG: &'static str = include_str!("../read/function.json");
    /// Whoever reads sends none.
    const MAX_BODY_BYTES: usize = 1 << 10;

    async fn answer(
        &self,
        request: Request<Bytes>,
        route: RouteValues,
        app: &Registry,
    ) -> Response<Bytes> {
        let path = route.into_iter().find_map(|(_, value)| value);
        let query = request.uri().query().unwrap_or_default();
        let found = match Ask::read(&path.unwrap_or_default(), query) {
            Err(problem) => Err(problem),
            Ok(ask) => {
                let found = Box::pin(self.find(app, &ask));
                if ask.is_for_many() {
                    self.answers.get(&ask, FRESH, found).await
                } else {
                    found.await
                }
            }
        };
        match found {
            Ok(answer) => answer.into_response(request.headers().get(header::IF_NONE_MATCH)),
            Err(problem) => problem.into_response(),
        }
    }
}
