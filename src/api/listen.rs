//! `restapi.listen` as sockets.

use super::ApiError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// Host (without brackets) and port of `host:port`, `*:port`, `:port`, `[::1]:port` or `::1:port`.
///
/// # Errors
/// [`ApiError::Listen`] when there is no port.
pub fn split(listen: &str) -> Result<(String, u16), ApiError> {
    let wrong = || {
        ApiError::Listen(format!(
            r#"Invalid "restapi" config: expected <HOST>:<PORT> for "listen", but got "{listen}""#
        ))
    };
    let (host, port) = listen.trim().rsplit_once(':').ok_or_else(wrong)?;
    let port = port.trim().parse().map_err(|_| wrong())?;
    Ok((host.trim().trim_matches(['[', ']']).to_owned(), port))
}

/// Opens a listening socket for each address of `listen`: both families where it names no host.
///
/// # Errors
/// [`ApiError::Listen`] when it cannot be read or resolved, or an address cannot be bound.
pub fn open(listen: &str, backlog: u32) -> Result<Vec<TcpListener>, ApiError> {
    let (host, port) = split(listen)?;
    let failed = |error: std::io::Error| {
        tracing::error!(
            "Couldn't start a service on '{host}:{port}', please check your `restapi.listen` configuration"
        );
        ApiError::Listen(format!("restapi.listen '{listen}': {error}"))
    };
    if host.is_empty() || host == "*" {
        let both = bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), backlog);
        // A machine without IPv6.
        let listener = both
            .or_else(|_| bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), backlog))
            .map_err(failed)?;
        return Ok(vec![listener]);
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host.as_str(), port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind(address, backlog) {
            Ok(listener) => listeners.push(listener),
            // A name may have an address of a family that this machine does not have.
            Err(e)
                if e.kind() == std::io::ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                missing = Some(e);
            }
            Err(e) => return Err(failed(e)),
        }
    }
    match (listeners.is_empty(), missing) {
        (false, _) => Ok(listeners),
        (true, Some(e)) => Err(failed(e)),
        (true, None) => Err(failed(std::io::Error::other("the host has no address"))),
    }
}

fn bind(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if let SocketAddr::V6(v6) = address {
        // Everybody means IPv4 too.
        sockopt::set_ipv6_v6only(&socket, !v6.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_texts_are_split() {
        for (text, host, port) in [
            ("127.0.0.1:8008", "127.0.0.1", 8008),
            ("*:8008", "*", 8008),
            (":8008", "", 8008),
            ("[::1]:80", "::1", 80),
            ("::1:80", "::1", 80),
            ("host.example:1", "host.example", 1),
        ] {
            assert_eq!(split(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        for bad in ["", "host", "host:", "host:x", "host:70000"] {
            let error = split(bad).unwrap_err().to_string();
            assert!(error.contains("expected <HOST>:<PORT>") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn everybody_means_both_families() {
        let listeners = open("*:0", 5).unwrap();
        let port = listeners.first().unwrap().local_addr().unwrap().port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let listeners = open("127.0.0.1:0", 5).unwrap();
        let port = listeners.first().unwrap().local_addr().unwrap().port();
        let error = open(&format!("127.0.0.1:{port}"), 5).unwrap_err().to_string();
        assert!(error.contains("restapi.listen"), "{error}");
    }
}
