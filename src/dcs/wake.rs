//! Which changes of the store a cycle should see at once (DCS-10).

use crate::cluster::Keys;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// It has another value.
    Modified,
    /// It is gone: deleted or expired.
    Deleted,
}

/// Decides for one member.
#[derive(Clone, Debug)]
pub struct Wakes {
    prefix: String,
    own_member: String,
}

impl Wakes {
    /// For the member `name`.
    #[must_use]
    pub fn new(keys: &Keys, name: &str) -> Self {
        Self { prefix: keys.prefix(), own_member: format!("members/{name}") }
    }

    /// Whether this change of somebody else's hand should wake a member that leads or does not.
    ///
    /// Members publish their positions all the time, so only their coming and going counts: the leader has slots to make
    /// and to keep. `status` is written by the leader alone; replicas move their slots by it.
    #[must_use]
    pub fn wakes(&self, key: &str, change: Change, leading: bool) -> bool {
        let Some(name) = key.strip_prefix(&self.prefix) else { return false };
        match name {
            "leader" | "config" | "failover" | "sync" | "initialize" | "history" => true,
            "status" => !leading,
            member if member.starts_with("members/") => match change {
                Change::Created => member != self.own_member,
                Change::Modified => false,
                // Our own key expired: it must be written anew.
                Change::Deleted => true,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wakes_and_what_does_not() {
        let wakes = Wakes::new(&Keys::new("service", "demo"), "me");
        use Change::{Created, Deleted, Modified};
        for (name, change, leading, expected) in [
            ("leader", Deleted, false, true),
            ("leader", Created, true, true),
            ("config", Modified, true, true),
            ("failover", Modified, true, true),
            ("sync", Modified, false, true),
            ("initialize", Created, false, true),
            ("history", Modified, false, true),
            ("status", Modified, true, false),
            ("status", Modified, false, true),
            ("failsafe", Modified, false, false),
            ("optime/leader", Modified, false, false),
            ("members/other", Created, true, true),
            ("members/other", Modified, true, false),
            ("members/other", Deleted, true, true),
            ("members/me", Created, false, false),
            ("members/me", Deleted, false, true),
        ] {
            let key = format!("/service/demo/{name}");
            assert_eq!(wakes.wakes(&key, change, leading), expected, "{name} {change:?} {leading}");
        }
        assert!(!wakes.wakes("/service/other/leader", Created, false));
    }
}
