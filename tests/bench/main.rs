//! `make bench`: how fast and how small the product is, as ratios to a limit measured in the same
//! run on the same machine.
//!
//! `bench [work] [pace] [start] [history] [broker] [host] [ops] [boards] [readers] [rollup]` runs the parts that are named, or all. Everything measured is a
//! release build and a process of its own. Prints tables, writes `tests/bench/results.json`, and
//! ends with code 1 when a bar is missed. With `NIGHTSHIFT_TEST_BENCH_ROWS=100000` the part `ops` fills its
//! database with that much instead of ten million rows: a sample, which takes a minute or two and is not kept.
//! The part `rollup` has histories of up to thirty million events, or of as many as `NIGHTSHIFT_TEST_BENCH_EVENTS` says.

mod boards;
mod broker;
mod fill;
mod host;
mod ops;
mod process;
mod readers;
mod report;
mod rollup;
mod work;

use std::process::ExitCode;

use anyhow::bail;

use report::Section;

const PARTS: [&str; 10] = [
    "work", "pace", "start", "history", "broker", "host", "ops", "boards", "readers", "rollup",
];

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = &arguments[..]
        && let Some(role) = host::Role::named(role)
    {
        return role.play(rest).map(|()| ExitCode::SUCCESS);
    }
    if let Some(unknown) = arguments
        .iter()
        .find(|part| !PARTS.contains(&part.as_str()))
    {
        bail!("{unknown:?} is none of the parts: {}", PARTS.join(", "));
    }
    let is_wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|name| name == part);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut sections = Vec::new();
    let mut done = |section: Section| {
        section.print();
        sections.push(section);
    };
    if is_wanted("work") {
        done(runtime.block_on(work::throughput())?);
    }
    if is_wanted("pace") {
        done(runtime.block_on(work::pace())?);
    }
    if is_wanted("start") {
        done(runtime.block_on(work::start())?);
    }
    if is_wanted("history") {
        done(runtime.block_on(work::history())?);
    }
    if is_wanted("broker") {
        done(runtime.block_on(broker::measure())?);
    }
    if is_wanted("host") {
        done(runtime.block_on(host::measure())?);
    }
    if is_wanted("ops") {
        done(runtime.block_on(ops::measure())?);
    }
    if is_wanted("boards") {
        done(runtime.block_on(boards::measure())?);
    }
    if is_wanted("readers") {
        done(runtime.block_on(readers::measure())?);
    }
    if is_wanted("rollup") {
        done(runtime.block_on(rollup::measure())?);
    }
    report::save(&sections)?;
    let holds = sections.iter().all(Section::holds);
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
