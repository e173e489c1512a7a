//! Where Redis is.

use nightshift_settings::{ExposeSecret, Reader};
use redis::{Client, IntoConnectionInfo};

/// Where Redis is. Does not show its password.
#[derive(Clone)]
pub struct RedisSettings {
    pub(crate) client: Client,
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
        client.map(|client| Self { client })
    }
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

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
