//! Passwords that the user keeps in libpq's password file (`passfile`, PGPASSFILE, `~/.pgpass`) and not in the
//! configuration.

use super::connection::Conn;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tracing::warn;

/// The connection's own password, else the first one in the password file that fits.
#[must_use]
pub fn password(conn: &Conn) -> Option<String> {
    let given = conn.get("password").filter(|p| !p.is_empty());
    given.cloned().or_else(|| look_up(conn, &read(&place(conn)?)?))
}

fn place(conn: &Conn) -> Option<PathBuf> {
    let named = conn.get("passfile").filter(|p| !p.is_empty()).map(PathBuf::from);
    let by_environment = || std::env::var_os("PGPASSFILE").filter(|p| !p.is_empty()).map(PathBuf::from);
    named.or_else(by_environment).or_else(|| Some(std::env::home_dir()?.join(".pgpass")))
}

/// As libpq, a file that others may read is not used.
fn read(place: &PathBuf) -> Option<String> {
    let meta = std::fs::metadata(place).ok().filter(std::fs::Metadata::is_file)?;
    if meta.permissions().mode() & 0o077 != 0 {
        let reason = "has group or world access; permissions should be u=rw (0600) or less";
        warn!("password file \"{}\" {reason}", place.display());
        return None;
    }
    std::fs::read_to_string(place).ok()
}

fn look_up(conn: &Conn, text: &str) -> Option<String> {
    let get = |name: &str, default: &str| -> String {
        let value = conn.get(name).filter(|v| !v.is_empty());
        value.map_or_else(|| default.to_owned(), |v| v.split(',').next().unwrap_or_default().to_owned())
    };
    // Sockets go by the name localhost.
    let host = Some(get("host", "")).filter(|h| !h.is_empty() && !h.starts_with('/'));
    let user = get("user", "");
    let database = get("dbname", &user);
    // A WAL sender's "database" is called replication; the agent's own files say * there.
    let wanted = [host.unwrap_or_else(|| "localhost".to_owned()), get("port", "5432"), database, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (keys, password) = (fields.get(..4)?, fields.get(4)?);
        let fits = keys.iter().zip(&wanted).all(|(key, value)| key == "*" || key == value);
        fits.then(|| password.clone())
    })
}

/// Fields between colons; a backslash takes the next character's meaning away.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => characters.next(),
            other => Some(other),
        };
        if let Some(field) = fields.last_mut() {
            field.extend(literal);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(pairs: &[(&str, &str)]) -> Conn {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# a:b:c:d:e\nh:1:*:u:first\n*:*:*:u:sec\\:ond\nlocalhost:*:db:*:third\nbroken\n";
        for (pairs, password) in [
            (&[("host", "h"), ("port", "1"), ("user", "u")][..], Some("first")),
            (&[("host", "h"), ("user", "u")], Some("sec:ond")),
            (&[("host", "/tmp"), ("user", "x"), ("dbname", "db")], Some("third")),
            (&[("user", "db")], Some("third")),
            (&[("host", "h"), ("user", "x")], None),
        ] {
            assert_eq!(look_up(&conn(pairs), text).as_deref(), password, "{pairs:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        std::fs::write(&file, "*:*:*:*:secret\n").unwrap();
        let conn = conn(&[("passfile", file.to_str().unwrap()), ("user", "u")]);
        for (mode, expected) in [(0o644, None), (0o600, Some("secret".to_owned()))] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(password(&conn), expected, "{mode:o}");
        }
        let mut own = conn;
        own.insert("password".to_owned(), "own".to_owned());
        assert_eq!(password(&own).as_deref(), Some("own"));
    }
}
