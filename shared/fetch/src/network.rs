//! Networks, as operators write them down.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// How many bits are the same.
    prefix: u8,
}

impl Network {
    /// The network of `prefix` bits around `address`; of an IPv4 address that is written as IPv6 it is
    /// the IPv4 network, as long as the prefix reaches into it.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
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

    /// The networks in `text`, separated by commas; an address by itself is a network of one.
    ///
    /// # Errors
    /// What is none, for a person.
    pub fn list(text: &str) -> impl Iterator<Item = Result<Self, BadNetwork>> {
        let entries = text.split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).map(str::parse)
    }

    /// Its first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Whether `address` is in it; an IPv4 address that is written as IPv6 is not in a network of IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
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

/// What is written is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNetwork {
    /// It is no address with the length of a prefix.
    #[error("{0:?} is no network such as 10.0.0.0/8 or fd00::/8")]
    Malformed(String),
    /// It names one address in the middle of a network.
    #[error("{text:?} has bits behind its prefix; is {network} meant?")]
    BitsBehindPrefix {
        /// What is written.
        text: String,
        /// The network around it.
        network: Network,
    },
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let wrong = || BadNetwork::Malformed(text.to_owned());
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
            return Err(BadNetwork::BitsBehindPrefix {
                text: text.to_owned(),
                network,
            });
        }
        Ok(network)
    }
}
