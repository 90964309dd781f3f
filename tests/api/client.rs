//! A client of few words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, taken apart.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    head: String,
    pub body: String,
}

impl Reply {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or_default();
        Self { code, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// One request on one connection.
pub fn send(address: SocketAddr, method: &str, path: &str, body: Option<&str>, headers: &[&str]) -> Reply {
    Reply::parse(&raw(address, &request(method, path, body, headers)))
}

pub fn request(method: &str, path: &str, body: Option<&str>, headers: &[&str]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    match body {
        Some(body) => text + &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        None => text + "\r\n",
    }
}

/// Sends bytes and reads until the end.
pub fn raw(address: SocketAddr, text: &str) -> String {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    talk(stream, text)
}

pub fn talk(mut stream: impl Read + Write, text: &str) -> String {
    // The server may answer and close before it has read everything.
    let _sent = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
