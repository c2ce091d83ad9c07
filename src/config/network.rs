//! Ranges of addresses, for the proxies whose headers are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::problem::quoted;

/// A range of addresses such as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    first: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// Whether an address lies in the range; an IPv4 address written as IPv6 is the same address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.first)
    }
}

/// The first address of the range with that prefix; nothing where the prefix is longer than the address.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let shift = 32_u32.checked_sub(prefix.into())?;
            Some(IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(shift).unwrap_or(0)).into()))
        }
        IpAddr::V6(v6) => {
            let shift = 128_u32.checked_sub(prefix.into())?;
            Some(IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(shift).unwrap_or(0)).into()))
        }
    }
}

impl FromStr for IpNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is no address or range, such as \"10.0.0.0/8\" or \"::1\"", quoted(text));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(all), |prefix| prefix.parse().map_err(|_| wrong()))?;
        let first = masked(address, prefix).ok_or_else(wrong)?;
        // A mapped range is the IPv4 range that it means.
        match (first, first.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if prefix >= 96 => {
                Ok(Self { first: canonical, prefix: prefix - 96 })
            }
            _ => Ok(Self { first, prefix }),
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: IpNetwork = network.parse().unwrap();
        assert!(inside.iter().all(|address| network.contains(address.parse().unwrap())), "{network}");
        assert!(!outside.iter().any(|address| network.contains(address.parse().unwrap())), "{network}");
    }

    #[test]
    fn a_range_holds_its_addresses_in_either_spelling_and_no_others() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "9.255.255.255", "::1"]);
        check("10.1.2.3/8", &["10.9.9.9"], &["11.0.0.0"]);
        check("127.0.0.1", &["127.0.0.1", "::ffff:127.0.0.1"], &["127.0.0.2", "::1"]);
        check("0.0.0.0/0", &["8.8.8.8"], &["2001:db8::1"]);
        check("fd00::/8", &["fd12::1"], &["fe80::1", "10.0.0.1"]);
        check("::ffff:192.168.0.0/112", &["192.168.3.4"], &["192.169.0.0"]);
        check("::/0", &["::1"], &["10.0.0.1"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text:?}");
        }
    }
}
