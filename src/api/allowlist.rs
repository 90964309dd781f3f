//! `restapi.allowlist` and `allowlist_include_members`: addresses that may send unsafe requests (API-43).

use super::Snapshot;
use super::access::MembersCount;
use crate::cluster::host_and_port;
use crate::types::Mono;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Host names are resolved again after this.
const REMEMBER: Duration = Duration::from_secs(60);
/// A name server that is slower than this does not count.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a name was resolved, and to what.
type Resolved = (Mono, Arc<[IpAddr]>);

/// Addresses of host names, remembered for a while.
#[derive(Debug)]
pub struct Allowlist {
    clock: crate::clock::Clock,
    names: Mutex<HashMap<String, Resolved>>,
}

impl Allowlist {
    /// An empty memory.
    #[must_use]
    pub fn new(clock: crate::clock::Clock) -> Self {
        Self { clock, names: Mutex::default() }
    }

    /// Whether this address may send unsafe requests. Everybody may when no list is configured; an entry that
    /// cannot be read or resolved admits nobody.
    pub async fn admits(&self, address: Option<IpAddr>, snapshot: &Snapshot, members: MembersCount) -> bool {
        let restapi = &snapshot.settings.restapi;
        let entries = restapi.allowlist.as_deref().unwrap_or_default();
        let include_members = restapi.allowlist_include_members && members == MembersCount::AsConfigured;
        if entries.is_empty() && !include_members {
            return true;
        }
        let Some(address) = address.map(|a| a.to_canonical()) else { return false };
        for entry in entries {
            if self.matches(entry, address).await {
                return true;
            }
        }
        let cluster = snapshot.cluster.as_ref().filter(|_| include_members).map(|(c, _)| Arc::clone(c));
        let urls = cluster.iter().flat_map(|c| &c.members).filter_map(|m| m.data.api_url.as_deref());
        for host in urls.filter_map(|url| host_and_port(url).0) {
            if self.matches(&host, address).await {
                return true;
            }
        }
        false
    }

    async fn matches(&self, entry: &str, address: IpAddr) -> bool {
        let entry = entry.trim();
        if entry.contains('/') {
            return in_network(entry, address).unwrap_or_else(|| {
                tracing::error!("Invalid value \"{entry}\" in the allowlist");
                false
            });
        }
        match entry.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical() == address,
            Err(_) => self.resolve(entry).await.contains(&address),
        }
    }

    async fn resolve(&self, host: &str) -> Arc<[IpAddr]> {
        let now = self.clock.mono();
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some((at, addresses)) = known
            && now.since(at) < REMEMBER
        {
            return addresses;
        }
        let found = match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await {
            Ok(Ok(addresses)) => addresses.map(|a| a.ip().to_canonical()).collect(),
            Ok(Err(error)) => {
                tracing::error!("Failed to resolve {host}: {error}");
                Vec::new()
            }
            Err(_) => {
                tracing::error!("Failed to resolve {host}: no answer within {} s", PATIENCE.as_secs());
                Vec::new()
            }
        };
        let found: Arc<[IpAddr]> = found.into();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(host.to_owned(), (now, Arc::clone(&found)));
        found
    }
}

/// Whether the address lies in `address/length` or `address/mask`; `None`: that is no network.
fn in_network(network: &str, address: IpAddr) -> Option<bool> {
    let (base, length) = network.split_once('/')?;
    let base: IpAddr = base.trim().parse().ok()?;
    let width = if base.is_ipv4() { 32 } else { 128 };
    let length: u32 = match length.trim().parse::<u32>() {
        Ok(length) => length,
        Err(_) => match length.trim().parse::<IpAddr>().ok()? {
            IpAddr::V4(mask) if base.is_ipv4() && mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                mask.to_bits().count_ones()
            }
            _ => return None,
        },
    };
    if length > width {
        return None;
    }
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let shifted = |ip: IpAddr| bits(ip).checked_shr(width - length).unwrap_or(0);
    Some(base.is_ipv4() == address.is_ipv4() && shifted(base) == shifted(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.200.0.1", Some(true)),
            ("10.0.0.7/8", "10.200.0.1", Some(true)),
            ("10.0.0.0/8", "11.0.0.1", Some(false)),
            ("0.0.0.0/0", "1.2.3.4", Some(true)),
            ("0.0.0.0/0", "::1", Some(false)),
            ("192.168.1.0/255.255.255.0", "192.168.1.77", Some(true)),
            ("192.168.1.0/255.0.255.0", "192.168.1.77", None),
            ("fe80::/10", "fe80::1", Some(true)),
            ("::/0", "fe80::1", Some(true)),
            ("fe80::/10", "2001::1", Some(false)),
            ("10.0.0.0/33", "10.0.0.1", None),
            ("x/8", "10.0.0.1", None),
            ("10.0.0.0/", "10.0.0.1", None),
        ] {
            assert_eq!(in_network(network, address.parse().unwrap()), inside, "{network} {address}");
        }
    }
}
