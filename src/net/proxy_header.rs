//! The header of the PROXY protocol, versions 1 and 2.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The header of the PROXY protocol: what a proxy says, at the beginning of a connection, about the
/// connection that it has accepted. Versions 1 and 2.
///
/// A server takes it by
/// [`Server::proxy_protocol`](crate::http::Server#method.proxy_protocol). This type is for
/// programs that speak other protocols, and for proxies, which send it.
///
/// # Examples
///
/// A proxy that passes connections on:
///
/// ```
/// use std::io::{self, Write};
/// use ethreads::net::{ProxyHeader, TcpStream};
///
/// fn pass_on(client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
///     let header = ProxyHeader::new(client.peer_addr()?, client.local_addr()?);
///     server.write_all(&header.to_v2())
///     // Then copy in both directions.
/// }
/// # let _ = pass_on;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    addresses: Option<(SocketAddr, SocketAddr)>,
}

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
const LINE: usize = 107;

impl ProxyHeader {
    /// The maximum length of a header, in bytes: 4 KiB. Version 2 allows 64 KiB, for fields that
    /// are passed over here.
    pub const MAX_LEN: usize = 4096;

    /// Makes the header of a connection from `source` to `destination`. An address of IPv4 beside
    /// one of IPv6 is sent in the form of IPv6.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            addresses: Some((canonical(source), canonical(destination))),
        }
    }

    /// Makes the header of a connection that the proxy itself makes, such as a check of the
    /// server's health, or whose addresses are not known.
    #[must_use]
    pub fn local() -> Self {
        Self { addresses: None }
    }

    /// Returns the address of the client; `None` if the proxy does not tell: then it is that of the
    /// connection.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.addresses.map(|addresses| addresses.0)
    }

    /// Returns the address that the client has connected to; `None` if the proxy does not tell.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        self.addresses.map(|addresses| addresses.1)
    }

    /// Reads the header at the beginning of `input`. Returns it with its length, or `None` if more
    /// input has to arrive.
    ///
    /// Fields of version 2 are passed over, but for the checksum, which is verified.
    ///
    /// # Errors
    ///
    /// If `input` does not begin with a header, or with one that is longer than
    /// [`MAX_LEN`](Self::MAX_LEN) or not of a stream. The connection is to be closed then, as the
    /// protocol demands.
    ///
    /// # Examples
    ///
    /// ```
    /// use ethreads::net::ProxyHeader;
    ///
    /// let input = b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\nGET / HTTP/1.1\r\n";
    /// let (header, len) = ProxyHeader::parse(input)?.expect("it is complete");
    /// assert_eq!(header.source(), Some(([192, 0, 2, 1], 4711).into()));
    /// assert!(input[len..].starts_with(b"GET "));
    /// assert_eq!(ProxyHeader::parse(b"PROXY TC")?, None);
    /// # Ok::<(), ethreads::net::ProxyHeaderError>(())
    /// ```
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, ProxyHeaderError> {
        let begins = |with: &[u8]| {
            let common = input.len().min(with.len());
            input[..common] == with[..common]
        };
        if begins(b"PROXY ") {
            parse_line(input)
        } else if begins(SIGNATURE) {
            parse_binary(input)
        } else {
            Err(ProxyHeaderError("it is no header"))
        }
    }

    /// Returns the header in version 1: a line of text.
    #[must_use]
    pub fn to_v1(&self) -> Vec<u8> {
        let Some((source, destination)) = self.addresses else {
            return b"PROXY UNKNOWN\r\n".to_vec();
        };
        let (family, [from, to]) = match alike(source.ip(), destination.ip()) {
            Alike::V4(from, to) => ("TCP4", [from, to].map(IpAddr::V4)),
            Alike::V6(from, to) => ("TCP6", [from, to].map(IpAddr::V6)),
        };
        // An address of IPv4 in the form of IPv6 is written in hexadecimal digits, as some parsers
        // know no other form.
        let text = |address| match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                let [.., a, b] = v6.segments();
                format!("::ffff:{a:x}:{b:x}")
            }
            address => address.to_string(),
        };
        let (from, to) = (text(from), text(to));
        let ports = (source.port(), destination.port());
        format!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
    }

    /// Returns the header in version 2, which is binary.
    #[must_use]
    pub fn to_v2(&self) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        let Some((source, destination)) = self.addresses else {
            // LOCAL, of no family, without addresses.
            header.extend([0x20, 0, 0, 0]);
            return header;
        };
        let mut addresses = Vec::new();
        let family = match alike(source.ip(), destination.ip()) {
            Alike::V4(from, to) => {
                addresses.extend(from.octets().into_iter().chain(to.octets()));
                0x11
            }
            Alike::V6(from, to) => {
                addresses.extend(from.octets().into_iter().chain(to.octets()));
                0x21
            }
        };
        for port in [source.port(), destination.port()] {
            addresses.extend(port.to_be_bytes());
        }
        header.extend([0x21, family, 0, addresses.len() as u8]);
        header.extend(addresses);
        header
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Two addresses of one family.
enum Alike {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn alike(a: IpAddr, b: IpAddr) -> Alike {
    let wide = |address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Alike::V4(a, b),
        (a, b) => Alike::V6(wide(a), wide(b)),
    }
}

type Parsed = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

/// Reads version 1 (section 2.1).
fn parse_line(input: &[u8]) -> Parsed {
    let within = &input[..input.len().min(LINE)];
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return match within.len() {
            LINE => Err(ProxyHeaderError("the line is too long")),
            _ => Ok(None),
        };
    };
    let text = within[..end].strip_suffix(b"\r");
    let text = text.and_then(|text| str::from_utf8(text).ok());
    let text = text.ok_or(ProxyHeaderError("the line is malformed"))?;
    let words: Vec<&str> = text.split(' ').collect();
    let header = match words[..] {
        // What follows is to be passed over.
        ["PROXY", "UNKNOWN", ..] => ProxyHeader::local(),
        ["PROXY", family, from, to, from_port, to_port] => {
            let (from, to) = match family {
                "TCP4" => (ip::<Ipv4Addr>(from)?, ip::<Ipv4Addr>(to)?),
                "TCP6" => (ip::<Ipv6Addr>(from)?, ip::<Ipv6Addr>(to)?),
                _ => return Err(ProxyHeaderError("the family is not known")),
            };
            let from = SocketAddr::new(from, port(from_port)?);
            ProxyHeader::new(from, SocketAddr::new(to, port(to_port)?))
        }
        _ => return Err(ProxyHeaderError("the line is malformed")),
    };
    Ok(Some((header, end + 1)))
}

fn ip<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, ProxyHeaderError> {
    let address = text.parse::<A>().map(Into::into);
    address.map_err(|_| ProxyHeaderError("an address is malformed"))
}

fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    let port = text.parse().ok().filter(|_| is_plain);
    port.ok_or(ProxyHeaderError("a port is malformed"))
}

/// Reads version 2 (section 2.2).
fn parse_binary(input: &[u8]) -> Parsed {
    let Some((fixed, rest)) = input.split_first_chunk::<16>() else {
        return Ok(None);
    };
    let [version_and_command, family, high, low] = fixed[12..] else {
        unreachable!("16 bytes, 12 of them the signature")
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > ProxyHeader::MAX_LEN - fixed.len() {
        return Err(ProxyHeaderError("it is too long"));
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError("the version or the command is not known")),
    };
    let addresses_len = match family {
        // None, or of a proxy's own making: whatever is there is passed over.
        0x00 => None,
        0x11 => Some(12),
        0x21 => Some(36),
        0x31 => Some(216),
        _ if is_local => None,
        _ => return Err(ProxyHeaderError("it is not of a stream")),
    };
    if addresses_len.is_some_and(|addresses| addresses > len) {
        return Err(ProxyHeaderError("it is too short for its addresses"));
    }
    let Some(rest) = rest.get(..len) else {
        return Ok(None);
    };
    if let Some(addresses) = addresses_len {
        check_fields(fixed, rest, addresses)?;
    }
    let header = match family {
        0x11 if !is_local => of_octets::<4>(rest, |octets| Ipv4Addr::from(octets).into()),
        0x21 if !is_local => of_octets::<16>(rest, |octets| Ipv6Addr::from(octets).into()),
        _ => None,
    };
    let header = header.unwrap_or_else(ProxyHeader::local);
    Ok(Some((header, fixed.len() + len)))
}

/// Two addresses of `N` bytes, and two ports.
fn of_octets<const N: usize>(bytes: &[u8], ip: fn([u8; N]) -> IpAddr) -> Option<ProxyHeader> {
    let (from, bytes) = bytes.split_first_chunk::<N>()?;
    let (to, bytes) = bytes.split_first_chunk::<N>()?;
    let (from_port, bytes) = bytes.split_first_chunk::<2>()?;
    let to_port = bytes.first_chunk::<2>()?;
    let address = |octets, port| SocketAddr::new(ip(octets), u16::from_be_bytes(port));
    Some(ProxyHeader::new(
        address(*from, *from_port),
        address(*to, *to_port),
    ))
}

/// The type of the field that holds a checksum (section 2.2.4).
const CRC32C: u8 = 0x03;

/// Checks the fields behind the addresses, and the checksum among them.
fn check_fields(fixed: &[u8], rest: &[u8], addresses: usize) -> Result<(), ProxyHeaderError> {
    let mut at = addresses;
    while at < rest.len() {
        let Some(&[kind, high, low]) = rest[at..].first_chunk::<3>() else {
            return Err(ProxyHeaderError("a field is malformed"));
        };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > rest.len() {
            return Err(ProxyHeaderError("a field is malformed"));
        }
        if kind == CRC32C {
            // Of the whole header, with zeros in the place of the checksum.
            let without = rest.iter().enumerate().map(|(place, byte)| match place {
                place if (value..at).contains(&place) => 0,
                _ => *byte,
            });
            let sum = crc32c(fixed.iter().copied().chain(without));
            if rest[value..at] != sum.to_be_bytes() {
                return Err(ProxyHeaderError("the checksum does not match"));
            }
        }
    }
    Ok(())
}

/// RFC 4960 appendix B.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let step = |sum: u32, _| (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), step)
    })
}

/// Why bytes are no [`ProxyHeader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeaderError(&'static str);

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed PROXY protocol header: {}", self.0)
    }
}

impl Error for ProxyHeaderError {}

#[cfg(test)]
mod tests;
