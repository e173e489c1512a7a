//! `nightshift check`: what must agree in this checkout, and does not.

use std::path::Path;

use anyhow::Context;
use nightshift_settings::Environment;
use serde_json::json;

use crate::args::CheckArgs;
use crate::check::{Finding, findings, with_handler};
use crate::checkout::Checkout;
use crate::checkout::page::{self, PAGE};
use crate::output;
use crate::servers::{Progress, Tool};
use crate::up::build;

pub(super) async fn run(args: CheckArgs, is_json: bool) -> anyhow::Result<u8> {
    let root = super::checkout()?;
    let checkout = Checkout::new(&root);
    if args.write {
        let file = root.join(PAGE);
        std::fs::write(&file, page::render(&checkout))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut all = findings(&checkout);
    if let Some(handler) = &args.handler {
        ask(handler, &checkout, &mut all).await?;
    } else if args.build {
        if !is_json {
            Progress::on_errors(&Environment).say("handler", "building");
        }
        ask(&build::handler(&root).await?, &checkout, &mut all).await?;
    }
    if is_json {
        output::line(json!({ "findings": all }));
    } else {
        all.iter().for_each(output::line);
        output::line(match all.len() {
            0 => "everything agrees".to_owned(),
            1 => "1 thing does not agree".to_owned(),
            count => format!("{count} things do not agree"),
        });
    }
    Ok(u8::from(!all.is_empty()))
}

async fn ask(handler: &Path, checkout: &Checkout, all: &mut Vec<Finding>) -> anyhow::Result<()> {
    let asked = Tool::new(handler).arg("functions").run().await;
    let text =
        asked.with_context(|| format!("{} does not say its functions", handler.display()))?;
    let listed = serde_json::from_str::<Vec<_>>(&text).with_context(|| {
        let program = handler.display();
        format!("{program} says something else than its functions")
    })?;
    with_handler(checkout, &listed, all);
    Ok(())
}
