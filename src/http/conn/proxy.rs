//! The header of the PROXY protocol, with which a connection of a trusted proxy begins.
#![forbid(unsafe_code)]

use std::io;

use super::connection::{Connection, timed_out_in};
use super::deadline::deadline_in;
use super::io::ConnIo;
use crate::http::error::{Error, Phase};
use crate::http::exchange::forwarded::is_trusted;
use crate::net::ProxyHeader;
use crate::runtime::io::operation::Limit;

/// Notes whether a new connection has to begin with a header.
pub(super) fn expect_header(connection: &Connection) {
    if let Some(proxies) = &connection.context.config.proxies {
        let peer = connection.stream.peer_addr().map(|peer| peer.ip());
        connection
            .expects_proxy_header
            .set(is_trusted(proxies, peer));
    }
}

/// Takes the header from the input, of which some has arrived. Waits for the rest of it.
#[cold]
#[inline(never)]
pub(super) fn take_header(io: &mut ConnIo) -> Result<(), Error> {
    let connection = &io.connection;
    let received = &mut io.request.received;
    let limit = Limit::At(deadline_in(connection.context.config.timeouts.head));
    let header = loop {
        let parsed = ProxyHeader::parse(received.unread());
        let parsed = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some((header, len)) = parsed {
            received.consume(len);
            break header;
        }
        let read = connection
            .stream
            .read(received.room_for_head(), limit, || Ok(()));
        match read.map_err(|error| timed_out_in(error, Phase::Head))? {
            0 => {
                let text = "the connection ended within the header of the PROXY protocol";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
            }
            got => received.received(got),
        }
    };
    connection.expects_proxy_header.set(false);
    if let (Some(source), Some(destination)) = (header.source(), header.destination()) {
        // The first header is the only one.
        let _ = connection.proxied.set(Box::new((source, destination)));
    }
    Ok(())
}
