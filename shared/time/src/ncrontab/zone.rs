//! Time zones by name.
//!
//! The tables of the IANA database are compiled in, so that a schedule means the same on every
//! machine and a container needs no zone files. They list the changes up to the year 2100; after
//! that every clock stays as it is.

use chrono_tz::{TZ_VARIANTS, Tz};

/// Names less alike than this are not worth suggesting.
const LIKENESS: f64 = 0.8;

/// A name that the IANA database does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called {name:?} in the IANA database{}", suggestion.map(|zone| format!("; did you mean {zone}?")).unwrap_or_default())]
pub struct UnknownZone {
    /// The name asked for, shortened.
    pub name: String,
    /// The zone with the most similar name, if one is similar.
    pub suggestion: Option<Tz>,
}

/// The zone called `name`, such as `Europe/Berlin` or `UTC`.
pub fn zone(name: &str) -> Result<Tz, UnknownZone> {
    name.parse().map_err(|_| {
        let name = super::error::quote(name);
        let suggestion = similar(&name);
        UnknownZone { name, suggestion }
    })
}

/// The zone whose name, or whose part after the last `/`, is most like `name`, whatever its case.
fn similar(name: &str) -> Option<Tz> {
    let name = name.to_lowercase().replace(' ', "_");
    let likeness = |zone: &Tz| {
        let whole = zone.name().to_lowercase();
        let city = whole.rsplit('/').next().unwrap_or_default();
        strsim::jaro_winkler(&name, &whole).max(strsim::jaro_winkler(&name, city))
    };
    TZ_VARIANTS
        .iter()
        .map(|zone| (likeness(zone), *zone))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, zone)| zone)
}
