//! How many credentials were wrong lately, by where they came from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_fetch::Network;

use crate::problem::{Kind, Problem};

/// How many wrong credentials one place may show within [`WINDOW`].
const MOST: u32 = 10;

/// How long failures count, from the first of them.
const WINDOW: TimeDelta = TimeDelta::minutes(1);

/// How many places are remembered. Beyond that the one that failed first is forgotten.
const PLACES: usize = 10_000;

/// Who is counted together: one IPv4 address, one IPv6 network of 64 bits, because one
/// caller has all of its addresses, or everybody whose address is not known.
type Place = Option<IpAddr>;

fn place(client: Option<IpAddr>) -> Place {
    client.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(_) => Network::around(address, 64).first(),
    })
}

#[derive(Debug, Clone, Copy)]
struct Count {
    since: DateTime<Utc>,
    failures: u32,
}

impl Count {
    /// How long this still counts. A clock that was set back ends it too.
    fn left(self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let age = now - self.since;
        (age >= TimeDelta::zero() && age < WINDOW).then(|| WINDOW - age)
    }
}

#[derive(Debug, Default)]
struct Table {
    counts: HashMap<Place, Count>,
    /// When counts that are over were last taken out.
    swept_at: Option<DateTime<Utc>>,
}

/// All of them. Who shows too many wrong credentials is told so for the rest of the minute. A right one is
/// let in all the same: others may come from the same place, and credentials are too long to be guessed.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Table>);

impl Failures {
    /// Whether a caller at `client` may show a credential.
    pub(super) fn admit(&self, client: Option<IpAddr>, now: DateTime<Utc>) -> Result<(), Problem> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.counts.get(&place(client)).copied();
        let Some(left) = count
            .filter(|count| count.failures >= MOST)
            .and_then(|count| count.left(now))
        else {
            return Ok(());
        };
        // Rounded up: who waits that long must not be too early.
        let seconds = (left + TimeDelta::milliseconds(999)).num_seconds();
        let what = format!("{MOST} wrong credentials came from here within a minute");
        let mut problem = Problem::new(Kind::TooManyFailures, what);
        problem.retry_after = Some(u64::try_from(seconds).unwrap_or(1).max(1));
        Err(problem)
    }

    /// Remembers that a caller at `client` has shown a wrong credential.
    pub(super) fn count(&self, client: Option<IpAddr>, now: DateTime<Utc>) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.sweep(now);
        let place = place(client);
        if !table.counts.contains_key(&place) {
            table.make_room();
        }
        let fresh = Count {
            since: now,
            failures: 0,
        };
        let count = table.counts.entry(place).or_insert(fresh);
        if count.left(now).is_none() {
            *count = fresh;
        }
        count.failures = count.failures.saturating_add(1);
    }
}

impl Table {
    /// Takes out what is over, once in a [`WINDOW`].
    fn sweep(&mut self, now: DateTime<Utc>) {
        let is_due = self.swept_at.is_none_or(|at| (now - at).abs() >= WINDOW);
        if is_due {
            self.counts.retain(|_, count| count.left(now).is_some());
            self.counts.shrink_to_fit();
            self.swept_at = Some(now);
        }
    }

    fn make_room(&mut self) {
        if self.counts.len() < PLACES {
            return;
        }
        let first = self.counts.iter().min_by_key(|(_, count)| count.since);
        if let Some(place) = first.map(|(place, _)| *place) {
            self.counts.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: Place = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const THERE: Place = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    fn fail(failures: &Failures, times: u32, client: Option<IpAddr>, now: DateTime<Utc>) {
        for _ in 0..times {
            failures.admit(client, now).unwrap();
            failures.count(client, now);
        }
    }

    fn places(failures: &Failures) -> usize {
        failures.0.lock().unwrap().counts.len()
    }

    #[test]
    fn after_ten_failures_a_place_waits_until_the_minute_is_over() {
        let failures = Failures::default();
        fail(&failures, 9, HERE, start());
        let later = start() + TimeDelta::milliseconds(20_500);
        fail(&failures, 1, HERE, later);
        let problem = failures.admit(HERE, later).unwrap_err();
        assert_eq!(problem.kind, Kind::TooManyFailures);
        assert_eq!(problem.retry_after, Some(40));
        assert!(failures.admit(THERE, later).is_ok());
        assert!(failures.admit(None, later).is_ok());
        let almost = start() + WINDOW - TimeDelta::milliseconds(1);
        let problem = failures.admit(HERE, almost).unwrap_err();
        assert_eq!(problem.retry_after, Some(1));
        fail(&failures, 10, HERE, start() + WINDOW);
        assert!(failures.admit(HERE, start() + WINDOW).is_err());
    }

    #[test]
    fn those_without_an_address_are_counted_together() {
        let failures = Failures::default();
        fail(&failures, 10, None, start());
        assert!(failures.admit(None, start()).is_err());
    }

    #[test]
    fn one_ipv6_network_is_one_place() {
        let failures = Failures::default();
        let at = |network: u16, host| {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host);
            Some(IpAddr::from(address))
        };
        for host in 0..10 {
            failures.count(at(1, host), start());
        }
        assert!(failures.admit(at(1, 99), start()).is_err());
        assert!(failures.admit(at(2, 1), start()).is_ok());
    }

    #[test]
    fn the_table_does_not_grow_without_end_and_shrinks_again() {
        let failures = Failures::default();
        let count = u32::try_from(PLACES).unwrap();
        for number in 1..=count + 500 {
            let now = start() + TimeDelta::milliseconds(i64::from(number));
            failures.count(Some(Ipv4Addr::from_bits(number).into()), now);
        }
        assert_eq!(places(&failures), PLACES);
        failures.count(HERE, start() + TimeDelta::minutes(5));
        assert_eq!(places(&failures), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let failures = Failures::default();
        fail(&failures, 10, HERE, start());
        let earlier = start() - TimeDelta::hours(1);
        assert!(failures.admit(HERE, earlier).is_ok());
        fail(&failures, 10, HERE, earlier);
        assert!(failures.admit(HERE, earlier).is_err());
    }
}
