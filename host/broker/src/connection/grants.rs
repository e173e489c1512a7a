//! The tokens that a connection has set, and what ends with them.
//!
//! Each token opens a part of the namespace for a time. When one ends, the links end whose queue no
//! other token covers; when the last one ends, the connection does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_amqp::{condition, engine::LinkId, performative::AmqpError};

use super::{
    link::{Link, Node},
    state::Connection,
};
use crate::auth::Grant;

/// More tokens than this on one connection replace the oldest: a client sets one per entity.
const MAX_GRANTS: usize = 1_024;

/// The longest pause before a token's end is looked at again, since the wall clock may be set.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the client of a connection may do.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Those that have not ended when they were last looked at.
    grants: Vec<Grant>,
    /// Whether there ever was one.
    was_given: bool,
}

impl Grants {
    /// Adds a grant; one for the same scope is replaced.
    pub(super) fn add(&mut self, grant: Grant) {
        self.was_given = true;
        self.grants.retain(|old| !old.same_scope(&grant));
        if self.grants.len() >= MAX_GRANTS {
            self.grants.remove(0);
        }
        self.grants.push(grant);
    }

    /// Whether one was ever given.
    pub(super) fn was_given(&self) -> bool {
        self.was_given
    }

    /// Whether there were grants and all have ended.
    pub(super) fn have_ended(&self) -> bool {
        self.was_given && self.grants.is_empty()
    }

    /// Whether one of them covers the entity at `path`, which must be in lower case.
    pub(super) fn cover(&self, path: &str, now: DateTime<Utc>) -> bool {
        self.grants.iter().any(|grant| grant.covers(path, now))
    }

    /// Forgets those that have ended. Says whether there were any.
    fn forget_ended(&mut self, now: DateTime<Utc>) -> bool {
        let before = self.grants.len();
        self.grants.retain(|grant| grant.is_valid(now));
        self.grants.len() < before
    }

    /// When to look for ended ones again, unless all of them last for ever.
    pub(super) fn time_left(&self, now: DateTime<Utc>) -> Option<Duration> {
        let left = self.grants.iter().filter_map(|grant| grant.time_left(now));
        left.min().map(|left| left.min(LONGEST_PAUSE))
    }
}

impl Connection {
    /// Ends the grants whose time has come, and with them the links that no other one covers.
    pub(super) fn end_grants(&mut self) {
        let now = self.shared.clock.now();
        if !self.grants.forget_ended(now) || self.grants.have_ended() {
            // With the last grant the whole connection ends.
            return;
        }
        let is_uncovered = |link: &Link| {
            let path = self.path_of(link)?;
            (!self.grants.cover(&path, now)).then_some(path)
        };
        let uncovered: Vec<(LinkId, String)> = self
            .links
            .iter()
            .filter_map(|(id, link)| Some((*id, is_uncovered(link)?)))
            .collect();
        for (id, path) in uncovered {
            let text = format!("the token for {path:?} has expired");
            let error = AmqpError::new(condition::UNAUTHORIZED_ACCESS, text);
            if let Some(Link::Accepting(_)) = self.links.get(&id) {
                self.forget_link(id);
                self.refuse(id, error);
            } else {
                self.forget_link(id);
                self.tell(|engine| engine.detach(id, true, Some(error)));
            }
        }
    }

    /// The path of the entity that a link leads to, in lower case. Tokens are put without one.
    fn path_of(&self, link: &Link) -> Option<String> {
        let name = match link {
            Link::Sender(link) => &self.entities[link.entity].name,
            Link::Receiver(link) => &link.queue.name,
            Link::Accepting(link) => &link.queue.name,
            Link::Requests(link) => return path_of_node(&link.node),
            Link::Responses(link) => return path_of_node(&link.node),
        };
        Some(name.to_lowercase())
    }
}

fn path_of_node(node: &Node) -> Option<String> {
    match node {
        Node::Cbs => None,
        Node::Management(address) => Some(address.path.clone()),
    }
}
