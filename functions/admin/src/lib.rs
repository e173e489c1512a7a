//! What operators need: to see what ran, what failed and why, what comes next and who changed what, and to
//! put it right.
//!
//! `admin-api` is one HTTP function, whose paths begin with `ops/`. A request comes to a route (`routes`),
//! whose role its caller must have (`access`), and then to what the route is about: [`functions`](crate) and
//! so on, each in a module of its own. Whatever it changes it changes in one transaction with an
//! entry of the audit. What it does not do it says as a problem (`problem`).

mod access;
mod problem;

use bytes::Bytes;
use http::{Request, Response};
use nightshift_handler::{HttpFunction, Registry, RouteValues};

pub use access::{Access, Principal, Role};
pub use problem::{Kind, Problem};

/// The function `admin-api`.
#[derive(Debug)]
pub struct Api {
    access: Access,
}

impl Api {
    /// For those whom `access` lets in.
    pub fn new(access: Access) -> Self {
        Self { access }
    }
}

impl HttpFunction for Api {
    const NAME: &'static str = "admin-api";
    const CONFIG: &'static str = include_str!("../api/function.json");

    async fn answer(
        &self,
        request: Request<Bytes>,
        _route: RouteValues,
        _app: &Registry,
    ) -> Response<Bytes> {
        match self.access.admit(&request, Role::Reader).await {
            Ok(_) => Problem::not_found("no such path").into_response(),
            Err(problem) => problem.into_response(),
        }
    }
}
