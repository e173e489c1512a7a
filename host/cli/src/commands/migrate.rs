//! `nightshift migrate`: brings the schema `nightshift` up to this release.

use std::str::FromStr;

use anyhow::Context;
use nightshift_postgres::PostgresSettings;
use nightshift_settings::{Environment, ExposeSecret, Reader};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::settings::ELSEWHERE;
use crate::output;

pub(super) async fn run(is_json: bool) -> anyhow::Result<u8> {
    let mut reader = Reader::new(&Environment);
    let url = reader.secret(PostgresSettings::URL);
    reader.finish(ELSEWHERE)?;
    let url = url.context("the settings hold no database")?;
    let applied = migrate(url.expose_secret()).await?;
    if is_json {
        output::line(json!({ "schema": "nightshift", "applied": applied }));
    } else if applied == 0 {
        output::line("the schema nightshift is up to date");
    } else {
        output::line(format!(
            "the schema nightshift is up to date now; {applied} migrations were applied"
        ));
    }
    Ok(0)
}

/// Migrates the database at `url` and returns how many migrations it lacked.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<i64> {
    // What a pooler refuses is not said, so that the migrations themselves can say what is wrong.
    let options = PgConnectOptions::from_str(url)
        .ok()
        .context("the database's URL is malformed")?;
    let options = options.extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&options)
        .await
        .context("cannot connect to the database")?;
    let before = count(&mut connection).await?;
    nightshift_postgres::migrate(&mut connection).await?;
    let after = count(&mut connection).await?;
    connection
        .close()
        .await
        .context("cannot close the connection to the database")?;
    Ok(after - before)
}

/// How many migrations the database has had.
async fn count(connection: &mut PgConnection) -> anyhow::Result<i64> {
    let is_there: bool =
        sqlx::query_scalar("select to_regclass('nightshift.migration') is not null")
            .fetch_one(&mut *connection)
            .await
            .context("cannot look at the schema nightshift")?;
    if !is_there {
        return Ok(0);
    }
    sqlx::query_scalar("select count(*) from nightshift.migration where success")
        .fetch_one(connection)
        .await
        .context("cannot count the migrations of the schema nightshift")
}
