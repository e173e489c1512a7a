//! Permission to use an entity: tokens put to the broker's `$cbs` node.
//!
//! Before a link to an entity is opened, a token for that entity is sent to `$cbs`, and the broker
//! answers with a status code. The permission holds for the connection, so the senders and
//! receivers of one entity share it: each holds a [`Grant`] of it. While one lives, a small task
//! renews the token when three quarters of its life are over; with the last the task ends. A
//! failed renewal is tried again every few seconds: the old token still has a quarter of its life,
//! and if the broker really takes the permission away it detaches the links, which their owners
//! see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_time::SharedClock;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

use crate::cbs::{self, TokenKind};
use crate::client::ClientOptions;
use crate::connection::{Attached, Command, Connection, LinkHandle, LinkRole, LinkSpec};
use crate::connection_string::{ConnectionString, Credential};
use crate::error::BusError;
use crate::sas;
use crate::token::SCOPE;

/// Where `$cbs` sends its answers: an address that only this connection knows.
const REPLY_TO: &str = "nightshift-cbs-answers";

/// How long to wait before a failed renewal is tried again.
const RENEWAL_RETRY: Duration = Duration::from_secs(5);

/// The shortest time between two renewals: what a clock that is ahead, or a provider of tokens that
/// have ended, makes of it.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

/// Keeps an entity's permission alive, and the means to renew it.
pub(crate) struct Grant {
    _permission: Arc<Permission>,
    _putter: Arc<TokenPutter>,
}

/// The permission to use one entity.
#[derive(Default)]
struct Permission {
    /// Set when the broker has said yes for the first time.
    granted: OnceCell<()>,
    renewal: Mutex<Option<AbortHandle>>,
}

impl Drop for Permission {
    fn drop(&mut self) {
        let renewal = self
            .renewal
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = renewal.take() {
            task.abort();
        }
    }
}

/// Obtains permissions for the entities of one connection.
pub(crate) struct Authorizer {
    putter: Arc<TokenPutter>,
    permissions: Mutex<HashMap<String, Weak<Permission>>>,
}

impl Authorizer {
    pub(crate) fn new(
        connection: Arc<Connection>,
        connection_string: &ConnectionString,
        options: &ClientOptions,
    ) -> Self {
        let putter = TokenPutter {
            connection,
            host: connection_string.host().to_owned(),
            credential: connection_string.credential().clone(),
            clock: options.clock.clone(),
            token_lifetime: options.token_lifetime,
            try_timeout: options.try_timeout,
            node: tokio::sync::Mutex::new(None),
            next_request: AtomicU64::new(0),
        };
        Self {
            putter: Arc::new(putter),
            permissions: Mutex::default(),
        }
    }

    /// Returns when the broker has taken a token for `entity`.
    pub(crate) async fn authorize(&self, entity: &str) -> Result<Grant, BusError> {
        let permission = self.permission(entity);
        let grant = || async {
            let life = self.putter.put(entity).await?;
            self.keep_renewed(entity, &permission, life);
            Ok::<(), BusError>(())
        };
        permission.granted.get_or_try_init(grant).await?;
        Ok(Grant {
            _permission: permission,
            _putter: Arc::clone(&self.putter),
        })
    }

    fn permission(&self, entity: &str) -> Arc<Permission> {
        let mut permissions = self
            .permissions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(permission) = permissions.get(entity).and_then(Weak::upgrade) {
            return permission;
        }
        permissions.retain(|_, permission| permission.strong_count() > 0);
        let permission = Arc::new(Permission::default());
        permissions.insert(entity.to_owned(), Arc::downgrade(&permission));
        permission
    }

    /// Renews a token that has so long to live; one without an end cannot be renewed.
    fn keep_renewed(&self, entity: &str, permission: &Permission, life: Option<Duration>) {
        let Some(life) = life else {
            return;
        };
        let putter = Arc::downgrade(&self.putter);
        let task = tokio::spawn(renew(putter, entity.to_owned(), life));
        let mut renewal = permission
            .renewal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *renewal = Some(task.abort_handle());
    }
}

/// Renews an entity's token again and again. The task is aborted with its permission; the weak
/// reference keeps it from holding the connection open meanwhile.
async fn renew(putter: Weak<TokenPutter>, entity: String, life: Duration) {
    let mut wait = renewal_wait(life);
    loop {
        tokio::time::sleep(wait).await;
        let Some(putter) = putter.upgrade() else {
            return;
        };
        if putter.connection.is_closed() {
            return;
        }
        match putter.put(&entity).await {
            Ok(life) => wait = life.map_or(RENEWAL_RETRY, renewal_wait),
            Err(error) => {
                tracing::warn!(
                    bus.entity = %entity,
                    error = &error as &dyn std::error::Error,
                    "the access token could not be renewed; trying again"
                );
                wait = RENEWAL_RETRY.min(wait);
            }
        }
    }
}

/// When to renew a token that has so long to live.
fn renewal_wait(life: Duration) -> Duration {
    life.mul_f64(0.75).max(SHORTEST_WAIT)
}

/// Makes tokens and puts them.
struct TokenPutter {
    connection: Arc<Connection>,
    host: String,
    credential: Credential,
    clock: SharedClock,
    token_lifetime: Duration,
    try_timeout: Duration,
    /// The links to `$cbs`, opened when first needed.
    node: tokio::sync::Mutex<Option<Arc<LinkHandle>>>,
    next_request: AtomicU64,
}

impl TokenPutter {
    /// A token for `audience`, with its end if another can be made then.
    async fn token(
        &self,
        audience: &str,
    ) -> Result<(TokenKind, SecretString, Option<DateTime<Utc>>), BusError> {
        match &self.credential {
            Credential::SharedAccessKey { name, key } => {
                let expires_at = TimeDelta::from_std(self.token_lifetime)
                    .ok()
                    .and_then(|lifetime| self.clock.now().checked_add_signed(lifetime))
                    .unwrap_or(DateTime::<Utc>::MAX_UTC);
                let token = sas::sign(audience, name, key, expires_at);
                Ok((TokenKind::SharedAccess, token, Some(expires_at)))
            }
            Credential::SharedAccessSignature(token) => {
                Ok((TokenKind::SharedAccess, SecretString::clone(token), None))
            }
            Credential::Provider(provider) => {
                let answer = provider.get_token(SCOPE);
                let timeout = BusError::Timeout {
                    operation: "asking for an access token",
                    after: self.try_timeout,
                };
                let answer = tokio::time::timeout(self.try_timeout, answer).await;
                let made = answer.map_err(|_| timeout)?;
                let made = made.map_err(|source| BusError::Credential {
                    source: Arc::from(source),
                })?;
                Ok((TokenKind::Jwt, made.token, Some(made.expires_at)))
            }
        }
    }

    /// Puts a token for `entity`. Says how long it has to live, if another can be made then.
    async fn put(&self, entity: &str) -> Result<Option<Duration>, BusError> {
        let audience = self.audience(entity);
        let (kind, token, expires_at) = self.token(&audience).await?;
        let life = |end: DateTime<Utc>| (end - self.clock.now()).to_std().unwrap_or_default();
        let id = format!("cbs-{}", self.next_request.fetch_add(1, Ordering::Relaxed));
        let payload = cbs::put_token(&id, REPLY_TO, &audience, kind, &token, expires_at);
        let node = self.node().await?;
        let link = node.key();
        let answer = self
            .connection
            .ask("putting an access token", |reply| Command::Request {
                link,
                id,
                payload,
                reply,
            })
            .await
            .and_then(|answer| answer);
        if matches!(answer, Err(BusError::Detached { .. })) {
            // The next attempt opens the links anew.
            self.node
                .lock()
                .await
                .take_if(|open| Arc::ptr_eq(open, &node));
        }
        cbs::read_answer(entity, &answer?)?;
        Ok(expires_at.map(life))
    }

    async fn node(&self) -> Result<Arc<LinkHandle>, BusError> {
        let mut node = self.node.lock().await;
        if let Some(open) = &*node {
            return Ok(Arc::clone(open));
        }
        let spec = LinkSpec {
            entity: cbs::NODE.to_owned(),
            address: cbs::NODE.to_owned(),
            role: LinkRole::Requests {
                reply_to: REPLY_TO.to_owned(),
            },
        };
        let (link, Attached { .. }) = self.connection.attach(spec).await?;
        Ok(Arc::clone(node.insert(Arc::new(link))))
    }

    fn audience(&self, entity: &str) -> String {
        if self.host.contains(':') {
            format!("sb://[{}]/{entity}", self.host)
        } else {
            format!("sb://{}/{entity}", self.host)
        }
    }
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::Value;

    use crate::peer::{Peer, Willing};
    use crate::{ClientOptions, ReceiverOptions, SubQueue};

    #[tokio::test]
    async fn a_signature_of_the_connection_string_is_put_as_it_is() {
        const SIGNATURE: &str =
            "SharedAccessSignature sr=sb%3A%2F%2Fh%2Fq&sig=a%2Bb%3D&se=1767225600&skn=rule";
        let peer = Peer::start(Willing).await;
        let credential = format!("SharedAccessSignature={SIGNATURE}");
        let client = peer.client_of(&credential, ClientOptions::default()).await;
        client.create_sender("q").await.unwrap();
        peer.noted(|log| {
            let (token, words) = &log.tokens[0];
            assert_eq!(token, SIGNATURE);
            let kind = Value::from("servicebus.windows.net:sastoken");
            assert_eq!(words.get("type"), Some(&kind));
            assert_eq!(
                words.get("expiration"),
                None,
                "its end is its maker's affair"
            );
        });
    }

    #[tokio::test]
    async fn one_token_serves_an_entity_its_sub_queues_and_its_management() {
        let peer = Peer::start(Willing).await;
        let client = peer.client().await;
        let sender = client.create_sender("q").await.unwrap();
        let dead = ReceiverOptions {
            sub_queue: Some(SubQueue::DeadLetter),
            ..ReceiverOptions::default()
        };
        let dead = client.create_receiver("q", dead).await.unwrap();
        sender.cancel_scheduled_messages(&[1]).await.unwrap();
        client.create_sender("other").await.unwrap();
        drop(dead);
        peer.noted(|log| {
            let name = |(_, words): &(String, nightshift_amqp::Map)| words.get("name").cloned();
            let names: Vec<_> = log.tokens.iter().filter_map(name).collect();
            let expected = ["sb://127.0.0.1/q", "sb://127.0.0.1/other"].map(Value::from);
            assert_eq!(names, expected);
        });
    }
}
