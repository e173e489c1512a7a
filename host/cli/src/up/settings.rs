//! What the user brings along: each private server can be replaced by one of the user's own.

use std::str::FromStr;

use nightshift_bus::ConnectionString;
use nightshift_settings::{ExposeSecret, Problems, Reader, Source};
use nightshift_telemetry::LogFilter;
use sqlx::postgres::PgConnectOptions;

use crate::commands::settings::{BLOB, BUS, ELSEWHERE, POSTGRES, REDIS, STORAGE};

/// The user's own servers; `None` means a private one.
#[derive(Clone, Default)]
pub(super) struct Own {
    pub(super) postgres: Option<String>,
    pub(super) redis: Option<String>,
    pub(super) storage: Option<String>,
    pub(super) bus: Option<String>,
}

impl Own {
    /// Reads and checks everything before anything is started.
    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        LogFilter::read(&mut reader);
        let own = Self {
            postgres: checked(&mut reader, source, POSTGRES, check_postgres),
            redis: checked(&mut reader, source, REDIS, |text| {
                let is_url = text.starts_with("redis://") || text.starts_with("rediss://");
                if is_url {
                    Ok(())
                } else {
                    Err("is not a URL of the form redis://host:6379".into())
                }
            }),
            storage: [STORAGE, BLOB]
                .map(|name| checked(&mut reader, source, name, check_storage))
                .into_iter()
                .flatten()
                .last(),
            bus: checked(&mut reader, source, BUS, |text| {
                let parsed = ConnectionString::from_str(text).map(drop);
                parsed.map_err(|error| format!("is not a connection string: {error}"))
            }),
        };
        reader.finish(ELSEWHERE)?;
        Ok(own)
    }
}

fn check_postgres(text: &str) -> Result<(), String> {
    let has_scheme = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    // The parser's own message may quote the URL, and with it the password.
    if has_scheme && PgConnectOptions::from_str(text).is_ok() {
        return Ok(());
    }
    Err("is not a URL of the form postgres://user:password@host:5432/database".into())
}

fn check_storage(text: &str) -> Result<(), String> {
    let is_known = [
        "AccountName=",
        "BlobEndpoint=",
        "UseDevelopmentStorage=true",
    ]
    .iter()
    .any(|part| text.contains(part));
    if is_known {
        return Ok(());
    }
    Err("is not a storage connection string: it names no AccountName and no BlobEndpoint".into())
}

fn checked(
    reader: &mut Reader<'_>,
    source: &dyn Source,
    name: &str,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Option<String> {
    source.get(name)?;
    let text = reader.secret(name)?.expose_secret().to_owned();
    if let Err(what) = check(&text) {
        reader.problem(name, what);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn three_broken_settings_make_a_table_with_three_lines_and_no_secret() {
        let source: MapSource = [
            (POSTGRES, "mysql:/root:hunter2"),
            (BUS, "SharedAccessKey=hunter2"),
            ("NIGHTSHIFT_REDIS_ULR", "redis://:hunter2@db"),
        ]
        .into_iter()
        .collect();
        let problems = Own::read(&source).err().unwrap();
        assert_eq!(problems.0.len(), 3, "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }

    #[test]
    fn nothing_set_means_private_servers() {
        let own = Own::read(&MapSource::default()).ok().unwrap();
        assert!(own.postgres.is_none() && own.bus.is_none() && own.storage.is_none());
    }
}
