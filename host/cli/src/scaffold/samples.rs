//! The files of a new job. The samples are a job `sample-job` with a queue `sample-queue`, a route
//! `sample-route` and a schedule at three in the morning.

use super::Kind;
use super::name::Job;
use crate::checkout::JOBS;

/// Where each file of a job that messages call belongs below its folder.
const QUEUE: [(&str, &str); 4] = [
    (
        "Cargo.toml",
        include_str!("../../scaffold/queue/Cargo.toml"),
    ),
    ("src/lib.rs", include_str!("../../scaffold/queue/lib.rs")),
    (
        "work/function.json",
        include_str!("../../scaffold/queue/work/function.json"),
    ),
    (
        "work/sample.json",
        include_str!("../../scaffold/queue/work/sample.json"),
    ),
];

/// Likewise of one that the clock calls.
const TIMER: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        include_str!("../../scaffold/timer/Cargo.toml"),
    ),
    ("src/lib.rs", include_str!("../../scaffold/timer/lib.rs")),
    (
        "src/schedule.rs",
        include_str!("../../scaffold/timer/schedule.rs"),
    ),
    ("src/work.rs", include_str!("../../scaffold/timer/work.rs")),
    (
        "schedule/function.json",
        include_str!("../../scaffold/timer/schedule/function.json"),
    ),
    (
        "work/function.json",
        include_str!("../../scaffold/timer/work/function.json"),
    ),
    (
        "work/sample.json",
        include_str!("../../scaffold/timer/work/sample.json"),
    ),
];

/// Likewise of one that requests call.
const HTTP: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../scaffold/http/Cargo.toml")),
    ("src/lib.rs", include_str!("../../scaffold/http/lib.rs")),
    (
        "api/function.json",
        include_str!("../../scaffold/http/api/function.json"),
    ),
];

/// The new files, by their paths below the checkout's root.
pub(super) fn files(job: &Job, kind: &Kind) -> Vec<(String, String)> {
    let (samples, contract): (&[(&str, &str)], Option<&str>) = match kind {
        Kind::Queue(_) => (
            &QUEUE,
            Some(include_str!("../../scaffold/queue/contract.rs")),
        ),
        Kind::Timer(_) => (
            &TIMER,
            Some(include_str!("../../scaffold/timer/contract.rs")),
        ),
        Kind::Http(_) => (&HTTP, None),
    };
    let own = samples.iter().map(|(file, sample)| {
        let file = format!("{JOBS}/{}/{file}", job.name);
        (file, filled(sample, job, kind))
    });
    let contract = contract.map(|sample| {
        let file = format!("shared/contract/src/{}.rs", job.module);
        (file, filled(sample, job, kind))
    });
    own.chain(contract).collect()
}

fn filled(sample: &str, job: &Job, kind: &Kind) -> String {
    let (queue, cron, route) = match kind {
        Kind::Queue(queue) => (queue.as_str(), "", ""),
        Kind::Timer(cron) => (job.name.as_str(), cron.as_str(), ""),
        Kind::Http(route) => ("", "", route.as_str()),
    };
    let words = [
        ("0 0 3 * * *", cron),
        ("sample-queue", queue),
        ("sample-route", route),
        ("sample-job", job.name.as_str()),
        ("sample_job", job.module.as_str()),
        ("SampleJob", job.type_name.as_str()),
    ];
    // In one pass, so that a queue may be called sample-job.
    let (mut text, mut rest) = (String::new(), sample);
    while let Some(letter) = rest.chars().next() {
        let found = words.iter().find(|(word, _)| rest.starts_with(word));
        let (length, new) = match found {
            Some((word, new)) => (word.len(), (*new).to_owned()),
            None => (letter.len_utf8(), letter.to_string()),
        };
        text.push_str(&new);
        rest = rest.get(length..).unwrap_or_default();
    }
    text
}
