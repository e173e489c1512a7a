//! The settings of `local.settings.json` below those of the real environment.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use nightshift_bindings::local_settings::LocalSettings;
use nightshift_settings::{MapSource, Source};

use super::read_text;
use crate::http::DEFAULT_LISTEN;
use nightshift_settings::key;

/// The real environment over the file.
pub(super) struct Layered<'a> {
    environment: &'a dyn Source,
    file: MapSource,
    /// Where the file wants requests to be answered, if it says so.
    pub(super) listen: Option<SocketAddr>,
}

impl<'a> Layered<'a> {
    /// Reads the file of the app, if there is one.
    pub(super) fn read(
        app_root: &Path,
        environment: &'a dyn Source,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let local = read_file(app_root, problems);
        warnings.extend(local.ignored.iter().map(ToString::to_string));
        // A name of the environment hides every spelling of it.
        let hidden: HashSet<String> = environment.names().iter().map(|name| key(name)).collect();
        let values = local.values.into_iter();
        let file = values.filter(|(name, _)| !hidden.contains(&key(name)));
        let is_said = local.port.is_some() || local.address.is_some();
        let listen = is_said.then(|| {
            let ip = local.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
            SocketAddr::new(ip, local.port.unwrap_or(DEFAULT_LISTEN.port()))
        });
        Self {
            environment,
            file: file.collect(),
            listen,
        }
    }
}

impl Source for Layered<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).or_else(|| self.file.get(name))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.environment.names();
        names.extend(self.file.names());
        names
    }
}

fn read_file(app_root: &Path, problems: &mut Vec<String>) -> LocalSettings {
    let file = app_root.join("local.settings.json");
    let is_absent = file
        .symlink_metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if is_absent {
        return LocalSettings::default();
    }
    let text = match read_text(&file) {
        Ok(text) => text,
        Err(problem) => {
            problems.push(problem);
            return LocalSettings::default();
        }
    };
    LocalSettings::parse(&file, &text).unwrap_or_else(|found| {
        problems.extend(found.0.iter().map(ToString::to_string));
        LocalSettings::default()
    })
}
