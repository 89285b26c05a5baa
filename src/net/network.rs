//! Ranges of addresses.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of IP addresses, such as `10.0.0.0/8` or `2001:db8::/32`: for the peers that a server
/// trusts.
///
/// An IPv4 address and its form in IPv6, `::ffff:10.0.0.1`, are the same here.
///
/// # Examples
///
/// ```
/// use ethreads::net::Network;
///
/// let internal: Network = "10.0.0.0/8".parse()?;
/// assert!(internal.contains("10.1.2.3".parse()?));
/// assert!(!internal.contains("11.1.2.3".parse()?));
/// // An address alone, and all addresses.
/// let one = Network::from("::1".parse::<std::net::IpAddr>()?);
/// assert_eq!(one.to_string(), "::1/128");
/// assert!("::/0".parse::<Network>()?.contains("2001:db8::1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Makes the range of the addresses that have the first `prefix` bits of `address`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `prefix` is more than the bits of the address, 32 or 128, or if a bit of
    /// `address` behind them is set: then one of the two is not what was meant.
    pub fn new(address: IpAddr, prefix: u8) -> io::Result<Self> {
        let (address, prefix) = match address.to_canonical() {
            // Of an IPv4 address in the form of IPv6.
            short if short != address && prefix >= 96 => (short, prefix - 96),
            _ => (address, prefix),
        };
        let network = Self { address, prefix };
        if prefix > bits(address) {
            return Err(malformed("the prefix is longer than the address"));
        }
        if network.masked(address) != number(address) {
            return Err(malformed("bits behind the prefix are set"));
        }
        Ok(network)
    }

    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_alike = address.is_ipv4() == self.address.is_ipv4();
        is_alike && self.masked(address) == number(self.address)
    }

    /// The address without the bits behind the prefix.
    fn masked(&self, address: IpAddr) -> u128 {
        let behind = u32::from(bits(self.address) - self.prefix);
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        number(address) & mask
    }
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => Ipv4Addr::BITS as u8,
        IpAddr::V6(_) => Ipv6Addr::BITS as u8,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl From<IpAddr> for Network {
    /// The range of one address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = bits(address);
        Self { address, prefix }
    }
}

impl FromStr for Network {
    type Err = io::Error;

    /// Reads `ADDRESS/PREFIX`, or an address alone.
    fn from_str(text: &str) -> io::Result<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| malformed("a network is ADDRESS/PREFIX, or an address"))?;
        let Some(prefix) = prefix else {
            return Ok(address.into());
        };
        let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| is_number);
        let prefix =
            prefix.ok_or_else(|| malformed("the prefix of a network is a number of bits"))?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().unwrap();
        for address in inside {
            assert!(network.contains(address.parse().unwrap()), "{address}");
        }
        for address in outside {
            assert!(!network.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        check(
            "192.168.4.0/22",
            &["192.168.4.0", "192.168.7.255", "::ffff:192.168.5.1"],
            &["192.168.3.255", "192.168.8.0", "::c0a8:401"],
        );
        check("10.0.0.1", &["10.0.0.1"], &["10.0.0.2", "::1"]);
        check("10.0.0.1/32", &["10.0.0.1"], &["10.0.0.0"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check("::/0", &["::1", "2001:db8::1"], &["1.2.3.4"]);
        check("2001:db8::/33", &["2001:db8:7fff::"], &["2001:db8:8000::"]);
        check("::1/128", &["::1"], &["::", "::2"]);
        check("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.0"]);
    }

    #[test]
    fn malformed_networks_are_refused() {
        let malformed = [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            "2001:db8::1/32",
        ];
        for text in malformed {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
