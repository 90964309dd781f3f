//! OpenSSL contexts from PEM files. TLS 1.2 is the oldest version that is spoken.

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    SslAcceptor, SslAcceptorBuilder, SslConnector, SslConnectorBuilder, SslContextBuilder, SslMethod, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use std::path::{Path, PathBuf};

/// Why a context could not be built. Every text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file does not hold what it should, a key does not fit its certificate or its password is wrong.
    #[error("{what} {} cannot be used: {error}", .file.display())]
    Content {
        /// What the file should be: "certificate", "key" or "CA file".
        what: &'static str,
        /// Which.
        file: PathBuf,
        /// OpenSSL's words.
        error: ErrorStack,
    },
    /// The cipher list is not understood.
    #[error("ciphers '{ciphers}' are not understood: {error}")]
    Ciphers {
        /// The list.
        ciphers: String,
        /// OpenSSL's words.
        error: ErrorStack,
    },
    /// OpenSSL itself fails.
    #[error("OpenSSL: {0}")]
    Library(#[from] ErrorStack),
}

/// A certificate (chain) and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// PEM file of the certificate, followed by those of its issuers.
    pub cert: PathBuf,
    /// PEM file of the key; `None`: it stands in `cert` too.
    pub key: Option<PathBuf>,
    /// Password of the key.
    pub password: Option<String>,
}

/// How far a server is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Any certificate will do.
    None,
    /// The chain must lead to a trusted authority; whose name it bears does not matter.
    Chain,
    /// Chain and host name must fit.
    #[default]
    Full,
}

/// What a client brings to a TLS connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Trusted authorities; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    pub key_pair: Option<KeyPair>,
    /// OpenSSL cipher list.
    pub ciphers: Option<String>,
    /// How far the server is believed.
    pub verify: Verify,
}

/// What a server does about client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for.
    Ignored,
    /// Asked for, and checked when given.
    Optional,
    /// No connection without one.
    Required,
}

/// What a server brings to its TLS connections.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Its certificate.
    pub key_pair: KeyPair,
    /// Authorities of client certificates.
    pub ca_file: Option<PathBuf>,
    /// OpenSSL cipher list.
    pub ciphers: Option<String>,
    /// What to do about client certificates.
    pub clients: ClientCertificates,
}

impl ClientTls {
    /// The context for connections to servers. Reads the files: call it once, not for every connection.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn connector(&self) -> Result<SslConnector, TlsError> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        self.apply(&mut builder)?;
        Ok(builder.build())
    }

    /// Applies this to a builder that somebody else made. Whether the host name is checked is a matter of each
    /// connection (`ConnectConfiguration::set_verify_hostname`).
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn apply(&self, builder: &mut SslConnectorBuilder) -> Result<(), TlsError> {
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        let mode = if self.verify == Verify::None { SslVerifyMode::NONE } else { SslVerifyMode::PEER };
        builder.set_verify(mode);
        if let Some(ca_file) = &self.ca_file {
            // Only these authorities count, not those of the system besides.
            builder.set_cert_store(X509StoreBuilder::new()?.build());
            load_ca(builder, ca_file)?;
        }
        if let Some(key_pair) = &self.key_pair {
            load_key_pair(builder, key_pair)?;
        }
        set_ciphers(builder, self.ciphers.as_deref())
    }
}

impl ServerTls {
    /// The context for a listening socket, still open for further settings. Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn acceptor(&self) -> Result<SslAcceptorBuilder, TlsError> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        load_key_pair(&mut builder, &self.key_pair)?;
        if let Some(ca_file) = &self.ca_file {
            load_ca(&mut builder, ca_file)?;
            // Tells clients whose certificates are welcome.
            let names = openssl::x509::X509Name::load_client_ca_file(ca_file);
            builder.set_client_ca_list(names.map_err(|error| content("CA file", ca_file, error))?);
        }
        builder.set_verify(match self.clients {
            ClientCertificates::Ignored => SslVerifyMode::NONE,
            ClientCertificates::Optional => SslVerifyMode::PEER,
            ClientCertificates::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        });
        // Without it OpenSSL refuses to resume sessions of clients that showed a certificate.
        builder.set_session_id_context(b"patroni")?;
        set_ciphers(&mut builder, self.ciphers.as_deref())?;
        Ok(builder)
    }
}

fn set_ciphers(builder: &mut SslContextBuilder, ciphers: Option<&str>) -> Result<(), TlsError> {
    let Some(ciphers) = ciphers else { return Ok(()) };
    builder.set_cipher_list(ciphers).map_err(|error| TlsError::Ciphers { ciphers: ciphers.to_owned(), error })
}

fn load_ca(builder: &mut SslContextBuilder, file: &Path) -> Result<(), TlsError> {
    let pem = read(file)?;
    // OpenSSL takes an empty file for "no authorities" in silence.
    let found = X509::stack_from_pem(&pem).map_err(|error| content("CA file", file, error))?;
    if found.is_empty() {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "it holds no certificate");
        return Err(TlsError::File { file: file.to_owned(), error });
    }
    builder.set_ca_file(file).map_err(|error| content("CA file", file, error))
}

fn load_key_pair(builder: &mut SslContextBuilder, pair: &KeyPair) -> Result<(), TlsError> {
    read(&pair.cert)?;
    builder.set_certificate_chain_file(&pair.cert).map_err(|error| content("certificate", &pair.cert, error))?;
    let key_file = pair.key.as_ref().unwrap_or(&pair.cert);
    let pem = read(key_file)?;
    // An empty password is given, or OpenSSL would ask for one on the terminal.
    let password = pair.password.as_deref().unwrap_or_default();
    let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes());
    let key = key.map_err(|error| content("key", key_file, error))?;
    builder.set_private_key(&key).map_err(|error| content("key", key_file, error))?;
    builder.check_private_key().map_err(|error| content("key", key_file, error))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::File { file: file.to_owned(), error })
}

fn content(what: &'static str, file: &Path, error: ErrorStack) -> TlsError {
    TlsError::Content { what, file: file.to_owned(), error }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(crate) mod tests;
