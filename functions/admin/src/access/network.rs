//! Where callers may be, as addresses of the network.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use nightshift_fetch::Network;
use nightshift_settings::Reader;

use crate::problem::{Kind, Problem};

/// The setting with the networks.
pub(super) const ALLOWED: &str = "NIGHTSHIFT_OPS_ALLOWED_IPS";

/// The header with the addresses that a request came through.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: the last entry of `X-Forwarded-For`, with or without a port. An IPv4 address
/// that is written as IPv6 counts as IPv4.
///
/// Only the last entry may be trusted, and only where a front end that cannot be passed by appends
/// it, as the one of Azure Functions does. What stands before it is the client's own claim. Our own
/// host writes the header itself when it proxies (`enableProxyingHttpRequest`); when it forwards
/// (`enableForwardingHttpRequest`), which is how this application is deployed, it passes on what the
/// client sent. There the address means nothing unless a reverse proxy stands before the host.
pub(super) fn client(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let entry = last.to_str().ok()?.rsplit(',').next()?.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().ok()?.into(),
        None => match entry.parse() {
            Ok(address) => address,
            Err(_) => entry.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

/// The networks in which callers may be.
#[derive(Debug, Default)]
pub(super) struct AllowList(Option<Vec<Network>>);

impl AllowList {
    /// Reads `NIGHTSHIFT_OPS_ALLOWED_IPS`: networks such as `10.0.0.0/8` or `fd00::/8`, or single
    /// addresses, separated by commas. Without it callers may be anywhere.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let Some(text) = reader.maybe::<String>(ALLOWED) else {
            return Self(None);
        };
        let mut networks = Vec::new();
        for network in Network::list(&text) {
            match network {
                Ok(network) => networks.push(network),
                Err(error) => reader.problem(ALLOWED, error.to_string()),
            }
        }
        if networks.is_empty() {
            reader.problem(ALLOWED, "names no network");
        }
        Self(Some(networks))
    }

    /// Whether a caller at `client` may ask at all.
    pub(super) fn admit(&self, client: Option<IpAddr>) -> Result<(), Problem> {
        let Some(networks) = &self.0 else {
            return Ok(());
        };
        let forbidden = |what: String| Err(Problem::new(Kind::Forbidden, what));
        match client {
            None => forbidden(format!(
                "{ALLOWED} is set, and the last entry of X-Forwarded-For is no address"
            )),
            Some(client) if networks.iter().any(|network| network.contains(client)) => Ok(()),
            Some(client) => forbidden(format!("{client} is in no network of {ALLOWED}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        headers
    }

    fn list(text: &str) -> (AllowList, Vec<String>) {
        let source: MapSource = [(ALLOWED, text)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let list = AllowList::read(&mut reader);
        let problems = reader.finish(&[]).err().map(|problems| problems.0);
        let texts = problems.unwrap_or_default().into_iter();
        (list, texts.map(|problem| problem.what).collect())
    }

    #[test]
    fn the_last_entry_of_the_last_header_is_the_client() {
        for (values, expected) in [
            (&["1.2.3.4"][..], Some("1.2.3.4")),
            (&["9.9.9.9, 1.2.3.4"], Some("1.2.3.4")),
            (&["9.9.9.9", "8.8.8.8,1.2.3.4:5678"], Some("1.2.3.4")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["::ffff:1.2.3.4"], Some("1.2.3.4")),
            (&["[::ffff:1.2.3.4]:80"], Some("1.2.3.4")),
            (&["1.2.3.4,"], None),
            (&["1.2.3.4", "unknown"], None),
            (&["[1.2.3.4]"], None),
            (&["1.2.3.4:99999"], None),
            (&[""], None),
            (&[], None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(client(&headers(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_client_in_a_network_is_let_in_and_others_are_not() {
        let (list, problems) =
            list("10.0.0.0/8, 192.0.2.7,fd00::/8, 2001:db8::1, ::ffff:198.51.100.0/120,");
        assert_eq!(problems, [""; 0]);
        for (address, is_in) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.1.1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.9", true),
            ("198.51.101.9", false),
            ("fdff::1", true),
            ("fe00::1", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            let client = client(&headers(&[address]));
            let outcome = list.admit(client);
            assert_eq!(outcome.is_ok(), is_in, "{address}");
            if let Err(problem) = outcome {
                assert_eq!(problem.kind, Kind::Forbidden);
            }
        }
        let nowhere = list.admit(None).unwrap_err();
        assert_eq!(nowhere.kind, Kind::Forbidden);
        assert!(nowhere.detail.contains("X-Forwarded-For"), "{nowhere}");
    }

    #[test]
    fn all_of_ipv4_is_not_all_of_ipv6() {
        let (list, _) = list("0.0.0.0/0");
        assert!(list.admit("1.2.3.4".parse().ok()).is_ok());
        assert!(list.admit("::1".parse().ok()).is_err());
    }

    #[test]
    fn without_the_setting_callers_may_be_anywhere() {
        assert!(AllowList::default().admit(None).is_ok());
    }

    #[test]
    fn what_is_no_network_is_a_problem_and_lets_nobody_in() {
        let (nobody, problems) =
            list("10.0.0.0/33, fd00::/129, 10.0.0.1/8, here, 1.2.3.4/+8, 1.2.3.4/");
        assert_eq!(
            problems,
            [
                "\"10.0.0.0/33\" is no network such as 10.0.0.0/8 or fd00::/8",
                "\"fd00::/129\" is no network such as 10.0.0.0/8 or fd00::/8",
                "\"10.0.0.1/8\" has bits behind its prefix; is 10.0.0.0/8 meant?",
                "\"here\" is no network such as 10.0.0.0/8 or fd00::/8",
                "\"1.2.3.4/+8\" is no network such as 10.0.0.0/8 or fd00::/8",
                "\"1.2.3.4/\" is no network such as 10.0.0.0/8 or fd00::/8",
                "names no network",
            ]
        );
        assert!(nobody.admit("10.0.0.1".parse().ok()).is_err());
        assert_eq!(list(",").1, ["names no network"]);
    }
}
