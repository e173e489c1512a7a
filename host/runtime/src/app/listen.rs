//! Where the host answers requests.
//!
//! `NIGHTSHIFT_HOST_LISTEN` is an address and a port. Without it, `ASPNETCORE_URLS` is read as the
//! real host reads it: `http://+:80`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nightshift_settings::Reader;

/// The real host's setting.
const URLS: &str = "ASPNETCORE_URLS";

/// The address that the settings name.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    if let Some(address) = reader.maybe("NIGHTSHIFT_HOST_LISTEN") {
        return Some(address);
    }
    let urls: String = reader.maybe(URLS)?;
    match parse_urls(&urls) {
        Ok(address) => Some(address),
        Err(what) => {
            reader.problem(URLS, what);
            None
        }
    }
}

fn parse_urls(urls: &str) -> Result<SocketAddr, String> {
    let expected = || {
        format!(
            "expected one address such as http://+:80, found {urls:?}; \
             NIGHTSHIFT_HOST_LISTEN=127.0.0.1:7071 would be used instead of it"
        )
    };
    let authority = urls.trim().strip_prefix("http://").ok_or_else(expected)?;
    let authority = authority.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| expected())?),
        _ => (authority, 80),
    };
    let ip = match host {
        "+" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| expected())?,
    };
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_real_host_are_understood() {
        for (urls, address) in [
            ("http://+:80", "0.0.0.0:80"),
            ("http://*", "0.0.0.0:80"),
            ("http://localhost:7071/", "127.0.0.1:7071"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::]", "[::]:80"),
        ] {
            assert_eq!(
                parse_urls(urls).map(|found| found.to_string()),
                Ok(address.to_owned())
            );
        }
        for urls in [
            "https://+:443",
            "http://+:80;http://+:81",
            "http://name:1",
            "",
            "http://+:x",
        ] {
            assert!(
                parse_urls(urls)
                    .unwrap_err()
                    .starts_with("expected one address"),
                "{urls}"
            );
        }
    }
}
