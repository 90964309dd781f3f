//! libpq's TLS options (`sslmode`, `sslrootcert`, `sslcert`, ...) as an OpenSSL connector.

use super::sql_error::{SqlError, Stage};
use indexmap::IndexMap;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use std::path::{Path, PathBuf};

/// The protocol's name in the handshake, which servers want when TLS comes first (17+).
const ALPN: &[u8] = b"\x0apostgresql";

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How one attempt to connect treats TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Without TLS.
    Plain,
    /// With TLS if the server offers it.
    IfOffered,
    /// With TLS.
    Required,
}

/// How to use TLS towards one server.
pub struct Tls {
    mode: SslMode,
    /// `sslnegotiation=direct` (17+).
    pub direct: bool,
    connector: Option<SslConnector>,
    verify_host: bool,
}

impl Tls {
    /// Reads the options of a connection. Over sockets of the file system TLS is never used, as in libpq.
    pub fn of(conn: &IndexMap<String, String>, only_sockets: bool) -> Result<Self, SqlError> {
        let get = |name: &str| conn.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let mut mode = ssl_mode(get("sslmode"))?;
        let direct = match get("sslnegotiation") {
            None | Some("postgres") => false,
            Some("direct") => true,
            Some(other) => return Err(bad("sslnegotiation", other)),
        };
        if matches!(get("gssencmode"), Some("require")) {
            return Err(SqlError::new(Stage::Options, "gssencmode value \"require\" is not supported"));
        }
        if only_sockets {
            mode = SslMode::Disable;
        }
        if direct && !only_sockets && !matches!(mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) {
            let message = "weak sslmode may not be used with sslnegotiation=direct (use \"require\", \"verify-ca\", or \"verify-full\")";
            return Err(SqlError::new(Stage::Options, message));
        }
        let root = get("sslrootcert");
        if root == Some("system") && !matches!(mode, SslMode::Disable | SslMode::VerifyFull) {
            let message = "weak sslmode may not be used with sslrootcert=system (use \"verify-full\")";
            return Err(SqlError::new(Stage::Options, message));
        }
        let verify_host = mode == SslMode::VerifyFull;
        let connector = if mode == SslMode::Disable { None } else { Some(connector(mode, &get)?) };
        Ok(Self { mode, direct, connector, verify_host })
    }

    /// What to try, in order.
    #[must_use]
    pub fn attempts(&self) -> &'static [Attempt] {
        match self.mode {
            SslMode::Disable => &[Attempt::Plain],
            SslMode::Allow => &[Attempt::Plain, Attempt::Required],
            SslMode::Prefer => &[Attempt::IfOffered, Attempt::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Attempt::Required],
        }
    }

    /// Whether the next attempt may help after this failure: the server wants it otherwise, or the handshake failed.
    #[must_use]
    pub fn worth_another(error: &SqlError) -> bool {
        error.stage == Stage::Tls || error.is("28000")
    }

    /// The connector for the driver. It is unused when all attempts are plain.
    pub fn for_driver(&self) -> Result<postgres_openssl::MakeTlsConnector, SqlError> {
        let connector = match &self.connector {
            Some(connector) => connector.clone(),
            None => SslConnector::builder(SslMethod::tls_client()).map_err(|e| tls_error("TLS", &e))?.build(),
        };
        let mut maker = postgres_openssl::MakeTlsConnector::new(connector);
        let (verify_host, direct) = (self.verify_host, self.direct);
        maker.set_callback(move |ssl, _| {
            ssl.set_verify_hostname(verify_host);
            if direct { ssl.set_alpn_protos(ALPN) } else { Ok(()) }
        });
        Ok(maker)
    }

    /// A TLS session towards this host.
    pub fn session(&self, host: &str) -> Result<openssl::ssl::Ssl, SqlError> {
        let connector = self.connector.as_ref().ok_or_else(|| SqlError::new(Stage::Tls, "TLS is disabled"))?;
        let configured = connector.configure().and_then(|mut ssl| {
            ssl.set_verify_hostname(self.verify_host);
            if self.direct {
                ssl.set_alpn_protos(ALPN)?;
            }
            ssl.into_ssl(host)
        });
        configured.map_err(|e| tls_error("TLS", &e))
    }
}

fn bad(name: &str, value: &str) -> SqlError {
    SqlError::new(Stage::Options, format!("invalid {name} value: \"{value}\""))
}

fn tls_error(what: &str, error: &dyn std::fmt::Display) -> SqlError {
    SqlError::new(Stage::Options, format!("{what}: {error}"))
}

fn ssl_mode(text: Option<&str>) -> Result<SslMode, SqlError> {
    Ok(match text {
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => return Err(bad("sslmode", other)),
    })
}

/// A file that was named, else libpq's default file in the home directory if it exists.
fn file(named: Option<&str>, default: &str) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(PathBuf::from(named));
    }
    let path = Path::new(&std::env::var_os("HOME")?).join(".postgresql").join(default);
    path.exists().then_some(path)
}

fn read(path: &Path) -> Result<Vec<u8>, SqlError> {
    std::fs::read(path).map_err(|e| tls_error(&format!("could not read \"{}\"", path.display()), &e))
}

fn connector<'a>(mode: SslMode, get: &dyn Fn(&str) -> Option<&'a str>) -> Result<SslConnector, SqlError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|e| tls_error("TLS", &e))?;
    let system = get("sslrootcert") == Some("system");
    let root = if system { None } else { file(get("sslrootcert"), "root.crt") };
    let must_verify = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    if must_verify && root.is_none() && !system {
        let message = format!("root certificate file is needed with sslmode \"{}\" (sslrootcert)", mode_name(mode));
        return Err(SqlError::new(Stage::Options, message));
    }
    // A root certificate makes "require" as strict as "verify-ca": libpq's rule for old configurations.
    let verify = must_verify || (mode == SslMode::Require && root.is_some());
    builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    if !system {
        // Without this the certificates of the operating system would be trusted beside the named ones.
        let store = trust_store(root.as_deref().filter(|_| verify), get)?;
        builder.set_cert_store(store.build());
    }
    client_certificate(&mut builder, get)?;
    Ok(builder.build())
}

fn mode_name(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Allow => "allow",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

fn trust_store<'a>(root: Option<&Path>, get: &dyn Fn(&str) -> Option<&'a str>) -> Result<X509StoreBuilder, SqlError> {
    let mut store = X509StoreBuilder::new().map_err(|e| tls_error("TLS", &e))?;
    let Some(root) = root else { return Ok(store) };
    let name = format!("sslrootcert \"{}\"", root.display());
    let certificates = X509::stack_from_pem(&read(root)?).map_err(|e| tls_error(&name, &e))?;
    if certificates.is_empty() {
        return Err(SqlError::new(Stage::Options, format!("{name}: no certificate in it")));
    }
    for certificate in certificates {
        store.add_cert(certificate).map_err(|e| tls_error(&name, &e))?;
    }
    let crl = file(get("sslcrl"), "root.crl");
    let crl_dir = get("sslcrldir");
    if let Some(crl) = &crl {
        let lookup = store.add_lookup(X509Lookup::file()).map_err(|e| tls_error("sslcrl", &e))?;
        lookup.load_crl_file(crl, SslFiletype::PEM).map_err(|e| tls_error("sslcrl", &e))?;
    }
    if let Some(dir) = crl_dir {
        let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(|e| tls_error("sslcrldir", &e))?;
        lookup.add_dir(dir, SslFiletype::PEM).map_err(|e| tls_error("sslcrldir", &e))?;
    }
    if crl.is_some() || crl_dir.is_some() {
        store
            .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
            .map_err(|e| tls_error("sslcrl", &e))?;
    }
    Ok(store)
}

fn client_certificate<'a>(
    builder: &mut SslConnectorBuilder,
    get: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<(), SqlError> {
    let Some(certificate) = file(get("sslcert"), "postgresql.crt") else { return Ok(()) };
    let Some(key) = file(get("sslkey"), "postgresql.key") else {
        return Err(SqlError::new(Stage::Options, "certificate present, but not private key (sslkey)"));
    };
    builder
        .set_certificate_chain_file(&certificate)
        .map_err(|e| tls_error(&format!("sslcert \"{}\"", certificate.display()), &e))?;
    let pem = read(&key)?;
    // The callback keeps OpenSSL from asking on the terminal when the key is encrypted and no password is given.
    let password = get("sslpassword").unwrap_or_default();
    let parsed = PKey::private_key_from_pem_callback(&pem, |buffer| {
        let length = password.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(password.bytes()) {
            *to = from;
        }
        Ok(length)
    });
    let name = format!("sslkey \"{}\"", key.display());
    let parsed = parsed.map_err(|e| tls_error(&name, &e))?;
    builder.set_private_key(&parsed).map_err(|e| tls_error(&name, &e))?;
    builder.check_private_key().map_err(|e| tls_error(&name, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn ssl_modes_become_attempts_in_libpq_order() {
        for (mode, attempts) in [
            ("disable", &[Attempt::Plain][..]),
            ("allow", &[Attempt::Plain, Attempt::Required]),
            ("prefer", &[Attempt::IfOffered, Attempt::Plain]),
            ("require", &[Attempt::Required]),
        ] {
            assert_eq!(Tls::of(&conn(&[("sslmode", mode)]), false).unwrap().attempts(), attempts, "{mode}");
            assert_eq!(Tls::of(&conn(&[("sslmode", mode)]), true).unwrap().attempts(), [Attempt::Plain], "{mode}");
        }
        assert_eq!(Tls::of(&conn(&[]), false).unwrap().attempts(), [Attempt::IfOffered, Attempt::Plain]);
    }

    #[test]
    fn options_that_cannot_be_obeyed_are_errors() {
        for (pairs, part) in [
            (&[("sslmode", "yes")][..], "invalid sslmode value"),
            (&[("sslmode", "verify-ca"), ("sslrootcert", "/nowhere/root.crt")], "/nowhere/root.crt"),
            (&[("sslmode", "require"), ("sslrootcert", "system")], "sslrootcert=system"),
            (&[("sslnegotiation", "direct")], "sslnegotiation=direct"),
            (&[("gssencmode", "require")], "gssencmode"),
            (&[("sslmode", "require"), ("sslcert", "/nowhere/c"), ("sslkey", "/nowhere/k")], "/nowhere/c"),
        ] {
            let error = Tls::of(&conn(pairs), false).map(|_| ()).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
