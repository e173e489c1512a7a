//! The one screen that says what runs where, what was just processed, and how to go on.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::live;
use super::round::{QUEUE, Round, user};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// One running part of the stack.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) address: String,
    /// `None` for a server of the user's own.
    pub(super) pid: Option<u32>,
    pub(super) resident_kib: Option<u64>,
}

/// Everything the screen shows.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    #[serde(serialize_with = "seconds")]
    pub(super) took: Duration,
    pub(super) parts: Vec<Part>,
    pub(super) functions: Vec<String>,
    pub(super) round: Round,
    /// For clients; only that of the private broker, whose key guards nothing, is shown.
    pub(super) connection_string: Option<String>,
    /// Where the functions answer requests, unless the user has said where.
    pub(super) api: Option<String>,
    /// The file with all addresses.
    pub(super) addresses: PathBuf,
    pub(super) logs: PathBuf,
    /// Whether the stack stays up after the screen.
    pub(super) stays: bool,
}

fn seconds<S: serde::Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_secs_f64())
}

/// The screen as text, with or without colours.
pub(super) fn render(report: &Report, is_coloured: bool) -> String {
    let style = |code: &'static str| if is_coloured { code } else { "" };
    let (bold, dim, green, reset) = (style(BOLD), style(DIM), style(GREEN), style(RESET));
    let mut text = String::new();
    let took = report.took.as_secs_f64();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{bold}Nightshift is up{reset} {dim}(after {took:.1} s){reset}\n"
    );
    for part in &report.parts {
        let memory = part
            .resident_kib
            .map_or(String::new(), |kib| format!("{} MiB", kib / 1024));
        let pid = part
            .pid
            .map_or("your own".to_owned(), |pid| format!("pid {pid}"));
        let Part { name, address, .. } = part;
        let _ = writeln!(
            text,
            "  {bold}{name:9}{reset} {address:42} {pid:12} {dim}{memory}{reset}"
        );
    }
    let _ = writeln!(
        text,
        "  {bold}functions{reset} {}",
        report.functions.join(", ")
    );
    processed(&mut text, &report.round, (bold, green, reset));
    if report.stays {
        guide(&mut text, report, (bold, dim, reset));
    }
    text
}

fn processed(text: &mut String, round: &Round, (bold, green, reset): (&str, &str, &str)) {
    let Round {
        sent,
        rows,
        p50_ms,
        p99_ms,
        dead_letters,
        scores,
        leaderboard,
    } = round;
    let _ = writeln!(text, "\n{bold}Just processed{reset}");
    let _ = writeln!(
        text,
        "  {green}{sent} notifications sent, {rows} rows{reset} in nightshift.notification; \
         p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms from the broker to the row"
    );
    let _ = writeln!(
        text,
        "  {count} broken ones sent, {count} rows in nightshift.dead_letter:",
        count = dead_letters.len()
    );
    let reasons = dead_letters
        .iter()
        .map(|letter| letter.reason.chars().count());
    let width = reasons.max().unwrap_or(0);
    for letter in dead_letters {
        let _ = writeln!(
            text,
            "    {:width$}  {}",
            letter.reason,
            shortened(&letter.description, 90)
        );
    }
    let added = format!("{green}{scores} scores added{reset} to app.score_event");
    let _ = match leaderboard {
        Some(board) => write!(
            text,
            "  {added}, counted and shown in Redis; {}\n{}",
            board.title(),
            board.lines("    ", None)
        ),
        None => writeln!(
            text,
            "  {added}; nightshift.leaderboard has no enabled board global of them by weeks"
        ),
    };
}

fn guide(text: &mut String, report: &Report, (bold, dim, reset): (&str, &str, &str)) {
    let reader = user(1);
    let read_board = report.api.as_ref().map_or(String::new(), |api| {
        format!("  curl '{api}/leaderboards/global/weekly/top?limit=5'\n")
    });
    let connection_string = report.connection_string.as_deref().unwrap_or("…");
    let _ = write!(
        text,
        "\n{bold}Send one yourself{reset} {dim}(pip install azure-servicebus){reset}
  from azure.servicebus import ServiceBusClient, ServiceBusMessage
  body = '{{\"schema_version\":1,\"user_id\":\"{reader}\",\"kind\":\"creature.liked\",\"title\":\"Hi\",\"body\":\"From Python\"}}'
  with ServiceBusClient.from_connection_string(\"{connection_string}\") as client:
      with client.get_queue_sender(\"{QUEUE}\") as sender:
          sender.send_messages(ServiceBusMessage(body, message_id=\"hello-1\"))
  {dim}or{reset} target/debug/nightshift send {QUEUE} functions/notifications/dispatch/sample.json

{bold}Play{reset} {dim}(sample users do: {pace}; boards move each minute){reset}
  . {addresses} && psql \"$NIGHTSHIFT_POSTGRES_URL\" -c \\
    \"insert into app.score_event (user_id, board, score) values ('{reader}', 'points', 5000)\"
{read_board}
{bold}Look{reset}
  target/debug/nightshift status {dim}and{reset} dead groups {dim}(docs/OPERATIONS.md){reset}
  . {addresses} && psql \"$NIGHTSHIFT_POSTGRES_URL\" -c 'table nightshift.notification'
  tail -f {logs}/*.log

Ctrl-C stops everything.
",
        pace = live::PACE,
        addresses = report.addresses.display(),
        logs = report.logs.display(),
    );
}

/// `text` on one line and at most `width` characters.
fn shortened(text: &str, width: usize) -> String {
    let line = text.replace(['\n', '\r'], " ");
    if line.chars().count() <= width {
        return line;
    }
    let cut: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::leaderboard::{Leaderboard, Place};
    use crate::up::round::DeadLetter;

    fn report() -> Report {
        let letter = DeadLetter {
            reason: "not-json".into(),
            description: "line 1\n".repeat(40),
        };
        Report {
            took: Duration::from_millis(4200),
            parts: vec![Part {
                name: "broker",
                address: "amqp://127.0.0.1:5672".into(),
                pid: Some(4711),
                resident_kib: Some(5000),
            }],
            functions: vec!["notifications-dispatch".into()],
            round: Round {
                sent: 200,
                rows: 200,
                p50_ms: 1.04,
                p99_ms: 3.5,
                dead_letters: vec![letter],
                scores: 200,
                leaderboard: Some(Leaderboard {
                    key: "leaderboard:global:weekly",
                    window: "2026-W47".into(),
                    players: 40,
                    best: vec![Place {
                        rank: 1,
                        user_id: user(17),
                        name: "Sample User 017".into(),
                        score: 4120,
                    }],
                }),
            },
            connection_string: Some("Endpoint=sb://127.0.0.1:5672".into()),
            api: Some("http://127.0.0.1:7071/api".into()),
            addresses: ".nightshift/run/addresses.env".into(),
            logs: ".nightshift/logs".into(),
            stays: true,
        }
    }

    #[test]
    fn the_plain_screen_has_no_escape_sequences_and_fits_its_parts_on_lines() {
        let text = render(&report(), false);
        assert!(!text.contains('\x1b'));
        assert!(text.contains("200 notifications sent, 200 rows"), "{text}");
        assert!(text.contains("p50 1.0 ms, p99 3.5 ms"), "{text}");
        let board = "leaderboard:global:weekly of 2026-W47, the best of 40:\n    1  Sample User 017  4,120\n";
        assert!(text.contains(board), "{text}");
        let url = "curl 'http://127.0.0.1:7071/api/leaderboards/global/weekly/top?limit=5'\n";
        assert!(text.contains(url), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() < 150),
            "{text}"
        );
        assert!(render(&report(), true).contains(BOLD));
    }

    #[test]
    fn a_board_that_was_switched_off_and_an_address_that_the_user_has_chosen_are_not_shown() {
        let mut report = report();
        report.round.leaderboard = None;
        report.api = None;
        let text = render(&report, false);
        assert!(text.contains("no enabled board global"), "{text}");
        assert!(!text.contains("curl"), "{text}");
    }

    #[test]
    fn a_single_round_gives_no_advice_about_a_stack_that_is_gone() {
        let text = render(
            &Report {
                stays: false,
                ..report()
            },
            false,
        );
        assert!(!text.contains("Ctrl-C") && text.contains("Just processed"));
    }
}
