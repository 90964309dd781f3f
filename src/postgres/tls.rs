//! libpq's TLS options (`sslmode`, `sslrootcert`, `sslcert`, ...) as an OpenSSL connector.

use super::sql_error::{SqlError, Stage};
use indexmap::IndexMap;
use openssl::pkey::PKey;
use openssl::ssl::{ConnectConfiguration, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

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

/// How to use TLS towards one server. Certificates are read when a handshake needs them: a server that offers no TLS costs
/// nothing.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    mode: SslMode,
    direct: bool,
    options: IndexMap<String, String>,
    connector: OnceLock<SslConnector>,
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
        if get("sslrootcert") == Some("system") && !matches!(mode, SslMode::Disable | SslMode::VerifyFull) {
            let message = "weak sslmode may not be used with sslrootcert=system (use \"verify-full\")";
            return Err(SqlError::new(Stage::Options, message));
        }
        let options = conn.iter().filter(|(name, _)| name.starts_with("ssl"));
        let options = options.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self(Arc::new(Inner { mode, direct, options, connector: OnceLock::new() })))
    }

    /// What to try, in order.
    #[must_use]
    pub fn attempts(&self) -> &'static [Attempt] {
        match self.0.mode {
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

    /// `sslnegotiation=direct` (17+): the handshake comes first.
    #[must_use]
    pub fn direct(&self) -> bool {
        self.0.direct
    }

    /// A TLS session towards this host.
    pub fn session(&self, host: &str) -> Result<openssl::ssl::Ssl, SqlError> {
        self.configuration()?.into_ssl(host).map_err(|e| tls_error("TLS", &e))
    }

    fn configuration(&self) -> Result<ConnectConfiguration, SqlError> {
        let inner = &self.0;
        if inner.mode == SslMode::Disable {
            return Err(SqlError::new(Stage::Tls, "TLS is disabled"));
        }
        let connector = if let Some(connector) = inner.connector.get() {
            connector
        } else {
            let get = |name: &str| inner.options.get(name).map(String::as_str).filter(|v| !v.is_empty());
            let made = connector(inner.mode, &get)?;
            inner.connector.get_or_init(|| made)
        };
        let configured = connector.configure().and_then(|mut ssl| {
            ssl.set_verify_hostname(inner.mode == SslMode::VerifyFull);
            if inner.direct {
                ssl.set_alpn_protos(ALPN)?;
            }
            Ok(ssl)
        });
        configured.map_err(|e| tls_error("TLS", &e))
    }
}

/// For the driver.
impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync + 'static,
{
    type Stream = postgres_openssl::TlsStream<S>;
    type TlsConnect = Handshake;
    type Error = SqlError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, SqlError> {
        Ok(Handshake { tls: self.clone(), host: domain.to_owned() })
    }
}

/// A handshake that the driver may begin.
pub struct Handshake {
    tls: Tls,
    host: String,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = postgres_openssl::TlsStream<S>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        match self.tls.configuration() {
            Ok(configuration) => postgres_openssl::TlsConnector::new(configuration, &self.host).connect(stream),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
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
            let session = Tls::of(&conn(pairs), false).and_then(|tls| tls.session("host"));
            let error = session.map(|_| ()).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
