//! TLS: server certificate, client certificates, renewal.

use super::client::{Reply, request, talk};
use super::fixture::snapshot;
use super::gateway::Fake;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::symm::Cipher;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use patroni::api::ServerHandle;
use patroni::api::server::start;
use patroni::config::settings::{RestApi, Secret, VerifyClient};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Authority {
    dir: tempfile::TempDir,
    certificate: X509,
    key: PKey<Private>,
}

fn builder(name: &str, serial: u32, key: &PKey<Private>) -> X509Builder {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder
}

fn new_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

impl Authority {
    fn new() -> Self {
        let key = new_key();
        let mut builder = builder("Test CA", 1, &key);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.crt"), certificate.to_pem().unwrap()).unwrap();
        Self { dir, certificate, key }
    }

    /// Writes `<name>.crt` and `<name>.key` (encrypted with `password`).
    fn issue(&self, name: &str, serial: u32, password: Option<&str>) -> (PathBuf, PathBuf) {
        let key = new_key();
        let mut builder = builder(name, serial, &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let (crt, key_file) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        std::fs::write(&crt, builder.build().to_pem().unwrap()).unwrap();
        let pem = match password {
            Some(p) => key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), p.as_bytes()).unwrap(),
            None => key.private_key_to_pem_pkcs8().unwrap(),
        };
        std::fs::write(&key_file, pem).unwrap();
        (crt, key_file)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, change: impl FnOnce(&mut RestApi)) -> Result<(ServerHandle, Arc<Fake>), String> {
        let (crt, key) = self.issue("server", 2, None);
        let mut snapshot = snapshot();
        let restapi = &mut Arc::make_mut(&mut snapshot.settings).restapi;
        (restapi.certfile, restapi.keyfile) = (Some(crt), Some(key));
        restapi.cafile = Some(self.path("ca.crt"));
        change(restapi);
        let settings = Arc::clone(&snapshot.settings);
        let fake = Fake::new(snapshot);
        Ok((start(&settings, fake.clone()).map_err(|e| e.to_string())?, fake))
    }

    /// A request over TLS, with the certificate of this name; `None`: the handshake or the answer failed.
    fn ask(&self, server: &ServerHandle, path: (&str, &str), certificate: Option<&Path>) -> Option<Reply> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_ca_file(self.path("ca.crt")).unwrap();
        connector.set_verify(SslVerifyMode::PEER);
        if let Some(crt) = certificate {
            connector.set_certificate_file(crt, SslFiletype::PEM).unwrap();
            connector.set_private_key_file(crt.with_extension("key"), SslFiletype::PEM).unwrap();
        }
        let tcp = std::net::TcpStream::connect(server.addresses()[0]).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut config = connector.build().configure().unwrap();
        config.set_verify_hostname(false);
        let stream = config.connect("localhost", tcp).ok()?;
        let text = talk(stream, &request(path.0, path.1, None, &[]));
        (!text.is_empty()).then(|| Reply::parse(&text))
    }
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let authority = Authority::new();
    let (client, _) = authority.issue("client", 3, None);
    let stranger = Authority::new();
    let (foreign, _) = stranger.issue("client", 3, None);
    for (verify, get_without, post_without) in [
        (VerifyClient::None, Some(200), Some(202)),
        (VerifyClient::Optional, Some(200), Some(403)),
        (VerifyClient::Required, None, None),
    ] {
        let (server, _) = authority.server(|r| r.verify_client = verify).unwrap();
        let ask = |method: &str, path: &str, crt: Option<&Path>| {
            authority.ask(&server, (method, path), crt).map(|r| (r.code, r.body))
        };
        assert_eq!(ask("GET", "/primary", None).map(|r| r.0), get_without, "{verify:?}");
        let post = ask("POST", "/reload", None);
        assert_eq!(post.as_ref().map(|r| r.0), post_without, "{verify:?}");
        if let Some((403, text)) = post {
            assert_eq!(text, "client certificate required");
        }
        assert_eq!(ask("POST", "/reload", Some(&client)).map(|r| r.0), Some(202), "{verify:?}");
        if verify != VerifyClient::None {
            assert_eq!(ask("GET", "/primary", Some(&foreign)), None, "{verify:?}: of another authority");
        }
    }
}

#[test]
fn headers_for_https_are_added() {
    let authority = Authority::new();
    let change = |r: &mut RestApi| drop(r.https_extra_headers.insert("X-Two".into(), "2".into()));
    let (server, _) = authority.server(change).unwrap();
    let reply = authority.ask(&server, ("GET", "/patroni"), None).unwrap();
    assert_eq!(reply.header("x-two"), Some("2"));
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let authority = Authority::new();
    let (crt, key) = authority.issue("locked", 4, Some("geheim"));
    for (password, works) in [(Some("geheim"), true), (Some("falsch"), false), (None, false)] {
        let started = authority.server(|r| {
            (r.certfile, r.keyfile) = (Some(crt.clone()), Some(key.clone()));
            r.keyfile_password = password.map(Secret::new);
        });
        match started {
            Ok(_) => assert!(works, "{password:?}"),
            Err(error) => assert!(!works && error.contains("restapi.keyfile"), "{password:?}: {error}"),
        }
    }
}

#[test]
fn wrong_settings_are_named() {
    let authority = Authority::new();
    type Spoiled = fn(&mut RestApi);
    let cases: [(&str, Spoiled); 4] = [
        ("restapi.certfile '/no/such'", |r| r.certfile = Some("/no/such".into())),
        ("restapi.keyfile '/no/such'", |r| r.keyfile = Some("/no/such".into())),
        ("restapi.cafile '/no/such'", |r| r.cafile = Some("/no/such".into())),
        ("restapi.ciphers", |r| r.ciphers = Some("NOSUCH".into())),
    ];
    for (text, change) in cases {
        let Err(error) = authority.server(change) else { panic!("{text}") };
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_renewed_certificate_asks_for_a_new_server() {
    let authority = Authority::new();
    let (server, fake) = authority.server(|_| {}).unwrap();
    let settings = fake.with(|s| Arc::clone(&s.snapshot.settings));
    assert!(server.matches(&settings));
    authority.issue("server", 5, None);
    assert!(!server.matches(&settings));
}
