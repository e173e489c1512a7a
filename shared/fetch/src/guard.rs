//! Whom we ask when somebody else has chosen the address.
//!
//! A process in a data centre reaches what its callers do not: itself, its neighbours, the metadata service
//! that hands out identities. So we look a name up ourselves, ask nobody if one of its addresses is not an
//! ordinary one of the Internet, and connect to what we have looked at: another answer of the name server a
//! moment later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::uri::{Scheme, Uri};

use crate::{Address, FetchError, Network};

/// The networks of IPv4 that are no part of the Internet, and what each is.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const NOT_PUBLIC: [([u8; 4], u8, &str); 17] = [
    ([0, 0, 0, 0], 8, "this machine itself"),
    ([10, 0, 0, 0], 8, PRIVATE),
    ([100, 64, 0, 0], 10, "shared by the customers of a provider"),
    ([127, 0, 0, 0], 8, LOOPBACK),
    // Before the network that it is in, to be called what it is.
    ([169, 254, 169, 254], 32, "a cloud's metadata service"),
    ([169, 254, 0, 0], 16, LINK_LOCAL),
    (
        [168, 63, 129, 16],
        32,
        "Azure's own service to its machines",
    ),
    ([172, 16, 0, 0], 12, PRIVATE),
    ([192, 0, 0, 0], 24, "of a protocol's own"),
    ([192, 0, 2, 0], 24, DOCUMENTATION),
    ([192, 88, 99, 0], 24, TUNNEL),
    ([192, 168, 0, 0], 16, PRIVATE),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, DOCUMENTATION),
    ([203, 0, 113, 0], 24, DOCUMENTATION),
    ([224, 0, 0, 0], 4, MULTICAST),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// Those of IPv6. What is outside of `2000::/3` is not public either, even if it is not here.
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
const NOT_PUBLIC_V6: [([u16; 8], u8, &str); 11] = [
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    (
        [0, 0, 0, 0, 0, 0, 0, 0],
        96,
        "an IPv4 address in IPv6's place, or none",
    ),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, TUNNEL),
    // Teredo, ORCHID, benchmarks and others of which none is a host's own.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "of a protocol's own"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, TUNNEL),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, PRIVATE),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
];

/// The addresses that are given to networks of the Internet.
const GLOBAL_V6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// An IPv4 address as a machine without IPv4 sees it; it is as public as that.
const NAT64: ([u16; 8], u8) = ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const DOCUMENTATION: &str = "for documentation";
const LINK_LOCAL: &str = "of the local link";
const LOOPBACK: &str = "this machine itself";
const MULTICAST: &str = "multicast";
const PRIVATE: &str = "private";
const TUNNEL: &str = "the entrance of a tunnel";

/// Decides whom we ask: over `https://` hosts of the Internet, and whom the operator trusts.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    trusted: Vec<Network>,
}

impl Guard {
    /// Lets what is in `trusted` networks be asked, too, and that also without TLS.
    pub fn trusting(trusted: Vec<Network>) -> Self {
        Self { trusted }
    }

    /// Refuses `uri` for what can be said without looking its name up.
    ///
    /// # Errors
    /// [`FetchError`] names the host, and why it is not asked.
    pub fn check(&self, uri: &Uri) -> Result<(), FetchError> {
        let address = Address::of(uri)?;
        let refused = |reason: &str| Err(address.refused(reason.to_owned()));
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return refused("a user or password in an address is not sent");
        }
        if uri.scheme() == Some(&Scheme::HTTP) && self.trusted.is_empty() {
            return refused(NEEDS_TLS);
        }
        if let Ok(ip) = address.host.parse() {
            return self.check_ip(&address, ip);
        }
        if is_number(&address.host) {
            return refused("an IPv4 address is written as four decimal numbers");
        }
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if address.host.is_empty() || !address.host.chars().all(is_of_name) {
            return refused("it is no name of a host");
        }
        Ok(())
    }

    /// Refuses `address` unless all addresses that were `found` for its name may be asked.
    pub(crate) fn check_found(
        &self,
        address: &Address,
        found: &[SocketAddr],
    ) -> Result<(), FetchError> {
        if found.is_empty() {
            return Err(address.refused("its name has no address".to_owned()));
        }
        found
            .iter()
            .try_for_each(|found| self.check_ip(address, found.ip()))
    }

    fn check_ip(&self, address: &Address, ip: IpAddr) -> Result<(), FetchError> {
        let ip = ip.to_canonical();
        if self.trusted.iter().any(|network| network.contains(ip)) {
            return Ok(());
        }
        if let Some(what) = not_public(ip) {
            return Err(address.refused(format!(
                "{ip} is no address of the Internet ({what}), and in no network that is trusted"
            )));
        }
        if !address.is_secure {
            return Err(address.refused(NEEDS_TLS.to_owned()));
        }
        Ok(())
    }
}

const NEEDS_TLS: &str =
    "its address has to begin with https://, unless it is in a network that is trusted";

/// Whether `host` ends in a number, as what some take for an IPv4 address: `2130706433`, `0x7f.1`.
fn is_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Why `ip` is no address of an ordinary host of the Internet, if it is none.
fn not_public(ip: IpAddr) -> Option<&'static str> {
    let is_in = |ip, network: IpAddr, prefix| Network::around(network, prefix).contains(ip);
    match ip {
        IpAddr::V4(_) => {
            let mut networks = NOT_PUBLIC.into_iter();
            let known = networks.find(|(network, prefix, _)| is_in(ip, (*network).into(), *prefix));
            known.map(|(_, _, what)| what)
        }
        IpAddr::V6(v6) if is_in(ip, NAT64.0.into(), NAT64.1) => not_public(last_four(v6).into()),
        IpAddr::V6(_) => {
            let mut networks = NOT_PUBLIC_V6.into_iter();
            let known = networks.find(|(network, prefix, _)| is_in(ip, (*network).into(), *prefix));
            let is_global = is_in(ip, GLOBAL_V6.0.into(), GLOBAL_V6.1);
            let known = known.map(|(_, _, what)| what);
            known.or((!is_global).then_some("not assigned"))
        }
    }
}

/// The IPv4 address in the last four bytes.
fn last_four(v6: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = v6.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::tests::LIMITS;
    use crate::{fetch_found, fetch_public};

    fn guard(trusted: &str) -> Guard {
        let trusted: Result<_, _> = Network::list(trusted).collect();
        Guard::trusting(trusted.unwrap())
    }

    fn refusal(guard: &Guard, url: &str) -> Option<String> {
        let uri: Uri = url.parse().unwrap();
        match guard.check(&uri) {
            Ok(()) => None,
            Err(FetchError::Refused { reason, .. }) => Some(reason),
            Err(FetchError::Address { reason, .. }) => Some(reason.to_owned()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn hosts_of_the_internet_may_be_asked_and_nobody_else() {
        let nobody = Guard::default();
        for host in [
            "hooks.example.com",
            "xn--bcher-kva.example",
            "a_b.example",
            "example.com.",
            "hooks.example.com:8443",
            "8.8.8.8",
            "169.253.255.255",
            "169.255.0.0",
            "168.63.129.15",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.0",
            "[2606:4700::1111]",
            "[2001:200::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
        ] {
            assert_eq!(
                refusal(&nobody, &format!("https://{host}/t")),
                None,
                "{host}"
            );
            let refused = refusal(&nobody, &format!("http://{host}/t")).unwrap();
            assert!(refused.contains("https://"), "{host}: {refused}");
        }
        for (host, expected) in [
            ("127.0.0.1", "this machine"),
            ("127.255.255.254", "this machine"),
            ("0.0.0.0", "this machine"),
            ("10.1.2.3", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("169.254.169.254", "metadata"),
            ("169.254.1.1", "local link"),
            ("168.63.129.16", "Azure"),
            ("100.64.0.1", "shared"),
            ("198.19.255.255", "benchmarks"),
            ("192.0.2.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("[::]", "or none"),
            ("[::1]", "this machine"),
            ("[::127.0.0.1]", "in IPv6's place"),
            ("[::ffff:127.0.0.1]", "this machine"),
            ("[::ffff:7f00:1]", "this machine"),
            ("[::ffff:0:127.0.0.1]", "not assigned"),
            ("[64:ff9b::7f00:1]", "this machine"),
            ("[64:ff9b::a9fe:a9fe]", "metadata"),
            ("[64:ff9b:1::808:808]", "tunnel"),
            ("[2002:7f00:1::]", "tunnel"),
            ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "protocol"),
            ("[2001:db8::1]", "documentation"),
            ("[fe80::1]", "local link"),
            ("[fec0::1]", "private"),
            ("[fd00::1]", "private"),
            ("[ff02::1]", "multicast"),
            ("[100::1]", "not assigned"),
            ("[4000::1]", "not assigned"),
            ("2130706433", "four decimal numbers"),
            ("017700000001", "four decimal numbers"),
            ("0x7f000001", "four decimal numbers"),
            ("0X7F000001", "four decimal numbers"),
            ("0x7f.1", "four decimal numbers"),
            ("127.1", "four decimal numbers"),
            ("127.0.0.01", "four decimal numbers"),
            ("0177.0.0.1", "four decimal numbers"),
            ("127.0.0.1.", "four decimal numbers"),
            ("127.0.0.0x1", "four decimal numbers"),
            ("256.256.256.256", "four decimal numbers"),
            ("example.0x", "four decimal numbers"),
            ("user@hooks.example.com", "user or password"),
            ("user:word@hooks.example.com", "user or password"),
            ("hooks.example.com:80@127.0.0.1", "user or password"),
            ("exa!mple.com", "no name of a host"),
        ] {
            let url = format!("https://{host}/token");
            let reason = refusal(&nobody, &url).unwrap_or_else(|| panic!("{host} may be asked"));
            assert!(reason.contains(expected), "{host}: {reason}");
        }
        for url in ["ftp://example.com/t", "/t", "example.com"] {
            assert!(refusal(&nobody, url).is_some(), "{url}");
        }
    }

    #[test]
    fn what_is_no_host_at_all_is_not_asked() {
        for url in [
            "https://127%2e0.0.1/",
            "https://ex ample.com/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
            "https://\u{2460}27.0.0.1/",
            "https:///token",
        ] {
            let is_refused = |uri: Uri| Guard::default().check(&uri).is_err();
            assert!(url.parse().map_or(true, is_refused), "{url}");
        }
    }

    #[test]
    fn trusted_networks_may_be_asked_also_without_tls() {
        let guard = guard("127.0.0.0/8, fd00::/8");
        for (url, is_admitted) in [
            ("http://127.0.0.1:1/t", true),
            ("http://[::ffff:127.0.0.1]/t", true),
            ("https://127.0.0.1/t", true),
            ("http://[fd12::1]/t", true),
            ("http://[::1]/t", false),
            ("http://8.8.8.8/t", false),
            ("https://8.8.8.8/t", true),
            ("https://10.0.0.1/t", false),
            ("http://127.1/t", false),
            ("http://user@127.0.0.1/t", false),
        ] {
            assert_eq!(refusal(&guard, url).is_none(), is_admitted, "{url}");
        }
    }

    /// Written anew, by what the standard library says where it does.
    fn is_public(ip: Ipv4Addr) -> bool {
        let [a, b, c, _] = ip.octets();
        let is_elsewhere = ip.is_private()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.is_broadcast()
            || ip.is_documentation()
            || ip.is_multicast();
        let is_special = a == 0
            || a >= 240
            || a == 100 && (64..128).contains(&b)
            || a == 198 && (b == 18 || b == 19)
            || (a, b, c) == (192, 0, 0)
            || (a, b, c) == (192, 88, 99)
            || ip == Ipv4Addr::new(168, 63, 129, 16);
        !is_elsewhere && !is_special
    }

    #[test]
    fn the_edges_of_each_network_are_in_it_and_their_neighbours_are_judged_by_themselves() {
        for (network, prefix, what) in NOT_PUBLIC {
            let first = Ipv4Addr::from(network).to_bits();
            let last = first | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            for inside in [first, last] {
                assert!(
                    not_public(Ipv4Addr::from_bits(inside).into()).is_some(),
                    "{what}"
                );
            }
            for near in [first.wrapping_sub(1), last.wrapping_add(1)] {
                let ip = Ipv4Addr::from_bits(near);
                assert_eq!(not_public(ip.into()).is_none(), is_public(ip), "{ip}");
            }
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_as_its_octets_say_however_it_is_written(
            network in 0..NOT_PUBLIC.len(), offset in -3_i64..=3, is_last: bool, any: u32, is_any: bool,
        ) {
            let (first, prefix, _) = NOT_PUBLIC[network];
            let first = Ipv4Addr::from(first).to_bits();
            let last = first | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let edge = i64::from(if is_last { last } else { first }) + offset;
            let near = u32::try_from(edge.rem_euclid(1 << 32)).unwrap();
            let ip = Ipv4Addr::from_bits(if is_any { any } else { near });
            prop_assert_eq!(not_public(ip.into()).is_none(), is_public(ip), "{}", ip);
            let nobody = Guard::default();
            let [a, b, c, d] = ip.octets();
            for host in [
                format!("{ip}"),
                format!("[::ffff:{ip}]"),
                format!("[64:ff9b::{a:02x}{b:02x}:{c:02x}{d:02x}]"),
            ] {
                let is_refused = refusal(&nobody, &format!("https://{host}/")).is_some();
                prop_assert_eq!(is_refused, !is_public(ip), "{}", host);
            }
            // Those that carry an address somewhere else are refused, whatever it is.
            for host in [
                format!("[::{ip}]"),
                format!("[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"),
                format!("[2001::{:x}:{:x}]", !(u16::from(a) << 8 | u16::from(b)), !(u16::from(c) << 8 | u16::from(d))),
                ip.to_bits().to_string(),
                format!("{:#x}", ip.to_bits()),
                format!("{a:#x}.{b}.{c}.{d:#o}").replace("0o", "0"),
            ] {
                let is_refused = refusal(&nobody, &format!("https://{host}/")).is_some();
                prop_assert!(is_refused, "{}", host);
            }
        }
    }

    fn request(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn a_name_is_not_asked_if_one_of_its_addresses_may_not_be() {
        for found in [
            &["127.0.0.1:443"][..],
            &["8.8.8.8:443", "10.0.0.1:443"],
            &["[2606:4700::1111]:443", "[::ffff:169.254.169.254]:443"],
            &["[fe80::1%3]:443"],
            &[],
        ] {
            let found: Vec<SocketAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
            for host in ["rebound.example.com", "localhost."] {
                let request = request(&format!("https://{host}/token"));
                let find = async |_: &str, _| Ok(found.clone());
                let asked = fetch_found(request, LIMITS, &Guard::default(), find).await;
                let error = asked.unwrap_err();
                assert!(
                    matches!(error, FetchError::Refused { .. }),
                    "{found:?}: {error:?}"
                );
                assert!(!error.to_string().contains("token"), "{error}");
            }
        }
        let error = fetch_public(request("https://localhost/"), LIMITS, &Guard::default()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn what_was_looked_at_is_asked_although_the_name_has_another_address_by_then() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            assert!(request.contains("host: rebound.example.com"), "{request}");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        });
        let asked = std::cell::Cell::new(0);
        let find = async |host: &str, _| {
            assert_eq!(host, "rebound.example.com");
            asked.set(asked.get() + 1);
            // Whoever asks twice is sent elsewhere.
            Ok(if asked.get() == 1 {
                vec![address]
            } else {
                vec!["10.255.255.1:9".parse().unwrap()]
            })
        };
        let request = request("http://rebound.example.com/token");
        let answer = fetch_found(request, LIMITS, &guard("127.0.0.1"), find).await;
        assert_eq!(answer.unwrap().body(), "ok");
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test]
    async fn a_name_of_the_internet_is_not_asked_without_tls_though_some_network_is_trusted() {
        let find = async |_: &str, _| Ok(vec!["8.8.8.8:80".parse().unwrap()]);
        let request = request("http://hooks.example.com/token");
        let error = fetch_found(request, LIMITS, &guard("127.0.0.1"), find).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("https://"), "{error}");
    }
}
