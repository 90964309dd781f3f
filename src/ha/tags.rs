//! Tags that the rules for slots ask for.

use crate::cluster::MemberTags;

/// Whom the member wants to stream from (TAG-06).
#[must_use]
pub fn replicatefrom(tags: &MemberTags) -> Option<&str> {
    tags.replicatefrom()
}

/// Whether the member does not stream at all (TAG-07).
#[must_use]
pub fn nostream(tags: &MemberTags) -> bool {
    tags.nostream()
}
