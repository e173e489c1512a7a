//! What the integration tests and the benchmark share: where the built programs are.

use std::path::PathBuf;

/// The path of the program `name` of this workspace, as built beside the running test.
///
/// # Panics
/// When it was not built: `make test` and `make bench` do that first.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("the program {name} is not built beside {}: run `cargo build --workspace`", test.display())
    })
}
