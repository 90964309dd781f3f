//! An etcd of our own, in a temporary directory, on free ports.

use crate::test_settings;
use patroni::config::settings::{Etcd3, Settings, Store};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    args: Vec<String>,
    scheme: &'static str,
    client_port: u16,
}

impl Server {
    /// `None` when there is no etcd to start. `args` beginning with `--cert-file` make it speak TLS.
    pub async fn start(args: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let peer_port = free_port();
        let server = Self::spawn("n", peer_port, &format!("n=http://127.0.0.1:{peer_port}"), args);
        server.ready().await;
        Some(server)
    }

    /// Three of them that form a cluster.
    pub async fn start_three() -> Option<Vec<Self>> {
        if !is_installed() {
            return None;
        }
        let members = [("n0", free_port()), ("n1", free_port()), ("n2", free_port())];
        let cluster = members.map(|(name, port)| format!("{name}=http://127.0.0.1:{port}")).join(",");
        let servers: Vec<Self> = members.iter().map(|(name, port)| Self::spawn(name, *port, &cluster, &[])).collect();
        for server in &servers {
            server.ready().await;
        }
        Some(servers)
    }

    fn spawn(name: &str, peer_port: u16, cluster: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client_port = free_port();
        let scheme = if args.iter().any(|a| a.starts_with("--cert-file")) { "https" } else { "http" };
        let client_url = format!("{scheme}://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut all: Vec<String> = Vec::new();
        for (option, value) in [
            ("--name", name),
            ("--data-dir", dir.path().join("data").to_str().unwrap()),
            ("--listen-client-urls", &client_url),
            ("--advertise-client-urls", &client_url),
            ("--listen-peer-urls", &peer_url),
            ("--initial-advertise-peer-urls", &peer_url),
            ("--initial-cluster", cluster),
            // Leases of a second need a quick pulse.
            ("--heartbeat-interval", "50"),
            ("--election-timeout", "500"),
        ] {
            all.extend([option.to_owned(), value.to_owned()]);
        }
        all.extend(args.iter().map(|a| (*a).to_owned()));
        Self { child: spawn(&all), dir, args: all, scheme, client_port }
    }

    async fn ready(&self) {
        let deadline = Duration::from_secs(30);
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.client_port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(deadline, listening).await.expect("etcd does not start");
        if self.scheme == "http" {
            let answering = async {
                while self.client().await.status().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(deadline, answering).await.expect("etcd does not answer");
        }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub async fn client(&self) -> etcd_client::Client {
        etcd_client::Client::connect([format!("http://{}", self.host())], None).await.unwrap()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Self::kill`], with its data.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.args);
        assert!(self.dir.path().exists());
        self.ready().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_installed() -> bool {
    let installed = Command::new("etcd").arg("--version").output().is_ok();
    if !installed {
        println!("skipped: no etcd in PATH");
    }
    installed
}

fn spawn(args: &[String]) -> Child {
    let mut command = Command::new("etcd");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn store(hosts: &[String]) -> Etcd3 {
    Etcd3 {
        hosts: hosts.to_vec(),
        https: false,
        use_proxies: false,
        srv: None,
        srv_suffix: None,
        cacert: None,
        cert: None,
        key: None,
        authentication: None,
    }
}

pub fn settings(scope: &str, name: &str, store: Etcd3) -> Settings {
    test_settings::settings(|s| {
        scope.clone_into(&mut s.scope);
        name.clone_into(&mut s.name);
        s.store = Store::Etcd3(store);
    })
}
