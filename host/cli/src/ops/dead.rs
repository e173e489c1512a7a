//! `nightshift dead`: what is dead, and what is done about it.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::{Chosen, DeadCommand, DiscardArgs, EditArgs, Letters, RedriveArgs};
use super::table::{Column, details, table};
use super::{Console, counted, payload, query, range, segment};

/// The pause between two requests of which the first was not the last.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) const GROUPS: &[Column] = &[
    ("FINGERPRINT", "/fingerprint"),
    ("FUNCTION", "/function"),
    ("REASON", "/reason"),
    ("COUNT", "/count"),
    ("LAST", "/last"),
    ("ONE SAYS", "/description"),
];
const LETTERS: &[Column] = &[
    ("KEY", "/key"),
    ("FUNCTION", "/function"),
    ("REASON", "/reason"),
    ("DIED", "/died"),
    ("FAILED", "/attempt"),
    ("DESCRIPTION", "/description"),
];
const PREVIEW: &[Column] = &[
    ("FINGERPRINT", "/fingerprint"),
    ("FUNCTION", "/function"),
    ("REASON", "/reason"),
    ("LOOKED AT", "/looked_at"),
    ("DECODE NOW", "/decodes"),
    ("THE FUNCTION SAYS", "/refusal"),
];

impl Console {
    pub(super) async fn dead(&self, command: DeadCommand) -> anyhow::Result<u8> {
        match command {
            DeadCommand::Groups => {
                let said = self.api.get("/dead-letters/groups", &[]).await?;
                let groups = said["items"].as_array().cloned().unwrap_or_default();
                Ok(self.show_list(&groups, GROUPS, "nothing is dead"))
            }
            DeadCommand::List(args) => {
                let query = of(&args.letters);
                let letters = self
                    .api
                    .list("/dead-letters", query, args.most.most)
                    .await?;
                Ok(self.show_list(&letters, LETTERS, "no such letters"))
            }
            DeadCommand::Show { key } => {
                let path = format!("/dead-letters/{}", segment(&key));
                let letter = self.api.get(&path, &[]).await?;
                Ok(self.show(&letter, details))
            }
            DeadCommand::Edit(args) => self.edit(args).await,
            DeadCommand::Redrive(args) => self.redrive(args).await,
            DeadCommand::Undo(args) => {
                let mut body = json!({ "why": args.why });
                if let Some(function) = &args.function {
                    body["function"] = json!(function);
                }
                let said = self.api.post("/dead-letters/undo", &body).await?;
                Ok(self.show(&said, |said| {
                    let undone = counted(&said["undone"], "letter is", "letters are");
                    format!("{undone} dead again; what was sent by then runs")
                }))
            }
            DeadCommand::Discard(args) => self.discard(args).await,
        }
    }

    async fn edit(&self, args: EditArgs) -> anyhow::Result<u8> {
        let path = format!("/dead-letters/{}", segment(&args.key));
        let payload = payload(&args.payload)?;
        let letter = self.api.get(&path, &[]).await?;
        let version = letter["version"]
            .as_str()
            .context("the letter has no version")?;
        let body = json!({ "payload": payload, "why": args.why });
        let edited = self.api.put(&path, Some(version), &body).await?;
        Ok(self.show(&edited, |_| {
            format!(
                "{} is edited; `nightshift dead redrive {}` sends it again",
                args.key, args.key
            )
        }))
    }

    /// Asks until nothing is left: a request does what it can in some seconds.
    async fn redrive(&self, args: RedriveArgs) -> anyhow::Result<u8> {
        let mut body = json!({ "filter": filter(&args.chosen), "dry_run": args.chosen.dry_run });
        if let Some(rate) = args.per_second {
            body["per_second"] = json!(rate);
        }
        let mut left_to_ask = args.limit;
        let mut all = 0;
        loop {
            if let Some(limit) = left_to_ask {
                body["limit"] = json!(limit);
            }
            let mut said = self.api.post("/dead-letters/redrive", &body).await?;
            let redriven = said["redriven"].as_u64().unwrap_or(0);
            all += redriven;
            left_to_ask = left_to_ask
                .map(|limit| limit.saturating_sub(u32::try_from(redriven).unwrap_or(u32::MAX)));
            let is_over = args.chosen.dry_run
                || redriven == 0
                || left_to_ask == Some(0)
                || said["left"].as_i64() == Some(0);
            // What has died since then is not meant.
            body["filter"]["to"] = said["until"].clone();
            if is_over {
                said["redriven"] = json!(all);
                return Ok(self.show(&said, redriven_text));
            }
            if !self.is_json {
                let left = said["left"].as_i64();
                let left = left.map_or(String::new(), |left| format!(", {left} left"));
                eprintln!("{all} sent again{left}");
            }
            body["not_before"] = said["not_before"].take();
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn discard(&self, args: DiscardArgs) -> anyhow::Result<u8> {
        let dry_run = args.chosen.dry_run;
        let mut body =
            json!({ "filter": filter(&args.chosen), "why": args.why, "dry_run": dry_run });
        let mut all = 0;
        loop {
            let mut said = self.api.post("/dead-letters/discard", &body).await?;
            let discarded = said["discarded"].as_u64().unwrap_or(0);
            all += discarded;
            // What has died since then is not meant.
            body["filter"]["to"] = said["until"].clone();
            if dry_run || discarded == 0 || said["left"].as_i64() == Some(0) {
                said["discarded"] = json!(all);
                return Ok(self.show(&said, |said| {
                    let letters = counted(&said["discarded"], "letter", "letters");
                    if dry_run {
                        format!("{letters} would be gone for good")
                    } else {
                        format!("{letters} gone for good")
                    }
                }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn redriven_text(said: &Value) -> String {
    let letters = counted(&said["redriven"], "letter", "letters");
    let mut lines = Vec::new();
    if said["dry_run"] == true {
        lines.push(format!("{letters} would be sent again"));
        let preview = said["preview"].as_array().cloned().unwrap_or_default();
        lines.push(table(PREVIEW, &preview, ""));
    } else {
        let until = match said["due"].as_str() {
            Some(due) => {
                format!(", the last at {due}; until a letter is sent, `dead undo` takes it back")
            }
            None => String::new(),
        };
        lines.push(format!("{letters} sent again{until}"));
    }
    if said["left"].as_i64().is_some_and(|left| left > 0) {
        lines.push(format!("{} that are meant stay dead", said["left"]));
    }
    if said["stuck"].as_i64().is_some_and(|stuck| stuck > 0) {
        lines.push(format!(
            "{} cannot be sent again: it is not known from which queue they came",
            said["stuck"]
        ));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

fn of(letters: &Letters) -> Vec<(&'static str, String)> {
    let [from, to] = range(&letters.when);
    query(&[
        ("function", &letters.function),
        ("fingerprint", &letters.fingerprint),
        ("reason", &letters.reason),
        ("text", &letters.text),
        (from.0, &from.1),
        (to.0, &to.1),
    ])
}

/// The letters that are meant, as the API wants it said.
fn filter(chosen: &Chosen) -> Value {
    let mut filter: serde_json::Map<String, Value> = of(&chosen.letters)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    if !chosen.keys.is_empty() {
        filter.insert("keys".to_owned(), json!(chosen.keys));
    }
    if chosen.all {
        filter.insert("all".to_owned(), json!(true));
    }
    Value::Object(filter)
}
