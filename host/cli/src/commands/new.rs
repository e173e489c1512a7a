//! `nightshift new`: a job that works, to be made into one's own.

use serde_json::json;

use crate::args::NewArgs;
use crate::checkout::Checkout;
use crate::output;
use crate::scaffold::{Change, Kind, Scaffold};

pub(super) fn run(args: &NewArgs, is_json: bool) -> anyhow::Result<u8> {
    let root = super::checkout()?;
    let checkout = Checkout::new(&root);
    let or_job = |text: &String| match text.as_str() {
        "" => args.job.clone(),
        text => text.to_owned(),
    };
    let kind = match (&args.queue, &args.timer, &args.http) {
        (Some(queue), _, _) => Kind::Queue(or_job(queue)),
        (_, Some(cron), _) => Kind::Timer(cron.clone()),
        (_, _, Some(route)) => Kind::Http(or_job(route)),
        (None, None, None) => anyhow::bail!("one of --queue, --timer and --http is needed"),
    };
    let scaffold = Scaffold::new(&checkout, &args.job, kind)?;
    let changes = scaffold.changes(&checkout)?;
    if !args.dry_run {
        Change::write_all(&changes, &root)?;
    }
    let steps = scaffold.next_steps();
    if is_json {
        let files = changes.iter().map(|change| {
            let action = if change.before.is_some() {
                "change"
            } else {
                "create"
            };
            json!({ "file": change.file, "action": action })
        });
        output::line(json!({
            "job": args.job,
            "functions": scaffold.functions(),
            "is_written": !args.dry_run,
            "files": files.collect::<Vec<_>>(),
            "next": steps,
        }));
        return Ok(0);
    }
    for change in &changes {
        output::line(change.shown(args.dry_run));
    }
    if args.dry_run {
        output::line("nothing was written");
    } else {
        output::line("\nNext:");
        for (number, step) in (1..).zip(&steps) {
            output::line(format!("  {number}. {step}"));
        }
    }
    Ok(0)
}
