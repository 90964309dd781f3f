use super::*;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::Private;
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509NameBuilder};

/// A self-signed authority that is server and client too, as Patroni's own test suite makes it.
pub(crate) struct TestCert {
    pub dir: tempfile::TempDir,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub locked_key: PathBuf,
}

pub(crate) fn self_signed() -> TestCert {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let cert = certificate(&key);
    let dir = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let locked_key = dir.path().join("locked.pem");
    std::fs::write(&cert_file, cert.to_pem().unwrap()).unwrap();
    std::fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    std::fs::write(&locked_key, locked).unwrap();
    TestCert { dir, cert: cert_file, key: key_file, locked_key }
}

fn certificate(key: &PKey<Private>) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "patroni test").unwrap();
    let name = name.build();
    let mut cert = X509Builder::new().unwrap();
    cert.set_version(2).unwrap();
    cert.set_subject_name(&name).unwrap();
    cert.set_issuer_name(&name).unwrap();
    cert.set_pubkey(key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    cert.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let san = SubjectAlternativeName::new().ip("127.0.0.2").build(&cert.x509v3_context(None, None)).unwrap();
    cert.append_extension(san).unwrap();
    cert.sign(key, MessageDigest::sha256()).unwrap();
    cert.build()
}

fn pair(cert: &Path, key: &Path, password: Option<&str>) -> KeyPair {
    KeyPair { cert: cert.to_owned(), key: Some(key.to_owned()), password: password.map(str::to_owned) }
}

fn failure(tls: &ClientTls) -> String {
    tls.connector().map(|_| ()).unwrap_err().to_string()
}

#[test]
fn good_files_make_contexts() {
    let t = self_signed();
    let client = ClientTls {
        ca_file: Some(t.cert.clone()),
        key_pair: Some(pair(&t.cert, &t.locked_key, Some("secret"))),
        ciphers: Some("ECDHE-RSA-AES256-GCM-SHA384".into()),
        verify: Verify::Full,
    };
    client.connector().unwrap();
    let server = ServerTls {
        key_pair: pair(&t.cert, &t.key, None),
        ca_file: Some(t.cert.clone()),
        ciphers: None,
        clients: ClientCertificates::Required,
    };
    server.acceptor().unwrap();
    // Certificate and key in one file.
    let both = t.dir.path().join("both.pem");
    let text = [std::fs::read(&t.key).unwrap(), std::fs::read(&t.cert).unwrap()].concat();
    std::fs::write(&both, text).unwrap();
    let key_pair = KeyPair { cert: both, key: None, password: None };
    ClientTls { key_pair: Some(key_pair), ..ClientTls::default() }.connector().unwrap();
}

#[test]
fn bad_files_are_named() {
    let t = self_signed();
    let missing = t.dir.path().join("missing.pem");
    let garbage = t.dir.path().join("garbage.pem");
    std::fs::write(&garbage, "nothing").unwrap();
    let with_pair = |pair| ClientTls { key_pair: Some(pair), ..ClientTls::default() };
    for (tls, parts) in [
        (ClientTls { ca_file: Some(missing.clone()), ..ClientTls::default() }, ["cannot read", "missing.pem"]),
        (ClientTls { ca_file: Some(garbage.clone()), ..ClientTls::default() }, ["garbage.pem", "no certificate"]),
        (with_pair(pair(&garbage, &t.key, None)), ["certificate", "garbage.pem"]),
        (with_pair(pair(&t.cert, &missing, None)), ["cannot read", "missing.pem"]),
        (with_pair(pair(&t.cert, &t.locked_key, None)), ["key", "locked.pem"]),
        (with_pair(pair(&t.cert, &t.locked_key, Some("wrong"))), ["key", "locked.pem"]),
        (with_pair(pair(&t.cert, &self_signed().key, None)), ["key", "key.pem"]),
        (ClientTls { ciphers: Some("NO-SUCH".into()), ..ClientTls::default() }, ["ciphers", "NO-SUCH"]),
    ] {
        let text = failure(&tls);
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
