//! `postgres://user@host:port/db` as libpq keywords.

use indexmap::IndexMap;

/// The libpq keywords of a connection URL: `host`, `port` (5432 when not given), `dbname`, then `user`, `password` and
/// the parameters after `?`, as far as they are there. IPv6 addresses lose their brackets; several hosts are joined
/// with commas, as libpq takes them. `None` when it is no such URL or has no host.
#[must_use]
pub fn conn_kwargs(url: &str) -> Option<IndexMap<String, String>> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return None;
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));

    let pairs = hosts.split(',').map(host_and_port).collect::<Option<Vec<_>>>()?;
    let join = |part: fn(&(String, String)) -> &str| pairs.iter().map(part).collect::<Vec<_>>().join(",");
    let mut keywords = IndexMap::new();
    keywords.insert("host".to_owned(), join(|(host, _)| host));
    keywords.insert("port".to_owned(), join(|(_, port)| port));
    if !dbname.is_empty() {
        keywords.insert("dbname".to_owned(), decoded(dbname));
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        if !user.is_empty() {
            keywords.insert("user".to_owned(), decoded(user));
        }
        if let Some(password) = password {
            keywords.insert("password".to_owned(), decoded(password));
        }
    }
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        keywords.insert(decoded(name), decoded(value));
    }
    Some(keywords)
}

fn host_and_port(text: &str) -> Option<(String, String)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').unwrap_or(rest))
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() { 5432 } else { port.parse::<u16>().ok()? };
    (!host.is_empty()).then(|| (decoded(host), port.to_string()))
}

/// Resolves `%41`; what is no such escape stays as it is.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok().filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u8::from_str_radix(hex, 16).ok()
        });
        match escape {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(url: &str) -> Option<String> {
        let pairs = conn_kwargs(url)?;
        Some(pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, expected) in [
            ("postgres://127.0.0.1:5433/postgres", "host=127.0.0.1 port=5433 dbname=postgres"),
            ("postgresql://h", "host=h port=5432"),
            ("postgres://u@h:1/db", "host=h port=1 dbname=db user=u"),
            ("postgres://u:p%40%2f:x@h:1/db", "host=h port=1 dbname=db user=u password=p@/:x"),
            ("postgres://[::1]:5433/db", "host=::1 port=5433 dbname=db"),
            ("postgres://[fe80::1]/", "host=fe80::1 port=5432"),
            ("postgres://a:1,[::2],c/db?sslmode=require", "host=a,::2,c port=1,5432,5432 dbname=db sslmode=require"),
            ("postgres://%2Ftmp:5432/db", "host=/tmp port=5432 dbname=db"),
        ] {
            assert_eq!(keywords(url).as_deref(), Some(expected), "{url}");
        }
        for bad in [
            "",
            "h:5432",
            "http://h",
            "postgres://",
            "postgres:///db",
            "postgres://h:x/db",
            "postgres://h:99999/",
            "postgres://[::1/db",
            "postgres://a,,b/db",
        ] {
            assert_eq!(conn_kwargs(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(rest in ".*") {
            let _ = conn_kwargs(&rest);
            let _ = conn_kwargs(&format!("postgres://{rest}"));
            let _ = decoded(&rest);
        }
    }
}
