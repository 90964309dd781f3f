//! The frontend/backend protocol on a stream of our own: for what the driver does not do (replication connections,
//! readiness probes).

use super::sql_error::{SqlError, Stage};
use super::tls::{Attempt, Tls};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use indexmap::IndexMap;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Where libpq of Debian and of upstream look for sockets when no host is given.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// A server's message longer than this is not believed.
const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// One place where a server may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Directory of the socket and port.
    Socket(PathBuf, u16),
    /// Host name or address for TLS, what to connect to (`hostaddr` before `host`), port.
    Tcp {
        /// `host`.
        name: String,
        /// `hostaddr`, else `host`.
        address: String,
        /// `port`.
        port: u16,
    },
}

/// All places that a connection's options name: `host`, `hostaddr` and `port` may be lists with commas.
pub fn endpoints(conn: &IndexMap<String, String>) -> Result<Vec<Endpoint>, SqlError> {
    let list = |name: &str| -> Vec<&str> {
        let text = conn.get(name).map_or("", String::as_str);
        if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len()).max(1);
    if !addresses.is_empty() && !hosts.is_empty() && addresses.len() != hosts.len() {
        return Err(SqlError::new(Stage::Options, "could not match host names to hostaddr values"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(SqlError::new(Stage::Options, "could not match port numbers to hosts"));
    }
    (0..count)
        .map(|i| {
            let port = ports.get(i).or(ports.first()).copied().filter(|p| !p.is_empty()).unwrap_or("5432");
            let port: u16 =
                port.parse().map_err(|_| SqlError::new(Stage::Options, format!("invalid port number: \"{port}\"")))?;
            let host = hosts.get(i).copied().unwrap_or_default();
            let address = addresses.get(i).copied().unwrap_or_default();
            Ok(match (host, address) {
                ("", "") => Endpoint::Socket(default_socket_dir(port), port),
                (dir, "") if dir.starts_with('/') => Endpoint::Socket(PathBuf::from(dir), port),
                (host, "") => Endpoint::Tcp { name: bare(host), address: bare(host), port },
                (host, address) => Endpoint::Tcp {
                    name: bare(if host.is_empty() { address } else { host }),
                    address: bare(address),
                    port,
                },
            })
        })
        .collect()
}

/// An IPv6 address without the brackets that URLs put around it.
fn bare(host: &str) -> String {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned()
}

fn default_socket_dir(port: u16) -> PathBuf {
    let dirs = || SOCKET_DIRS.iter().map(Path::new);
    let with_socket = dirs().find(|dir| dir.join(format!(".s.PGSQL.{port}")).exists());
    with_socket.or_else(|| dirs().find(|dir| dir.is_dir())).unwrap_or(Path::new("/tmp")).to_path_buf()
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream of protocol messages.
pub struct Wire {
    stream: Box<dyn Stream>,
    inbox: BytesMut,
    /// `tls-server-end-point` of the server's certificate, for channel binding.
    pub binding: Option<Vec<u8>>,
    /// TLS is on.
    pub encrypted: bool,
}

fn io_error(stage: Stage, error: &std::io::Error) -> SqlError {
    SqlError::new(stage, error.to_string())
}

impl Wire {
    /// Connects and, as the attempt says, negotiates TLS. Has no deadline of its own.
    pub async fn open(endpoint: &Endpoint, attempt: Attempt, tls: &Tls) -> Result<Self, SqlError> {
        match endpoint {
            Endpoint::Socket(dir, port) => {
                let path = dir.join(format!(".s.PGSQL.{port}"));
                let stream = UnixStream::connect(&path).await.map_err(|e| {
                    let message = format!("connection to server on socket \"{}\" failed: {e}", path.display());
                    SqlError::new(Stage::Connect, message)
                })?;
                Ok(Self::plain(stream))
            }
            Endpoint::Tcp { name, address, port } => {
                let stream = TcpStream::connect((address.as_str(), *port)).await.map_err(|e| {
                    let message = format!("connection to server at \"{address}\", port {port} failed: {e}");
                    SqlError::new(Stage::Connect, message)
                })?;
                stream.set_nodelay(true).map_err(|e| io_error(Stage::Connect, &e))?;
                Self::negotiate(stream, name, attempt, tls).await
            }
        }
    }

    fn plain(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), inbox: BytesMut::new(), binding: None, encrypted: false }
    }

    async fn negotiate(mut stream: TcpStream, name: &str, attempt: Attempt, tls: &Tls) -> Result<Self, SqlError> {
        if attempt == Attempt::Plain {
            return Ok(Self::plain(stream));
        }
        if !tls.direct() {
            let mut request = BytesMut::new();
            frontend::ssl_request(&mut request);
            stream.write_all(&request).await.map_err(|e| io_error(Stage::Connect, &e))?;
            // One byte, and no more: what follows belongs to the handshake.
            let answer = stream.read_u8().await.map_err(|e| io_error(Stage::Connect, &e))?;
            if answer != b'S' {
                let refused = || SqlError::new(Stage::Tls, "server does not support SSL, but SSL was required");
                return if attempt == Attempt::Required { Err(refused()) } else { Ok(Self::plain(stream)) };
            }
        }
        let broken = |e: &dyn std::fmt::Display| SqlError::new(Stage::Tls, format!("SSL error: {e}"));
        let mut stream = tokio_openssl::SslStream::new(tls.session(name)?, stream).map_err(|e| broken(&e))?;
        Pin::new(&mut stream).connect().await.map_err(|e| broken(&e))?;
        let binding = server_end_point(stream.ssl());
        Ok(Self { binding, encrypted: true, ..Self::plain(stream) })
    }

    /// Sends what `write` puts into the buffer.
    pub async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), SqlError> {
        let mut out = BytesMut::new();
        write(&mut out).map_err(|e| io_error(Stage::Options, &e))?;
        self.stream.write_all(&out).await.map_err(|e| io_error(Stage::Lost, &e))?;
        self.stream.flush().await.map_err(|e| io_error(Stage::Lost, &e))
    }

    /// The next message that is no notice and no parameter report.
    pub async fn receive(&mut self) -> Result<Message, SqlError> {
        loop {
            let parsed = Message::parse(&mut self.inbox).map_err(|e| io_error(Stage::Lost, &e))?;
            match parsed {
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(message) => return Ok(message),
                None if self.inbox.len() > LONGEST_MESSAGE => {
                    return Err(SqlError::new(Stage::Lost, "the server's message is too long"));
                }
                None => {
                    let read = self.stream.read_buf(&mut self.inbox).await.map_err(|e| io_error(Stage::Lost, &e))?;
                    if read == 0 {
                        return Err(SqlError::new(Stage::Lost, "server closed the connection unexpectedly"));
                    }
                }
            }
        }
    }
}

/// An error message of the server, told as libpq tells it.
#[must_use]
pub fn server_error(stage: Stage, body: &ErrorResponseBody) -> SqlError {
    let (mut severity, mut code, mut text) = (String::from("ERROR"), None, String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'S' => severity = value,
            b'C' => code = Some(value),
            b'M' => text = value,
            _ => {}
        }
    }
    SqlError { stage, code, message: format!("{severity}:  {text}") }
}

/// RFC 5929: the hash of the server's certificate, by its own signature's digest but at least SHA-256.
fn server_end_point(ssl: &openssl::ssl::SslRef) -> Option<Vec<u8>> {
    let certificate = ssl.peer_certificate()?;
    let digest = certificate.signature_algorithm().object().nid().signature_algorithms()?.digest;
    let digest = match digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        other => MessageDigest::from_nid(other)?,
    };
    Some(certificate.digest(digest).ok()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Vec<Endpoint>, SqlError> {
        endpoints(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn tcp(name: &str, address: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { name: name.to_owned(), address: address.to_owned(), port }
    }

    #[test]
    fn hosts_addresses_and_ports_are_matched_as_in_libpq() {
        assert_eq!(of(&[("host", "a"), ("port", "5433")]).unwrap(), [tcp("a", "a", 5433)]);
        assert_eq!(of(&[("host", "a,b")]).unwrap(), [tcp("a", "a", 5432), tcp("b", "b", 5432)]);
        assert_eq!(of(&[("host", "a,b"), ("port", "1,2")]).unwrap(), [tcp("a", "a", 1), tcp("b", "b", 2)]);
        assert_eq!(of(&[("host", "a"), ("hostaddr", "10.0.0.1")]).unwrap(), [tcp("a", "10.0.0.1", 5432)]);
        assert_eq!(of(&[("host", "[::1]")]).unwrap(), [tcp("::1", "::1", 5432)]);
        assert_eq!(of(&[("host", "/run/pg")]).unwrap(), [Endpoint::Socket("/run/pg".into(), 5432)]);
        assert!(matches!(of(&[]).unwrap()[..], [Endpoint::Socket(_, 5432)]));
    }

    #[test]
    fn what_does_not_match_is_an_error() {
        for pairs in [&[("host", "a"), ("port", "x")][..], &[("host", "a,b"), ("port", "1,2,3")], &[("port", "70000")]]
        {
            assert_eq!(of(pairs).unwrap_err().stage, Stage::Options, "{pairs:?}");
        }
        assert!(of(&[("host", "a,b"), ("hostaddr", "10.0.0.1")]).is_err());
    }
}
