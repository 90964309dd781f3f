//! Which store is used and how it is reached (DCS-01, DCS-12).

use super::address::{join, split_host_port};
use super::error::ConfigError;
use super::loose::{Count, Words};
use super::reader::Section;
use super::settings::{BasicAuth, Etcd3, Secret, Store};

/// Sections of stores that can be used.
pub(super) const AVAILABLE: [&str; 1] = ["etcd3"];
/// Sections of stores that Patroni knows, in the order in which it tries them.
pub(super) const KNOWN: [&str; 7] = ["consul", "etcd", "etcd3", "exhibitor", "kubernetes", "raft", "zookeeper"];
const ETCD_PORT: u16 = 2379;

/// The store of the configuration.
///
/// # Errors
/// There is no section of a store that can be used.
pub(super) fn read(root: &Section<'_>) -> Result<Store, ConfigError> {
    if root.raw("etcd3").is_some() {
        return Ok(Store::Etcd3(etcd3(&root.section("etcd3"))));
    }
    let others: Vec<&str> = KNOWN.into_iter().filter(|name| root.raw(name).is_some()).collect();
    let hint = if others.is_empty() {
        String::new()
    } else {
        format!("\n{} in the configuration, but not supported yet", others.join(", "))
    };
    Err(ConfigError::NoStore { hint })
}

fn etcd3(section: &Section<'_>) -> Etcd3 {
    let proxy = section.text("proxy");
    let mut https = section.text("protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("https"));
    let mut login = (section.text("username"), section.text("password"));
    let mut hosts = Vec::new();
    if let Some((key, url)) =
        proxy.clone().map(|url| ("proxy", url)).or_else(|| section.text("url").map(|url| ("url", url)))
    {
        match Url::parse(&url) {
            Some(url) => {
                https = url.https;
                hosts.push(join(&url.host, url.port));
                if url.login.0.is_some() {
                    login = url.login;
                }
            }
            None => section.problem(key, "it is not http[s]://host[:port]"),
        }
    } else if section.raw("hosts").is_some() {
        let port = port(section);
        for host in section.get::<Words>("hosts").map(|words| words.0).unwrap_or_default() {
            hosts.extend(endpoint(section, "hosts", &host, port));
        }
    } else if let Some(host) = section.text("host") {
        hosts.extend(endpoint(section, "host", &host, port(section)));
    }
    let srv = ["srv", "discovery_srv", "srv_domain"].iter().find_map(|key| section.text(key));
    if hosts.is_empty() && srv.is_none() {
        section.fail("Neither srv, hosts, host nor url are defined in etcd section of config");
    }
    Etcd3 {
        hosts,
        https,
        use_proxies: proxy.is_some() || section.flag("use_proxies"),
        srv,
        srv_suffix: section.text("srv_suffix"),
        cacert: section.path("cacert"),
        cert: section.path("cert"),
        key: section.path("key"),
        authentication: match login {
            (Some(username), password) => {
                Some(BasicAuth { username, password: Secret::new(password.unwrap_or_default()) })
            }
            (None, _) => None,
        },
    }
}

fn port(section: &Section<'_>) -> u16 {
    let Some(port) = section.get::<Count>("port") else { return ETCD_PORT };
    u16::try_from(port.0).unwrap_or_else(|_| {
        section.problem("port", &format!("{} is not between 0 and 65535", port.0));
        ETCD_PORT
    })
}

fn endpoint(section: &Section<'_>, key: &str, text: &str, default_port: u16) -> Option<String> {
    match split_host_port(text, default_port) {
        Some((host, port)) if !host.is_empty() => Some(join(&host, port)),
        _ => {
            section.problem(key, &format!("'{text}' is not host:port"));
            None
        }
    }
}

/// What matters of `scheme://[user[:password]@]host[:port][/...]`.
pub(super) struct Url {
    pub scheme: String,
    pub https: bool,
    pub host: String,
    pub port: u16,
    pub login: (Option<String>, Option<String>),
    pub path: String,
}

impl Url {
    /// `None` unless the scheme is http or https and there is a host.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Self::parse_any(text, ETCD_PORT)?;
        (matches!(url.scheme.as_str(), "http" | "https") && !url.host.is_empty()).then_some(url)
    }

    /// With any scheme, also an empty host.
    pub fn parse_any(text: &str, default_port: u16) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("//")?;
        let scheme = scheme.strip_suffix(':').unwrap_or(scheme).to_lowercase();
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login {
            Some(login) => match login.split_once(':') {
                Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
                None => (Some(login.to_owned()), None),
            },
            None => (None, None),
        };
        let (host, port) = split_host_port(address, default_port)?;
        Some(Self { https: scheme == "https", scheme, host, port, login: (user, password), path: path.to_owned() })
    }
}
