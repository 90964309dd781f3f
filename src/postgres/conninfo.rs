//! libpq connection strings: parsing both forms, writing, and what a standby's `primary_conninfo` should be (PG-16).

use super::server::Server;
use crate::cluster::Upstream;
use crate::config::settings::PgUser;
use crate::types::PgVersion;
use indexmap::IndexMap;

/// libpq keywords and their values.
pub type Conninfo = IndexMap<String, String>;

/// Keywords that are written, in this order. `passfile` or `password` stands third.
const KEYWORDS: [&str; 20] = [
    "dbname",
    "user",
    "passfile",
    "password",
    "host",
    "port",
    "sslmode",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "application_name",
    "krbsrvname",
    "gssencmode",
    "channel_binding",
    "target_session_attrs",
    "sslnegotiation",
];

/// Since which server version libpq knows a keyword; all others it always did.
fn since(keyword: &str) -> u32 {
    match keyword {
        "target_session_attrs" => 100_000,
        "gssencmode" => 120_000,
        "channel_binding" | "sslpassword" => 130_000,
        "sslcrldir" => 140_000,
        "sslnegotiation" => 170_000,
        _ => 0,
    }
}

/// What libpq assumes of an absent keyword: filled in before two connection strings are compared.
const ASSUMED: [(&str, &str); 4] =
    [("sslmode", "prefer"), ("gssencmode", "prefer"), ("channel_binding", "prefer"), ("sslnegotiation", "postgres")];

/// Reads a connection string of either form. `None`: it cannot be understood.
#[must_use]
pub fn parse(text: &str) -> Option<Conninfo> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let mut conn = match rest {
        Some(rest) => parse_url(rest)?,
        None => parse_keywords(text)?,
    };
    if let Some(required) = conn.shift_remove("requiressl") {
        let mode = if required == "1" { "require" } else { "prefer" };
        conn.entry("sslmode".to_owned()).or_insert_with(|| mode.to_owned());
    }
    Some(conn)
}

/// As [`parse`], with libpq's assumptions about absent keywords filled in: for comparison.
#[must_use]
pub fn parse_for_comparison(text: &str) -> Option<Conninfo> {
    let mut conn = parse(text)?;
    for (keyword, value) in ASSUMED {
        conn.entry(keyword.to_owned()).or_insert_with(|| value.to_owned());
    }
    Some(conn)
}

fn parse_keywords(text: &str) -> Option<Conninfo> {
    let mut conn = Conninfo::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = rest.bytes().take_while(|b| b.is_ascii_lowercase() || *b == b'_').count();
        let (keyword, tail) = rest.split_at(length);
        let tail = tail.trim_start().strip_prefix('=')?.trim_start();
        if keyword.is_empty() || tail.is_empty() {
            return None;
        }
        let (value, tail) = read_value(tail)?;
        conn.insert(keyword.to_owned(), value);
        rest = tail.trim_start();
    }
    Some(conn)
}

/// A value, quoted or up to the next blank, with backslashes resolved; and what follows. `None`: a quote is left open.
fn read_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((place, character)) = characters.next() {
        match character {
            '\'' if quoted => return Some((value, &text[place + 1..])),
            c if !quoted && c.is_whitespace() => return Some((value, &text[place..])),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    if quoted { None } else { Some((value, "")) }
}

/// `user:password@host1:port1,host2:port2/dbname?keyword=value&...`, percent-decoded.
fn parse_url(text: &str) -> Option<Conninfo> {
    let mut conn = Conninfo::new();
    let mut add = |keyword: &str, value: String| {
        if !value.is_empty() {
            conn.insert(keyword.to_owned(), value);
        }
    };
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, database) = text.split_once('/').unwrap_or((text, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    add("user", decode(user)?);
    add("password", decode(password)?);
    add("dbname", decode(database)?);
    let (hosts, ports): (Vec<&str>, Vec<&str>) = hosts.split(',').map(split_port).unzip();
    let list = |parts: Vec<&str>| if parts.iter().all(|p| p.is_empty()) { String::new() } else { parts.join(",") };
    add("host", decode(&list(hosts))?);
    add("port", decode(&list(ports))?);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (keyword, value) = pair.split_once('=')?;
        match (keyword, decode(value)?) {
            ("ssl", value) if value == "true" => add("sslmode", "require".to_owned()),
            (keyword, value) => add(keyword, value),
        }
    }
    Some(conn)
}

/// Host and port of "host", "host:port", "[v6]" or "[v6]:port".
fn split_port(text: &str) -> (&str, &str) {
    if let Some((host, tail)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        return (host, tail.strip_prefix(':').unwrap_or(""));
    }
    text.rsplit_once(':').unwrap_or((text, ""))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes keywords that this version's libpq knows as `keyword=value ...`; a password only if there is no `passfile`.
/// Unknown keywords are left out.
#[must_use]
pub fn format(conn: &Conninfo, version: PgVersion) -> String {
    let passfile = conn.get("passfile").is_some_and(|p| !p.is_empty());
    let skipped = if passfile { "password" } else { "passfile" };
    let known = KEYWORDS.into_iter().filter(|k| *k != skipped && version.at_least(since(k)));
    let pairs = known.filter_map(|k| conn.get(k).map(|v| format!("{k}={}", quote(v))));
    pairs.collect::<Vec<_>>().join(" ")
}

/// A value for a connection string: quotes, backslashes and blanks get a backslash; in quotes when that is not enough.
#[must_use]
pub fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '\'' | '\\' | ' ') {
            text.push('\\');
        }
        text.push(character);
    }
    let blank = value.chars().any(|c| c.is_whitespace() && c != ' ');
    if value.is_empty() || blank { format!("'{text}'") } else { text }
}

/// Sets user, password and TLS options of a user over whatever `conn` has. `options` and `connect_timeout` are not taken.
pub fn set_user(conn: &mut Conninfo, user: &PgUser) {
    let name = user.username.as_ref().map(|name| ("user", name.as_str()));
    let password = user.password.as_ref().map(|password| ("password", password.reveal()));
    let options = user.options.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    for (keyword, value) in options.chain(name).chain(password) {
        if !matches!(keyword, "options" | "connect_timeout") {
            conn.insert(keyword.to_owned(), value.to_owned());
        }
    }
}

/// What a standby of this member streams with from `upstream`, `password` in clear. `None`: from nobody (no upstream, an
/// upstream without address, or this member itself).
#[must_use]
pub fn primary_conninfo(server: &Server, upstream: Option<&Upstream>, version: PgVersion) -> Option<Conninfo> {
    let settings = server.settings();
    let upstream = upstream.filter(|u| !(u.conn.is_empty() || u.is_member && u.name == settings.name))?;
    let mut conn = upstream.conn.clone();
    set_user(&mut conn, &settings.postgresql.replication);
    conn.insert("application_name".to_owned(), settings.name.clone());
    for (keyword, value) in ASSUMED {
        conn.entry(keyword.to_owned()).or_insert_with(|| value.to_owned());
    }
    if let Some(name) = &settings.postgresql.krbsrvname {
        conn.insert("krbsrvname".to_owned(), name.clone());
    }
    if conn.get("dbname").is_none_or(String::is_empty) {
        conn.insert("dbname".to_owned(), settings.postgresql.database.clone());
    }
    // A standby leader with several hosts to choose from must find the one that is primary.
    let several = conn.get("host").is_some_and(|h| h.contains(','));
    if !upstream.is_member && upstream.slot.is_some() && several {
        conn.insert("target_session_attrs".to_owned(), "read-write".to_owned());
    }
    conn.retain(|keyword, _| version.at_least(since(keyword)));
    Some(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Conninfo {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn keyword_strings_are_read() {
        let parsed = |text| parse(text);
        assert_eq!(
            parsed(" host = 'host' dbname = db\\ name requiressl=1 "),
            Some(map(&[("host", "host"), ("dbname", "db name"), ("sslmode", "require")]))
        );
        assert_eq!(parsed("requiressl = 0\\"), Some(map(&[("sslmode", "prefer")])));
        assert_eq!(parsed("password='va\\'l \\\\' user=''"), Some(map(&[("password", "va'l \\"), ("user", "")])));
        assert_eq!(parsed(""), Some(map(&[])));
        for bad in ["host=a foo = '", "host=a foo = ", "1", "host", "=x", "Host=a"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(
            parse("postgresql://u%2Fse:pass@:%2f123/db%2Fsdf?application_name=mya%2Fpp&ssl=true"),
            Some(map(&[
                ("user", "u/se"),
                ("password", "pass"),
                ("dbname", "db/sdf"),
                ("port", "/123"),
                ("application_name", "mya/pp"),
                ("sslmode", "require"),
            ]))
        );
        assert_eq!(
            parse("postgres://[::1]:5433,host2/db"),
            Some(map(&[("dbname", "db"), ("host", "::1,host2"), ("port", "5433,")]))
        );
        assert_eq!(parse("postgresql://foo/postgres"), Some(map(&[("dbname", "postgres"), ("host", "foo")])));
        for bad in ["postgres://h/%zz", "postgres://h/db?x", "postgres://h/%f"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let conn = map(&[
            ("host", "/tmp/a b"),
            ("password", "it's \\ a\tsecret"),
            ("user", ""),
            ("gssencmode", "prefer"),
            ("sslnegotiation", "postgres"),
            ("connect_timeout", "3"),
        ]);
        let text = format(&conn, PgVersion(150_000));
        assert_eq!(text, "user='' password='it\\'s\\ \\\\\\ a\tsecret' host=/tmp/a\\ b gssencmode=prefer");
        let back = parse(&text).unwrap();
        for keyword in ["host", "password", "user", "gssencmode"] {
            assert_eq!(back.get(keyword), conn.get(keyword));
        }
        assert_eq!(format(&map(&[("gssencmode", "prefer"), ("host", "h")]), PgVersion(110_000)), "host=h");
        let with_file = map(&[("passfile", "/p"), ("password", "x"), ("user", "u")]);
        assert_eq!(format(&with_file, PgVersion(150_000)), "user=u passfile=/p");
    }

    proptest::proptest! {
        #[test]
        fn any_value_survives(value in "\\PC*") {
            let conn = map(&[("password", &value)]);
            proptest::prop_assert_eq!(parse(&format(&conn, PgVersion(150_000))), Some(conn));
        }
    }
}
