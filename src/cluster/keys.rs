//! Where the keys of a cluster lie in the store.

/// The key layout of one cluster: `/<namespace>/<scope>/...`; repeated slashes collapse (DCS-02, DCS-03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    base: String,
}

impl Keys {
    /// The layout for a namespace (default `service`) and a scope.
    #[must_use]
    pub fn new(namespace: &str, scope: &str) -> Self {
        let parts = namespace.split('/').chain(scope.split('/')).filter(|p| !p.is_empty());
        Self { base: parts.map(|p| format!("/{p}")).collect() }
    }

    /// The prefix of all keys, with its closing slash.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/", self.base)
    }

    /// A key below the prefix ("leader", "config", "initialize", "status", "failover", "sync", "history", "failsafe").
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// The key of a member.
    #[must_use]
    pub fn member(&self, name: &str) -> String {
        format!("{}/members/{name}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_slashes_collapse() {
        for namespace in ["service", "/service/", "//service"] {
            let keys = Keys::new(namespace, "demo");
            assert_eq!(keys.prefix(), "/service/demo/");
            assert_eq!(keys.key("leader"), "/service/demo/leader");
            assert_eq!(keys.member("a"), "/service/demo/members/a");
        }
        assert_eq!(Keys::new("/a//b/", "/c").prefix(), "/a/b/c/");
    }
}
