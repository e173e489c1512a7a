//! `nightshift broker`: becomes the program `nightshift-broker`, which stands beside this one.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::args::BrokerArgs;

const PROGRAM: &str = "nightshift-broker";

/// Does not return unless it fails.
pub(super) fn become_it(args: &BrokerArgs, is_json: bool) -> anyhow::Result<Infallible> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let program = own.with_file_name(PROGRAM);
    let json = is_json.then_some("--json");
    let error = Command::new(&program)
        .args(json)
        .args(&args.arguments)
        .exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {}, which has to be beside this program",
            program.display()
        )
    })
}
