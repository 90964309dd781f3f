//! `host:port` texts: listen addresses (several hosts, one port) and addresses for others.

/// Splits `hosts:port` (PG-29). Hosts may be several with commas; brackets of IPv6 addresses are taken off; without a
/// port the default is used. `None` when the port is no number from 0 to 65535.
#[must_use]
pub fn split_host_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let text = text.trim();
    let (hosts, port) = match text.rsplit_once(':') {
        // The last colon stands within the brackets of an address.
        Some((_, after)) if after.contains(']') => (text, default_port),
        Some((hosts, port)) => (hosts, port.trim().parse().ok()?),
        None => (text, default_port),
    };
    if hosts.contains(':') || hosts.contains('[') {
        let bare: Vec<&str> =
            hosts.split(',').map(|host| host.trim().trim_start_matches('[').trim_end_matches(']')).collect();
        Some((bare.join(","), port))
    } else {
        Some((hosts.to_owned(), port))
    }
}

/// `host:port` for URLs: IPv6 addresses get brackets, a missing port the default one. `None` as [`split_host_port`].
#[must_use]
pub fn netloc(text: &str, default_port: u16) -> Option<String> {
    let (host, port) = split_host_port(text, default_port)?;
    Some(join(&host, port))
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_port_are_told_apart() {
        for (text, hosts, port) in [
            ("127.0.0.1", "127.0.0.1", 5432),
            ("127.0.0.1:5400", "127.0.0.1", 5400),
            ("127.0.0.1,192.168.0.101:5400", "127.0.0.1,192.168.0.101", 5400),
            ("a,b.c,[fe80::1], 0:0::0:5400", "a,b.c,fe80::1,0:0::0", 5400),
            ("[::1]:5433", "::1", 5433),
            ("[::1]", "::1", 5432),
            ("*:5432", "*", 5432),
            (":8008", "", 8008),
            ("*", "*", 5432),
        ] {
            assert_eq!(split_host_port(text, 5432), Some((hosts.into(), port)), "{text}");
        }
        for bad in ["a:b", "a:70000", "a:-1", "[::1]:x"] {
            assert_eq!(split_host_port(bad, 5432), None, "{bad}");
        }
    }

    #[test]
    fn addresses_for_others_have_a_port_and_brackets() {
        assert_eq!(netloc("10.0.0.1", 5433), Some("10.0.0.1:5433".into()));
        assert_eq!(netloc("[::1]:5432", 1), Some("[::1]:5432".into()));
        assert_eq!(netloc("fe80::1:5432", 1), Some("[fe80::1]:5432".into()));
    }
}
