//! TLS of the REST API: certificate, key, client certificates.

use super::ApiError;
use crate::config::settings::{RestApi, VerifyClient};
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use std::path::Path;

/// Marks a connection whose client showed a certificate that was verified.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate;

/// What the server shows and demands; `None` when there is no `certfile`.
///
/// # Errors
/// [`ApiError::Tls`] naming the setting that is wrong.
pub fn acceptor(restapi: &RestApi) -> Result<Option<SslAcceptor>, ApiError> {
    let Some(certfile) = &restapi.certfile else { return Ok(None) };
    let keyfile = restapi.keyfile.as_ref().unwrap_or(certfile);
    let plain = |e: openssl::error::ErrorStack| wrong("ciphers", e);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(plain)?;
    builder.set_certificate_chain_file(certfile).map_err(|e| wrong_file("certfile", certfile, e))?;
    let key = private_key(restapi, keyfile)?;
    builder.set_private_key(&key).map_err(|e| wrong_file("keyfile", keyfile, e))?;
    builder.check_private_key().map_err(|e| wrong_file("keyfile", keyfile, e))?;
    if let Some(ciphers) = &restapi.ciphers {
        builder.set_cipher_list(ciphers).map_err(plain)?;
    }
    if let Some(cafile) = &restapi.cafile {
        let text = std::fs::read(cafile).map_err(|e| wrong_file("cafile", cafile, e))?;
        let authorities = X509::stack_from_pem(&text).map_err(|e| wrong_file("cafile", cafile, e))?;
        if authorities.is_empty() {
            return Err(wrong_file("cafile", cafile, "it holds no certificate"));
        }
        for authority in authorities {
            builder.add_client_ca(&authority).map_err(|e| wrong_file("cafile", cafile, e))?;
            builder.cert_store_mut().add_cert(authority).map_err(|e| wrong_file("cafile", cafile, e))?;
        }
    }
    builder.set_verify(match restapi.verify_client {
        VerifyClient::None => SslVerifyMode::NONE,
        VerifyClient::Optional => SslVerifyMode::PEER,
        VerifyClient::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    });
    // Sessions of verified clients can only be resumed under a name.
    builder.set_session_id_context(b"patroni").map_err(plain)?;
    Ok(Some(builder.build()))
}

fn private_key(restapi: &RestApi, keyfile: &Path) -> Result<PKey<Private>, ApiError> {
    let text = std::fs::read(keyfile).map_err(|e| wrong_file("keyfile", keyfile, e))?;
    // With an empty password an encrypted key is an error; without one OpenSSL would ask at the terminal.
    let password = restapi.keyfile_password.as_ref().map_or("", |p| p.reveal());
    PKey::private_key_from_pem_passphrase(&text, password.as_bytes()).map_err(|e| wrong_file("keyfile", keyfile, e))
}

/// A fingerprint of the files behind the settings: it changes when a certificate was renewed (API-48).
#[must_use]
pub fn fingerprint(restapi: &RestApi) -> Option<[u8; 32]> {
    restapi.certfile.as_ref()?;
    let mut hasher = openssl::sha::Sha256::new();
    for path in [&restapi.certfile, &restapi.keyfile, &restapi.cafile].into_iter().flatten() {
        match std::fs::read(path) {
            Ok(content) => hasher.update(&content),
            Err(error) => {
                tracing::error!("Failed to get serial number from certificate {}: {error}", path.display());
                return None;
            }
        }
        hasher.update(b"\0");
    }
    Some(hasher.finish())
}

fn wrong(setting: &str, reason: impl std::fmt::Display) -> ApiError {
    ApiError::Tls(format!("restapi.{setting}: {reason}"))
}

fn wrong_file(setting: &str, path: &Path, reason: impl std::fmt::Display) -> ApiError {
    ApiError::Tls(format!("restapi.{setting} '{}': {reason}", path.display()))
}
