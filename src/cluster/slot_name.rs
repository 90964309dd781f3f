//! The replication slot of a member.

/// The slot name of a member: lower case, `-` and `.` become `_`, any other letter outside `[a-z0-9_]` becomes `u` with
/// its code in at least four decimal digits; cut at 63. Different members may share a name.
#[must_use]
pub fn slot_name(member: &str) -> String {
    let mut name = String::new();
    for c in member.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' => name.push(c),
            '-' | '.' => name.push('_'),
            _ => name.push_str(&format!("u{:04}", u32::from(c))),
        }
    }
    name.truncate(63);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_become_slot_names() {
        for (member, slot) in
            [("postgresql0", "postgresql0"), ("Node-1.example", "node_1_example"), ("a b", "au0032b"), ("é", "u0233")]
        {
            assert_eq!(slot_name(member), slot);
        }
        assert_eq!(slot_name(&"a".repeat(70)).len(), 63);
    }

    proptest::proptest! {
        #[test]
        fn any_name_gives_a_valid_slot_name(member in ".*") {
            let slot = slot_name(&member);
            proptest::prop_assert!(slot.len() <= 63 && slot.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }
    }
}
