use super::*;
use crate::net::tls::tests::{TestCert, self_signed};
use crate::net::{ClientCertificates, KeyPair, ServerTls};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn client(tls: ClientTls) -> HttpClient {
    HttpClient::new(HttpOptions { tls, basic_auth: Some(("user".into(), "pass".into())) })
}

fn get(url: &str) -> HttpRequest<'_> {
    HttpRequest { method: Method::GET, url, body: None, timeout: Duration::from_secs(5) }
}

/// Reads a request up to its JSON body, answers, closes; gives back what it read.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, text: &str) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains("\r\n\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "closed early");
        seen.extend_from_slice(&chunk[..n]);
    }
    stream.write_all(text.as_bytes()).await.unwrap();
    // The client may have hung up already.
    drop(stream.shutdown().await);
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn a_request_is_sent_whole_and_its_answer_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/switchover?x=1", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, "HTTP/1.0 412 Odd\r\nX-Lsn: 7\r\n\r\n{\"a\":1}").await
    };
    let body = json!({"leader": "a"});
    let client = client(ClientTls::default());
    let request = HttpRequest { method: Method::POST, body: Some(&body), ..get(&url) };
    let (seen, response) = tokio::join!(server, client.send(request));
    let response = response.unwrap();
    assert_eq!((response.status, response.json(), response.header("x-lsn")), (412, Some(json!({"a": 1})), Some("7")));
    let seen = seen.to_lowercase();
    for part in [
        "post /switchover?x=1 http/1.1\r\n",
        "authorization: basic dxnlcjpwyxnz",
        "content-type: application/json",
        "user-agent: patroni/4.1.5",
        "host: 127.0.0.1:",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
}

#[tokio::test]
async fn a_mute_server_costs_no_more_than_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let request = HttpRequest { timeout: Duration::from_millis(50), ..get(&url) };
    assert!(matches!(client(ClientTls::default()).send(request).await, Err(HttpError::Timeout { .. })));
}

#[tokio::test]
async fn a_dead_server_and_a_bad_address_are_told_apart() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = client(ClientTls::default());
    assert!(matches!(client.send(get(&url)).await, Err(HttpError::Connect { .. })));
    for bad in ["", "127.0.0.1:80", "ftp://a/", "http://", "http:///x", "http://a:b/"] {
        assert!(matches!(client.send(get(bad)).await, Err(HttpError::Url { .. })), "{bad}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_and_an_endless_answer_are_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = client(ClientTls::default());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, "what?").await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // The client hangs up once it has had enough.
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    };
    let requests = async {
        assert!(matches!(client.send(get(&url)).await, Err(HttpError::Exchange { .. })));
        assert!(matches!(client.send(get(&url)).await, Err(HttpError::Exchange { .. })));
        assert!(matches!(client.send(get(&url)).await, Err(HttpError::TooLarge(_))));
    };
    tokio::join!(server, requests);
}

async fn over_tls(t: &TestCert, clients: ClientCertificates, tls: ClientTls) -> Result<u16, String> {
    let key_pair = KeyPair { cert: t.cert.clone(), key: Some(t.key.clone()), password: None };
    let server = ServerTls { key_pair, ca_file: Some(t.cert.clone()), ciphers: None, clients };
    let acceptor = server.acceptor().unwrap().build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let ssl = openssl::ssl::Ssl::new(acceptor.context()).unwrap();
        let mut stream = SslStream::new(ssl, stream).unwrap();
        if Pin::new(&mut stream).accept().await.is_ok() {
            answer(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    };
    let client = client(tls);
    let (response, ()) = tokio::join!(client.send(get(&url)), async {
        // A refused handshake leaves the server nothing to read.
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap();
    });
    response.map(|r| r.status).map_err(|e| e.to_string())
}

#[tokio::test]
async fn servers_are_believed_as_far_as_told() {
    let t = self_signed();
    let ca = Some(t.cert.clone());
    let pair = Some(KeyPair { cert: t.cert.clone(), key: Some(t.key.clone()), password: None });
    let with = |ca_file, verify| ClientTls { ca_file, verify, ..ClientTls::default() };
    let ignored = ClientCertificates::Ignored;
    assert_eq!(over_tls(&t, ignored, with(None, Verify::None)).await, Ok(200));
    assert_eq!(over_tls(&t, ignored, with(ca.clone(), Verify::Chain)).await, Ok(200));
    // The certificate is for another address, and without the authority for nobody.
    for unbelieving in [with(ca.clone(), Verify::Full), with(None, Verify::Chain)] {
        assert!(over_tls(&t, ignored, unbelieving).await.unwrap_err().starts_with("TLS with"));
    }
    // One certificate as server's, client's and authority's.
    let mutual = ClientTls { key_pair: pair, ..with(ca, Verify::Chain) };
    assert_eq!(over_tls(&t, ClientCertificates::Required, mutual).await, Ok(200));
    assert_eq!(over_tls(&t, ClientCertificates::Optional, with(None, Verify::None)).await, Ok(200));
}
