//! Where Redis is, and who we are there.

use std::sync::Arc;

use nightshift_identity::EntraCredential;
use nightshift_settings::{ExposeSecret, Reader};
use redis::{Client, ConnectionAddr, IntoConnectionInfo};

/// Where Redis is. Does not show its password.
#[derive(Clone)]
pub struct RedisSettings {
    pub(crate) client: Client,
    /// Whose tokens are the password.
    pub(crate) credential: Option<Arc<EntraCredential>>,
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings").finish_non_exhaustive()
    }
}

impl RedisSettings {
    /// The setting that holds the connection URL.
    pub const URL: &'static str = "NIGHTSHIFT_REDIS_URL";

    /// Reads `NIGHTSHIFT_REDIS_URL`, `redis://` or, with TLS, `rediss://`. `None`: it is not set, or a
    /// problem was written down.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let url = reader.maybe_secret(Self::URL)?;
        let url = url.expose_secret().trim();
        // What is behind a `#` would switch off the check of the server's certificate.
        let is_ours = ["redis://", "rediss://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
            && !url.contains('#');
        let info = url.into_connection_info().ok().filter(|_| is_ours);
        // The parser's own message may quote the URL, and with it the password.
        let client = info.and_then(|info| Client::open(info).ok());
        if client.is_none() {
            reader.problem(
                Self::URL,
                "is not a URL of the form redis://user:password@host:6379/0, or rediss:// with TLS; what is no letter or digit in a password is written as %XX",
            );
        }
        client.map(|client| Self {
            client,
            credential: None,
        })
    }

    /// The same with tokens of `credential` in place of a password: the user in the URL is then the object
    /// id of that identity.
    ///
    /// # Errors
    /// When the URL has no user, has a password too, or would show tokens to who listens.
    pub fn with_credential(mut self, credential: EntraCredential) -> Result<Self, String> {
        let info = self.client.get_connection_info();
        let user = info.redis_settings().username();
        if user.is_none_or(str::is_empty) {
            return Err(
                "needs the object id of the identity as its user, as in rediss://OBJECT-ID@host:10000, since tokens are the password"
                    .to_owned(),
            );
        }
        if info.redis_settings().password().is_some() {
            return Err("has a password, and tokens are to be one; keep one of them".to_owned());
        }
        let is_safe = match info.addr() {
            ConnectionAddr::Tcp(host, _) => {
                ["localhost", "127.0.0.1", "::1"].contains(&host.as_str())
            }
            _ => true,
        };
        if !is_safe {
            return Err("must begin with rediss://, since tokens are sent there".to_owned());
        }
        self.credential = Some(Arc::new(credential));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use nightshift_identity::{Identity, ManagedEndpoint, ManagedId};
    use nightshift_settings::MapSource;
    use nightshift_time::SystemClock;

    use super::*;

    fn read(url: &'static str) -> Result<bool, String> {
        let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let settings = RedisSettings::read(&mut reader);
        let problems = reader.finish(&[]).map_err(|problems| problems.to_string());
        assert!(!format!("{settings:?}").contains("hunter2"));
        problems.map(|()| settings.is_some())
    }

    #[test]
    fn a_url_is_optional_and_may_ask_for_tls() {
        assert_eq!(read(""), Ok(false));
        assert_eq!(read("redis://:hunter2@127.0.0.1:6379"), Ok(true));
        assert_eq!(
            read("rediss://user:hunter2@cache.example:10000/0"),
            Ok(true)
        );
    }

    #[test]
    fn with_tokens_a_url_names_the_identity_and_nothing_else_and_shows_them_to_nobody() {
        let with_tokens = |url: &'static str| {
            let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
            let settings = RedisSettings::read(&mut Reader::new(&source)).unwrap();
            let identity = Identity::Managed {
                endpoint: ManagedEndpoint::MetadataService,
                id: ManagedId::System,
            };
            let credential = EntraCredential::new(identity, SystemClock::shared());
            settings.with_credential(credential).map(|_| ())
        };
        for good in [
            "rediss://11111111-2222@cache.example:10000",
            "redis://11111111-2222@127.0.0.1:6379",
        ] {
            assert_eq!(with_tokens(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("rediss://cache.example:10000", "object id"),
            ("rediss://me:hunter2@cache.example:10000", "has a password"),
            ("redis://me@cache.example:6379", "rediss://"),
        ] {
            let said = with_tokens(bad).unwrap_err();
            assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_being_shown() {
        for url in [
            "http://:hunter2@cache",
            "redis:hunter2",
            "redis://:hunter2@cache:port",
            "redis://:hunter2@cache/db",
            "rediss://:hunter2@cache#insecure",
            "unix:///tmp/hunter2",
        ] {
            let problems = read(url).unwrap_err();
            assert!(problems.contains("is not a URL"), "{problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }
}
