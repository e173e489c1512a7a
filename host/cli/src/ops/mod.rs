//! Commands that ask the admin API: what ran, what failed and why, and how it is put right.
//!
//! Each command is one request, or one for each page of a list. With `--json` what the API says is printed as
//! it is; otherwise it is a table, or sentences.

pub(crate) mod args;
pub(crate) mod client;
mod dead;
mod limits;
mod table;

use anyhow::Context;
use serde_json::{Value, json};

use self::args::{
    AuditArgs, BackfillArgs, CancelArgs, MessagesArgs, OpsCommand, PauseArgs, ResumeArgs, RunArgs,
    RunsArgs, TicksArgs, When,
};
use self::client::Api;
use self::table::{Column, details, table};
use crate::commands::send::read_body;
use crate::output;

/// Does what `command` says and returns the exit code.
pub(crate) async fn run(command: OpsCommand, is_json: bool) -> anyhow::Result<u8> {
    let console = Console {
        api: Api::find()?,
        is_json,
    };
    match command {
        OpsCommand::Status => console.status().await,
        OpsCommand::Runs(args) => console.runs(args).await,
        OpsCommand::Messages(args) => console.messages(args).await,
        OpsCommand::Dead(command) => console.dead(command).await,
        OpsCommand::Ticks(args) => console.ticks(args).await,
        OpsCommand::Pause(args) => console.pause(args).await,
        OpsCommand::Resume(args) => console.resume(args).await,
        OpsCommand::Run(args) => console.start(args).await,
        OpsCommand::Backfill(args) => console.backfill(args).await,
        OpsCommand::Cancel(args) => console.cancel(args).await,
        OpsCommand::Limits(args) => console.limits(args).await,
        OpsCommand::Audit(args) => console.audit(args).await,
    }
}

/// The API, and how its answers are shown.
struct Console {
    api: Api,
    is_json: bool,
}

/// `name` as a segment of a path.
fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The members of a query that are there.
fn query<'a>(members: &[(&'a str, &Option<String>)]) -> Vec<(&'a str, String)> {
    let there = members
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value).clone()?)));
    there.collect()
}

fn range(when: &When) -> [(&'static str, Option<String>); 2] {
    [
        ("from", when.from.map(|at| at.to_rfc3339())),
        ("to", when.to.map(|at| at.to_rfc3339())),
    ]
}

/// A count and what is counted.
fn counted(count: &Value, one: &str, many: &str) -> String {
    match count.as_u64() {
        Some(1) => format!("1 {one}"),
        Some(count) => format!("{count} {many}"),
        None => format!("no {many}"),
    }
}

/// The payload in `file`.
fn payload(file: &std::path::Path) -> anyhow::Result<Value> {
    let body = read_body(file)?;
    serde_json::from_slice(&body).with_context(|| format!("{} is not JSON", file.display()))
}

impl Console {
    /// Prints `said` as it is, or what `text` makes of it.
    fn show(&self, said: &Value, text: impl FnOnce(&Value) -> String) -> u8 {
        if self.is_json {
            output::line(said);
        } else {
            output::line(text(said));
        }
        0
    }

    fn show_list(&self, rows: &[Value], columns: &[Column], none: &str) -> u8 {
        self.show(&json!({ "items": rows }), |_| table(columns, rows, none))
    }

    async fn status(&self) -> anyhow::Result<u8> {
        let health = self.api.get("/health", &[]).await?;
        let functions = self.api.get("/functions", &[]).await;
        let queues = self.api.get("/queues", &[]).await;
        let groups = self.api.get("/dead-letters/groups", &[]).await;
        let is_well = health["is_well"] == true;
        let parts = |said: &anyhow::Result<Value>| match said {
            Ok(said) => said["items"].clone(),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let said = json!({
            "health": health,
            "functions": parts(&functions),
            "queues": parts(&queues),
            "dead_letters": parts(&groups),
        });
        self.show(&said, |said| {
            [
                section("What answers", &said["health"]["parts"], PARTS, "nothing"),
                section(
                    "Schedules that have gone silent",
                    &said["health"]["silent"],
                    SILENT,
                    "none",
                ),
                section("Functions", &said["functions"], FUNCTIONS, "none"),
                section("Queues", &said["queues"], QUEUES, "none"),
                section("Dead letters", &said["dead_letters"], dead::GROUPS, "none"),
            ]
            .join("\n\n")
        });
        Ok(u8::from(!is_well))
    }

    async fn runs(&self, args: RunsArgs) -> anyhow::Result<u8> {
        if let Some(key) = &args.key {
            let run = self
                .api
                .get(&format!("/runs/{}", segment(key)), &[])
                .await?;
            return Ok(self.show(&run, details));
        }
        let [from, to] = range(&args.when);
        let query = query(&[
            ("function", &args.function),
            ("state", &args.state),
            ("text", &args.text),
            (from.0, &from.1),
            (to.0, &to.1),
        ]);
        let runs = self.api.list("/runs", query, args.most.most).await?;
        Ok(self.show_list(&runs, RUNS, "no such runs"))
    }

    async fn messages(&self, args: MessagesArgs) -> anyhow::Result<u8> {
        if let Some(key) = &args.key {
            let path = format!("/messages/{}", segment(key));
            let fate = self.api.get(&path, &[]).await?;
            return Ok(self.show(&fate, details));
        }
        let query = query(&[
            ("function", &args.function),
            ("reason", &args.reason),
            ("message_id", &args.message_id),
        ]);
        let waiting = self.api.list("/messages", query, args.most.most).await?;
        Ok(self.show_list(&waiting, WAITING, "nothing waits"))
    }

    async fn ticks(&self, args: TicksArgs) -> anyhow::Result<u8> {
        let path = format!("/schedules/{}/ticks", segment(&args.function));
        let query = query(&[("state", &args.state)]);
        let ticks = self.api.list(&path, query, args.most.most).await?;
        Ok(self.show_list(&ticks, TICKS, "no such ticks"))
    }

    async fn pause(&self, args: PauseArgs) -> anyhow::Result<u8> {
        let path = format!("/functions/{}/pause", segment(&args.function));
        let body = json!({ "why": args.why, "dry_run": args.dry_run });
        let said = self.api.post(&path, &body).await?;
        Ok(self.show(&said, |said| {
            let mut lines = vec![match (args.dry_run, said["changed"] == true) {
                (true, true) => format!("{} would be paused", args.function),
                (false, true) => format!("{} is paused; what comes waits", args.function),
                (_, false) => format!("{} was paused before", args.function),
            }];
            if let Some(waiting) = said["queue"]["waiting"].as_u64() {
                lines.push(format!("  {waiting} in its queue would wait"));
            }
            if let Some(error) = said["queue"]["error"].as_str() {
                let error = output::printable(error);
                lines.push(format!("  what is in its queue is not known: {error}"));
            }
            let ticks = said["ticks"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let ticks = ticks.iter().filter_map(Value::as_str);
            lines.extend(ticks.map(|tick| format!("  the tick of {tick} would be skipped")));
            lines.join("\n")
        }))
    }

    async fn resume(&self, args: ResumeArgs) -> anyhow::Result<u8> {
        let path = format!("/functions/{}/resume", segment(&args.function));
        let mut body = json!({ "dry_run": args.dry_run });
        if let Some(rate) = args.per_second {
            body["per_second"] = json!(rate);
        }
        let said = self.api.post(&path, &body).await?;
        Ok(self.show(&said, |said| {
            let held = counted(&said["held"], "message", "messages");
            match (args.dry_run, said["changed"] == true) {
                (true, true) => format!("{} would go on; {held} would come back", args.function),
                (false, true) => format!("{} goes on; {held} come back", args.function),
                (_, false) => format!("{} was not paused", args.function),
            }
        }))
    }

    async fn start(&self, args: RunArgs) -> anyhow::Result<u8> {
        let path = format!("/functions/{}/run", segment(&args.function));
        let mut body = json!({});
        if let Some(file) = &args.payload {
            body["payload"] = payload(file)?;
        }
        if let Some(request) = &args.request {
            body["request"] = json!(request);
        }
        let said = self.api.post(&path, &body).await?;
        Ok(self.show(&said, |said| asked(&args.function, said)))
    }

    async fn backfill(&self, args: BackfillArgs) -> anyhow::Result<u8> {
        let path = format!("/functions/{}/backfill", segment(&args.function));
        let mut body = json!({ "from": args.from, "to": args.to, "dry_run": args.dry_run });
        if let Some(request) = &args.request {
            body["request"] = json!(request);
        }
        let said = self.api.post(&path, &body).await?;
        Ok(self.show(&said, |said| asked(&args.function, said)))
    }

    async fn cancel(&self, args: CancelArgs) -> anyhow::Result<u8> {
        let path = format!("/messages/{}/cancel", segment(&args.key));
        let said = self.api.post(&path, &json!({ "why": args.why })).await?;
        Ok(self.show(&said, |said| {
            let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
            let was = match text("was").as_str() {
                "calling" => "was at work".to_owned(),
                reason => format!("waited ({reason})"),
            };
            format!(
                "{} of {}, which {was}, has ended",
                args.key,
                text("function")
            )
        }))
    }

    async fn audit(&self, args: AuditArgs) -> anyhow::Result<u8> {
        if args.verify {
            let verdict = self.api.get("/audit/verify", &[]).await?;
            self.show(&verdict, |verdict| {
                let number = |name: &str| verdict[name].as_i64().unwrap_or(0);
                match verdict["broken_at"].as_i64() {
                    None => format!(
                        "the record is whole: entries {} to {} follow from each other\nhead {}",
                        number("from") + 1,
                        number("to"),
                        verdict["head"].as_str().unwrap_or_default()
                    ),
                    Some(seq) => format!(
                        "the record was changed: entry {seq} does not follow from the one before it"
                    ),
                }
            });
            return Ok(u8::from(verdict["intact"] != true));
        }
        let [from, to] = range(&args.when);
        let query = query(&[
            ("actor", &args.actor),
            ("action", &args.action),
            ("target", &args.target),
            (from.0, &from.1),
            (to.0, &to.1),
        ]);
        let entries = self.api.list("/audit", query, args.most.most).await?;
        Ok(self.show_list(&entries, AUDIT, "nothing was done"))
    }
}

/// What came of a wish for runs.
fn asked(function: &str, said: &Value) -> String {
    let request = said["request"].as_str().unwrap_or_default();
    if said["is_new"] != true {
        return format!("the request {request} was granted before; nothing is run again");
    }
    let would = if said["dry_run"] == true {
        "would be"
    } else {
        "is"
    };
    let enqueued = counted(&said["enqueued"], "run", "runs");
    let buffered = match said["buffered"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!(", {count} more one after the other"),
    };
    let key = said["key"]
        .as_str()
        .map_or(String::new(), |key| format!(", key {key}"));
    format!("{function} {would} run: {enqueued} now{buffered} (request {request}{key})")
}

/// A part of a screen.
fn section(title: &str, rows: &Value, columns: &[Column], none: &str) -> String {
    if let Some(error) = rows["error"].as_str() {
        return format!("{title}\n  not known: {}", output::printable(error));
    }
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let table = table(columns, rows, none);
    format!("{title}\n  {}", table.replace('\n', "\n  "))
}

const PARTS: &[Column] = &[("PART", "/name"), ("WELL", "/is_well"), ("ERROR", "/error")];
const SILENT: &[Column] = &[("FUNCTION", "/function"), ("DUE", "/due")];
const FUNCTIONS: &[Column] = &[
    ("FUNCTION", "/name"),
    ("CALLED BY", "/trigger/kind"),
    ("NEXT", "/trigger/next"),
    ("PAUSED SINCE", "/paused/at"),
    ("BY", "/paused/by"),
    ("WHY", "/paused/why"),
];
const QUEUES: &[Column] = &[
    ("QUEUE", "/name"),
    ("WAITING", "/waiting"),
    ("SCHEDULED", "/scheduled"),
    ("OLDEST", "/oldest"),
    ("GIVEN UP", "/given_up"),
    ("ERROR", "/error"),
];
const RUNS: &[Column] = &[
    ("KEY", "/key"),
    ("FUNCTION", "/function"),
    ("STATE", "/state"),
    ("STARTED", "/started"),
    ("STARTS", "/starts"),
    ("PROGRESS", "/progress"),
    ("ERROR", "/error"),
];
const WAITING: &[Column] = &[
    ("KEY", "/key"),
    ("FUNCTION", "/function"),
    ("REASON", "/reason"),
    ("FAILED", "/attempt"),
    ("DUE", "/due"),
    ("ERROR", "/error"),
];
const TICKS: &[Column] = &[
    ("DUE", "/due"),
    ("KIND", "/kind"),
    ("STATE", "/state"),
    ("TICKS", "/ticks"),
    ("ENDED", "/ended"),
    ("REQUEST", "/request"),
    ("WHY", "/why"),
];
const AUDIT: &[Column] = &[
    ("SEQ", "/seq"),
    ("AT", "/at"),
    ("ACTOR", "/actor"),
    ("ACTION", "/action"),
    ("TARGET", "/target"),
    ("DETAILS", "/details"),
];
