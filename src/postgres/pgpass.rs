//! The password file for libpq (PG-18): `postgresql.pgpass`, by default `~/pgpass`.

use super::conninfo::Conninfo;
use super::files;
use super::{PgError, Server};
use std::path::PathBuf;

/// Lines for the password in `conn`: one for each host, and one for localhost when a host is a socket directory (libpq
/// asks for that name then). `None` when there is no password.
#[must_use]
pub fn content(conn: &Conninfo) -> Option<String> {
    let password = conn.get("password")?;
    let field =
        |keyword: &str| conn.get(keyword).filter(|v| !v.is_empty()).map_or_else(|| "*".to_owned(), |v| escape(v));
    let host = conn.get("host").filter(|h| !h.is_empty()).map_or("*", String::as_str);
    let mut hosts: Vec<String> = host.split(',').map(str::trim).filter(|h| !h.is_empty()).map(escape).collect();
    if hosts.iter().any(|h| h.starts_with('/')) && !hosts.iter().any(|h| h == "localhost") {
        hosts.push("localhost".to_owned());
    }
    let password = if password.is_empty() { "*".to_owned() } else { escape(password) };
    let line = |host: &String| format!("{host}:{}:*:{}:{password}\n", field("port"), field("user"));
    Some(hosts.iter().map(line).collect())
}

/// Colons and backslashes have a meaning in the file.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(':', "\\:")
}

/// Where the file is.
#[must_use]
pub fn path(server: &Server) -> PathBuf {
    let settings = server.settings();
    let given = settings.postgresql.pgpass.as_ref().filter(|p| !p.as_os_str().is_empty());
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join("pgpass");
    let path = given.cloned().unwrap_or_else(home);
    std::path::absolute(&path).unwrap_or(path)
}

/// Writes the file for this connection, readable by its owner alone, and returns its path (for `passfile` or
/// `PGPASSFILE`). `None`: there is no password to write.
///
/// # Errors
/// [`PgError::File`] when it cannot be written.
pub fn write(server: &Server, conn: &Conninfo) -> Result<Option<PathBuf>, PgError> {
    let Some(content) = content(conn) else { return Ok(None) };
    let path = path(server);
    if path.exists() && !path.is_file() {
        let reason = "exists and it's not a file, check your `postgresql.pgpass` configuration";
        return Err(PgError::File(format!("'{}' {reason}", path.display())));
    }
    files::write_changed(&path, content.as_bytes(), 0o600)?;
    Ok(Some(path))
}

/// Whether a password file holds just the lines that `conn` needs.
#[must_use]
pub fn fits(file: &str, conn: &Conninfo) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    };
    lines(&text) == lines(&content(conn).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pairs: &[(&str, &str)]) -> Option<String> {
        content(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_line_for_each_host() {
        let given = [("host", "10.0.0.1, h2"), ("port", "5433"), ("user", "u:x"), ("password", "p\\w:d")];
        let expected = "10.0.0.1:5433:*:u\\:x:p\\\\w\\:d\nh2:5433:*:u\\:x:p\\\\w\\:d\n";
        assert_eq!(lines(&given).as_deref(), Some(expected));
        assert_eq!(lines(&[("password", "x")]).as_deref(), Some("*:*:*:*:x\n"));
        let socket = [("host", "/tmp"), ("port", "1"), ("user", "u"), ("password", "x")];
        assert_eq!(lines(&socket).as_deref(), Some("/tmp:1:*:u:x\nlocalhost:1:*:u:x\n"));
        assert_eq!(lines(&[("host", "h")]), None);
    }

    #[test]
    fn lines_are_compared_without_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        let conn: Conninfo =
            [("host", "a,b"), ("password", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        std::fs::write(&file, "b:*:*:*:x\na:*:*:*:x\n").unwrap();
        assert!(fits(file.to_str().unwrap(), &conn));
        std::fs::write(&file, "b:*:*:*:x\n").unwrap();
        assert!(!fits(file.to_str().unwrap(), &conn));
        assert!(!fits("/nowhere", &conn));
    }
}
