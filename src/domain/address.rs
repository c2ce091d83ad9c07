//! Which addresses are on the open internet: what a server may be made to call without reaching into its own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 ranges that are no place on the open internet (IANA's special-purpose registry, multicast and what is reserved).
const INSIDE_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Between carriers and their customers.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local: clouds answer there with credentials.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::BROADCAST, 32),
];
/// What of IPv6 is handed out to the internet; everything else (loopback, mapped IPv4, NAT64, local, multicast) is not.
const OUTSIDE_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Parts of it that lead elsewhere: Teredo and its kin, documentation, 6to4.
const INSIDE_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is on the open internet. An IPv4 address in the clothes of IPv6 is not: no name leads there honestly.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let within = |(first, prefix): &(Ipv4Addr, u32)| (v4.to_bits() ^ first.to_bits()) >> (32 - prefix) == 0;
            !INSIDE_V4.iter().any(within)
        }
        IpAddr::V6(v6) => {
            let within = |(first, prefix): &(Ipv6Addr, u32)| (v6.to_bits() ^ first.to_bits()) >> (128 - prefix) == 0;
            within(&OUTSIDE_V6) && !INSIDE_V6.iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(expected: bool, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn places_on_the_internet_are_public() {
        check(true, &["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"]);
        check(true, &["172.15.255.255", "172.32.0.0", "192.167.255.255", "198.17.255.255", "223.255.255.255"]);
        check(true, &["2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "2400:cb00::1"]);
    }

    #[test]
    fn everything_inside_is_not() {
        check(false, &["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"]);
        check(false, &["169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "198.18.0.1", "192.0.0.170"]);
        check(false, &["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]);
        check(false, &["::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::8.8.8.8", "64:ff9b::8.8.8.8"]);
        check(false, &["64:ff9b:1::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "100::1"]);
        check(false, &["2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1"]);
    }

    proptest! {
        #[test]
        fn what_the_standard_library_calls_special_is_never_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!(special && is_public(v4.into())), "{v4}");
            prop_assert!(!is_public(v4.to_ipv6_mapped().into()) && !is_public(v4.to_ipv6_compatible().into()));
        }

        #[test]
        fn nor_is_it_in_ipv6(bits in any::<u128>(), prefix in prop_oneof![Just(None), any::<u8>().prop_map(Some)]) {
            let bits = prefix.map_or(bits, |first| bits & (u128::MAX >> 8) | u128::from(first) << 120);
            let v6 = Ipv6Addr::from_bits(bits);
            let special = v6.is_loopback() || v6.is_multicast() || v6.is_unspecified() || v6.is_unique_local()
                || v6.is_unicast_link_local();
            prop_assert!(!(special && is_public(v6.into())), "{v6}");
        }

        #[test]
        fn an_address_is_known_in_whatever_way_a_url_writes_it(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = v4.octets();
            for host in [format!("{bits}"), format!("0x{bits:x}"), format!("0{bits:o}"), format!("{a}.{b}.{c}.{d}"),
                format!("0x{a:x}.0{b:o}.{}", u32::from(c) << 8 | u32::from(d))] {
                let url = url::Url::parse(&format!("http://{host}/")).unwrap();
                prop_assert_eq!(url.host(), Some(url::Host::Ipv4(v4)), "{}", host);
            }
        }
    }
}
