//! Where callers may be, as addresses of the network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
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
        let entries = text.split(',').map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match entry.parse() {
                Ok(network) => networks.push(network),
                Err(what) => reader.problem(ALLOWED, what),
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

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    /// How many bits are the same.
    prefix: u8,
}

impl Network {
    /// The network of `prefix` bits around `address`; of an IPv4 address that is written as IPv6 it is
    /// the IPv4 network, as long as the prefix reaches into it.
    pub(super) fn around(address: IpAddr, prefix: u8) -> Self {
        let canonical = address.to_canonical();
        let (address, prefix) = match prefix.checked_sub(128 - 32) {
            Some(shorter) if canonical != address => (canonical, shorter),
            _ => (address, prefix),
        };
        let first = match address {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() & high_bits(prefix)).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & high_bits_v6(prefix)).to_be_bytes()),
        };
        Self { first, prefix }
    }

    /// Its first address.
    pub(super) fn first(self) -> IpAddr {
        self.first
    }

    fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && Self::around(address, self.prefix).first == self.first
    }
}

fn high_bits(count: u8) -> u32 {
    !u32::MAX.checked_shr(count.into()).unwrap_or(0)
}

fn high_bits_v6(count: u8) -> u128 {
    !u128::MAX.checked_shr(count.into()).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        if prefix > most {
            return Err(wrong());
        }
        let network = Self::around(address, prefix);
        if network.first != address.to_canonical() && network.first != address {
            return Err(format!(
                "{text:?} has bits behind its prefix; is {network} meant?"
            ));
        }
        Ok(network)
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
