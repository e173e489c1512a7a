//! Which schedules are watched from outside, and by whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use nightshift_fetch::{FetchError, Guard, Network};
use nightshift_settings::{ExposeSecret, Reader, SecretString, did_you_mean};
use warp::http::Uri;

use super::{Inner, Line, Pings, Target};

/// The setting with the addresses.
const PINGS: &str = "NIGHTSHIFT_PINGS";

/// The setting with the networks in which they may be although those are not public.
const NETWORKS: &str = "NIGHTSHIFT_PING_NETWORKS";

/// What stands behind the name of a schedule whose bad ends are told.
const FAILED: &str = ":failed";

/// Who is told how the ticks of which schedules end. No one is, by default.
#[derive(Debug, Default)]
pub struct PingSettings {
    guard: Guard,
    lines: BTreeMap<String, Line>,
}

impl PingSettings {
    /// Reads `NIGHTSHIFT_PINGS`, whose entries are `schedule=https://…`, which is asked when a tick of that
    /// schedule has ended well, or `schedule:failed=https://…`, and `NIGHTSHIFT_PING_NETWORKS`. `schedules`
    /// says which there are.
    pub fn read(reader: &mut Reader<'_>, schedules: impl FnOnce() -> Vec<String>) -> Self {
        let guard = Guard::trusting(read_networks(reader));
        let mut settings = Self {
            guard,
            lines: BTreeMap::new(),
        };
        let Some(text) = reader.maybe_secret(PINGS) else {
            return settings;
        };
        let schedules = schedules();
        let entries = text.expose_secret().split(',').map(str::trim);
        for (entry, n) in entries.filter(|entry| !entry.is_empty()).zip(1..) {
            if let Err(what) = settings.add(entry, &schedules) {
                reader.problem(PINGS, format!("entry {n}: {what}"));
            }
        }
        settings
    }

    /// The error holds nothing that may be a secret.
    fn add(&mut self, entry: &str, schedules: &[String]) -> Result<(), String> {
        let wrong = "is not schedule=https://… or schedule:failed=https://…";
        let (name, url) = entry.split_once('=').ok_or(wrong)?;
        let (name, url) = (name.trim(), url.trim());
        let (schedule, is_well) = match name.strip_suffix(FAILED) {
            Some(schedule) => (schedule, false),
            None => (name, true),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if schedule.is_empty() || !schedule.chars().all(is_name) {
            // It may be an address whose name was forgotten.
            return Err(wrong.to_owned());
        }
        if !schedules.iter().any(|known| known == schedule) {
            let near = did_you_mean(schedule, schedules.iter().map(String::as_str));
            // What is like none may be a piece of an address in which a comma is not written as %2C.
            return Err(if near.is_empty() {
                format!("names no schedule; there are {}", schedules.join(", "))
            } else {
                format!("{schedule} is not a schedule{near}")
            });
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| format!("what stands behind {name}= is no address such as https://…"))?;
        self.guard.check(&uri).map_err(|error| match error {
            FetchError::Address { reason, .. } => {
                format!("what stands behind {name}= is no address: {reason}")
            }
            refused => format!("{name}: {refused}"),
        })?;
        let target = Target {
            host: uri.host().unwrap_or_default().to_owned(),
            url: SecretString::from(url.to_owned()),
        };
        let line = self.lines.entry(schedule.to_owned()).or_default();
        let place = if is_well {
            &mut line.well
        } else {
            &mut line.failed
        };
        if place.replace(target).is_some() {
            return Err(format!("{name} is there twice"));
        }
        Ok(())
    }
}

impl From<PingSettings> for Pings {
    fn from(PingSettings { guard, lines }: PingSettings) -> Self {
        Self(Arc::new(Inner {
            guard,
            lines,
            ..Inner::default()
        }))
    }
}

fn read_networks(reader: &mut Reader<'_>) -> Vec<Network> {
    let text: String = reader.maybe(NETWORKS).unwrap_or_default();
    let mut networks = Vec::new();
    for network in Network::list(&text) {
        match network {
            Ok(network) => networks.push(network),
            Err(error) => reader.problem(NETWORKS, error.to_string()),
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    const TOKEN: &str = "5ca1ab1e-0000";

    fn read(pings: &str, networks: &str) -> (PingSettings, Vec<String>) {
        let source: MapSource = [(PINGS, pings), (NETWORKS, networks)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let schedules = || vec!["reports-schedule".to_owned(), "billing-schedule".to_owned()];
        let settings = PingSettings::read(&mut reader, schedules);
        assert!(!format!("{reader:?} {settings:?}").contains(TOKEN));
        let problems = reader.finish(&[]).err().map(|problems| problems.0);
        let texts = problems.unwrap_or_default().into_iter();
        (settings, texts.map(|problem| problem.what).collect())
    }

    #[test]
    fn each_schedule_has_its_addresses() {
        let (settings, problems) = read(
            &format!(
                "reports-schedule=https://hc-ping.com/{TOKEN},
                 reports-schedule:failed = https://hc-ping.com/{TOKEN}/fail,
                 billing-schedule=https://cronitor.link/p/{TOKEN}?state=complete,"
            ),
            "",
        );
        assert_eq!(problems, [""; 0]);
        let url = |schedule: &str, is_well| {
            let target = settings.lines.get(schedule)?.target(is_well)?;
            Some(target.url.expose_secret().to_owned())
        };
        for (schedule, is_well, expected) in [
            ("reports-schedule", true, Some("hc-ping.com/5ca1ab1e-0000")),
            (
                "reports-schedule",
                false,
                Some("hc-ping.com/5ca1ab1e-0000/fail"),
            ),
            (
                "billing-schedule",
                true,
                Some("cronitor.link/p/5ca1ab1e-0000?state=complete"),
            ),
            ("billing-schedule", false, None),
        ] {
            let expected = expected.map(|rest| format!("https://{rest}"));
            assert_eq!(url(schedule, is_well), expected, "{schedule} {is_well}");
        }
        assert!(read("", "").0.lines.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_what_may_be_a_secret() {
        for (pings, expected) in [
            (
                "report-schedule=https://hc-ping.com/5ca1ab1e-0000",
                "entry 1: report-schedule is not a schedule; did you mean reports-schedule?",
            ),
            (
                "nothing=https://hc-ping.com/5ca1ab1e-0000",
                "entry 1: names no schedule; there are reports-schedule, billing-schedule",
            ),
            (
                "https://hc-ping.com/5ca1ab1e-0000",
                "entry 1: is not schedule=https://… or schedule:failed=https://…",
            ),
            (
                "https://hc-ping.com/?5ca1ab1e-0000=1",
                "entry 1: is not schedule=https://… or schedule:failed=https://…",
            ),
            (
                "reports-schedule:late=https://hc-ping.com/5ca1ab1e-0000",
                "entry 1: is not schedule=https://… or schedule:failed=https://…",
            ),
            (
                "reports-schedule=http://hc-ping.com/5ca1ab1e-0000",
                "entry 1: reports-schedule: hc-ping.com may not be asked: its address has to begin with https://, unless it is in a network that is trusted",
            ),
            (
                "reports-schedule=hc-ping.com/5ca1ab1e-0000",
                "entry 1: what stands behind reports-schedule= is no address such as https://…",
            ),
            (
                "reports-schedule=/5ca1ab1e-0000",
                "entry 1: what stands behind reports-schedule= is no address: it begins with neither http:// nor https://",
            ),
            (
                "reports-schedule=https://5ca1ab1e-0000@hc-ping.com/",
                "entry 1: reports-schedule: hc-ping.com may not be asked: a user or password in an address is not sent",
            ),
            (
                "reports-schedule=https://169.254.169.254/5ca1ab1e-0000",
                "entry 1: reports-schedule: 169.254.169.254 may not be asked: 169.254.169.254 is no address of the Internet (a cloud's metadata service), and in no network that is trusted",
            ),
            (
                "reports-schedule=https://a.example/1,reports-schedule=https://a.example/2",
                "entry 2: reports-schedule is there twice",
            ),
        ] {
            let (_, problems) = read(pings, "");
            assert_eq!(problems, [expected], "{pings}");
        }
        let (_, problems) = read("a=b,c", "10.0.0.1/8,here");
        assert_eq!(
            problems,
            [
                "\"10.0.0.1/8\" has bits behind its prefix; is 10.0.0.0/8 meant?",
                "\"here\" is no network such as 10.0.0.0/8 or fd00::/8",
                "entry 1: names no schedule; there are reports-schedule, billing-schedule",
                "entry 2: is not schedule=https://… or schedule:failed=https://…",
            ]
        );
    }

    #[test]
    fn trusted_networks_may_be_told_without_tls() {
        let pings = "reports-schedule=http://10.1.2.3:8080/x,billing-schedule=http://127.0.0.1/x";
        let (_, problems) = read(pings, "10.0.0.0/8");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("entry 2: billing-schedule: 127.0.0.1"));
    }
}
