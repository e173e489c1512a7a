//! How soon commands are there that ask nobody: every help text, and what only computes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::ensure;
use clap::CommandFactory;
use nightshift_cli::Cli;
use nightshift_tests::program;

/// How often each is started. The middle one counts.
const STARTS: usize = 20;

/// What needs no server.
const LOCAL: &[&[&str]] = &[
    &["--version"],
    &["settings"],
    &["cron", "0 30 2 * * *", "--zone", "Europe/Berlin"],
    &["plan", "--cron", "0 30 2 * * *", "--zone", "Europe/Berlin"],
    &[
        "new",
        "token-cleanup",
        "--timer",
        "0 0 3 * * *",
        "--dry-run",
    ],
    &["new", "token-cleanup", "--queue", "--dry-run"],
];

/// A command and how long it took from its start to its end.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) command: String,
    pub(super) median_ms: f64,
}

/// Starts all of them in the folder `checkout`.
pub(super) fn measure(checkout: &Path) -> anyhow::Result<Vec<Started>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    helps(&Cli::command(), &[], &mut all);
    let handler = program("handler").display().to_string();
    let plan = ["plan", "--handler", &handler];
    let local = LOCAL.iter().copied().chain([&plan[..]]);
    all.extend(local.map(|words| words.iter().map(|&word| word.to_owned()).collect()));
    all.iter()
        .map(|arguments| started(arguments, checkout))
        .collect()
}

/// The command lines that ask for help with `command`, which comes after `before`, and with those below.
fn helps(command: &clap::Command, before: &[String], all: &mut Vec<Vec<String>>) {
    all.push([before, &["--help".to_owned()]].concat());
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in below {
        let path = [before, &[below.get_name().to_owned()]].concat();
        helps(below, &path, all);
    }
}

fn started(arguments: &[String], checkout: &Path) -> anyhow::Result<Started> {
    let command = format!("nightshift {}", arguments.join(" "));
    let mut took_ms = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let began = Instant::now();
        let output = Command::new(program("nightshift"))
            .args(arguments)
            .current_dir(checkout)
            .stdin(Stdio::null())
            .output()?;
        took_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        ensure!(
            output.status.success() && !output.stdout.is_empty(),
            "`{command}` ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    took_ms.sort_by(f64::total_cmp);
    Ok(Started {
        command,
        median_ms: took_ms[STARTS / 2],
    })
}
