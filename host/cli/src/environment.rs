//! The environment that is handed on to child processes.

/// The names in `names` that `cargo run` sets for the program it runs. A `cargo build` started by
/// that program must not see them: build scripts that watch them (`ring`'s does) would run again
/// on every change between the two, and everything above them be compiled again.
pub(crate) fn without_cargo(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || [
                "CARGO_BIN_NAME",
                "CARGO_CRATE_NAME",
                "CARGO_PRIMARY_PACKAGE",
            ]
            .contains(&name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_this_package_is_dropped_and_the_users_own_is_kept() {
        let names = [
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
        ];
        let names: Vec<String> = names.map(str::to_owned).into();
        let dropped: Vec<&String> = without_cargo(&names).collect();
        assert_eq!(dropped, ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"]);
    }
}
