//! A way to etcd on which answers can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Faults {
    swallow: AtomicBool,
    swallow_new: AtomicBool,
}

pub struct Proxy {
    host: String,
    faults: Arc<Faults>,
}

impl Proxy {
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let faults = Arc::new(Faults::default());
        let shared = Arc::clone(&faults);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let mute = shared.swallow_new.load(Ordering::SeqCst);
                tokio::spawn(carry(client, server, Arc::clone(&shared), mute));
            }
        });
        Self { host, faults }
    }

    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// From now on requests arrive, but no answer does.
    pub fn swallow(&self, on: bool) {
        self.faults.swallow.store(on, Ordering::SeqCst);
    }

    /// The same for connections that are made from now on.
    pub fn swallow_new(&self, on: bool) {
        self.faults.swallow_new.store(on, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: TcpStream, faults: Arc<Faults>, mute: bool) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
    let back = async {
        let mut chunk = vec![0; 16384];
        let mut broken = mute;
        while let Ok(n) = from_server.read(&mut chunk).await {
            // A stream that lost a part is of no use any more.
            broken |= faults.swallow.load(Ordering::SeqCst);
            if n == 0 || !broken && to_client.write_all(&chunk[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = there => {}, () = back => {} }
}
