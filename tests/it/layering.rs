//! The arrows between the crates point one way: a crate depends only on crates of a lower layer
//! that it may know. The table is the architecture; this test keeps the manifests to it. The same
//! metadata shows which crates of others come along, and under which licences.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The bottom row: knows nobody of ours, except its own neighbours where said.
const CONTRACT: &[&str] = &["bindings", "contract", "settings", "telemetry", "time"];

/// Which of our crates each of our crates may depend on, outside its tests.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let with = |more: &[&'static str]| [CONTRACT, more].concat();
    BTreeMap::from([
        ("bindings", vec![]),
        ("contract", vec![]),
        ("settings", vec![]),
        ("time", vec![]),
        ("telemetry", vec!["fetch", "settings", "time"]),
        ("amqp", vec![]),
        ("crashpoint", vec![]),
        ("fuzz", vec![]),
        ("job", with(&[])),
        ("bus", with(&["amqp"])),
        ("fetch", vec![]),
        ("identity", with(&["bus", "fetch"])),
        ("connection", with(&["bus", "identity"])),
        ("postgres", with(&["job"])),
        ("cache", with(&["identity", "job"])),
        (
            "handler",
            with(&[
                "bus",
                "cache",
                "connection",
                "crashpoint",
                "fetch",
                "identity",
                "job",
                "postgres",
            ]),
        ),
        ("testkit", with(&["job", "postgres", "handler"])),
        (
            "admin",
            with(&["bus", "fetch", "job", "postgres", "handler"]),
        ),
        ("housekeeping", with(&["job", "postgres", "handler"])),
        (
            "leaderboard-rollup",
            with(&["cache", "job", "postgres", "handler"]),
        ),
        ("notifications", with(&["job", "postgres", "handler"])),
        (
            "functions",
            with(&[
                "admin",
                "cache",
                "handler",
                "housekeeping",
                "job",
                "leaderboard-rollup",
                "notifications",
                "postgres",
            ]),
        ),
        ("broker", with(&["amqp"])),
        (
            "runtime",
            with(&["amqp", "bus", "connection", "crashpoint"]),
        ),
        (
            "cli",
            with(&[
                "amqp",
                "bus",
                "cache",
                "fetch",
                "job",
                "notifications",
                "postgres",
                "runtime",
            ]),
        ),
        (
            "tests",
            with(&[
                "amqp",
                "broker",
                "bus",
                "cache",
                "cli",
                "crashpoint",
                "functions",
                "fuzz",
                "handler",
                "housekeeping",
                "identity",
                "job",
                "leaderboard-rollup",
                "notifications",
                "postgres",
                "runtime",
                "testkit",
            ]),
        ),
    ])
}

/// Licences that a permissively licensed product can carry.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not come along, and why.
const BANNED: [(&str, &str); 5] = [
    ("openssl", "one TLS stack, rustls"),
    ("openssl-sys", "one TLS stack, rustls"),
    ("native-tls", "one TLS stack, rustls"),
    ("aws-lc-rs", "one crypto provider, ring"),
    ("aws-lc-sys", "one crypto provider, ring"),
];

/// Crates of which two versions would mean two worlds that cannot talk to each other.
const SINGLE: [&str; 6] = ["hyper", "rustls", "sqlx", "tokio", "tracing", "uuid"];

fn metadata() -> Metadata {
    MetadataCommand::new().exec().unwrap()
}

fn short(package: &str) -> Option<&str> {
    package.strip_prefix("nightshift-")
}

/// Every arrow of `package` that `allowed` does not know.
fn turned_arrows(package: &Package, allowed: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let name = short(package.name.as_ref()).unwrap();
    let Some(allowed) = allowed.get(name) else {
        return vec![format!("{name} is not in the table of layers")];
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .filter_map(|dependency| short(&dependency.name))
        .filter(|target| !allowed.contains(target))
        .map(|target| format!("{name} must not depend on {target}"))
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let metadata = metadata();
    let allowed = allowed();
    let turned: Vec<String> = metadata
        .workspace_packages()
        .iter()
        .flat_map(|package| turned_arrows(package, &allowed))
        .collect();
    assert!(turned.is_empty(), "{}", turned.join("\n"));
}

#[test]
fn the_check_sees_a_turned_arrow() {
    let metadata = metadata();
    let mut allowed = allowed();
    allowed
        .get_mut("handler")
        .unwrap()
        .retain(|name| *name != "postgres");
    let packages = metadata.workspace_packages();
    let handler = packages
        .iter()
        .find(|package| package.name.as_ref() == "nightshift-handler")
        .unwrap();
    assert_eq!(
        turned_arrows(handler, &allowed),
        ["handler must not depend on postgres"]
    );
}

#[test]
fn nothing_banned_nothing_twice_and_every_licence_is_permissive() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let name: &str = package.name.as_ref();
        versions
            .entry(name)
            .or_default()
            .insert(package.version.to_string());
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            faults.push(format!("{name} must not come along: {why}"));
        }
        if !is_permissive(package.license.as_deref().unwrap_or("none")) {
            faults.push(format!("{name} has the licence {:?}", package.license));
        }
    }
    for name in SINGLE {
        if versions
            .get(name)
            .is_some_and(|versions| versions.len() > 1)
        {
            faults.push(format!(
                "{name} comes in several versions: {:?}",
                versions[name]
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether one alternative of an SPDX expression consists of known licences only.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" OR ").any(|choice| {
        choice
            .split(" AND ")
            .all(|licence| LICENCES.contains(&licence.trim()))
    })
}
