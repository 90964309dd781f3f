use super::*;
use crate::api::fixture::{cluster, object};
use crate::cluster::{Failover, MemberTags, Revision, SyncState};
use serde_json::json;

fn check(body: Value, action: Action, paused: bool) -> Result<Option<String>, (u16, String)> {
    Wish::read(&object(body)).check(action, paused, "2026-05-29T02:00:00Z".parse().unwrap())
}

// rows: PAUSE-05
#[test]
fn wishes_are_checked() {
    use Action::{Failover, Switchover};
    for (body, action, paused, wanted) in [
        (json!({"leader": "a"}), Switchover, false, Ok(None)),
        (json!({"candidate": "b"}), Failover, false, Ok(None)),
        (json!({"member": "b"}), Failover, false, Ok(None)),
        (
            json!({"leader": "a"}),
            Failover,
            false,
            Err((400, "Failover could be performed only to a specific candidate")),
        ),
        (
            json!({"candidate": "b"}),
            Switchover,
            false,
            Err((400, "Switchover could be performed only from a specific leader")),
        ),
        (json!({"candidate": "b", "scheduled_at": "x"}), Failover, false, Err((400, "Failover can't be scheduled"))),
        (
            json!({"leader": "a", "candidate": "b", "scheduled_at": "x"}),
            Switchover,
            true,
            Err((400, "Can't schedule switchover in the paused state")),
        ),
        (
            json!({"leader": "a"}),
            Switchover,
            true,
            Err((400, "Switchover is possible only to a specific candidate in a paused state")),
        ),
        (
            json!({"leader": "a", "candidate": "a"}),
            Switchover,
            false,
            Err((400, "Switchover target and source are the same")),
        ),
        (
            json!({"leader": "a", "scheduled_at": "2026-05-29T01:00:00Z"}),
            Switchover,
            false,
            Err((422, "Cannot schedule switchover in the past")),
        ),
        (
            json!({"leader": "a", "scheduled_at": "2026-05-29T03:00"}),
            Switchover,
            false,
            Err((400, "Timezone information is mandatory for the scheduled switchover")),
        ),
        (
            json!({"leader": "a", "scheduled_at": 5}),
            Switchover,
            false,
            Err((422, "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601")),
        ),
        (
            json!({"leader": "a", "scheduled_at": "2026-05-29 05:00+02"}),
            Switchover,
            false,
            Ok(Some("2026-05-29T05:00:00+02:00".to_owned())),
        ),
    ] {
        let wanted = wanted.map_err(|(code, text): (u16, &str)| (code, text.to_owned()));
        assert_eq!(check(body.clone(), action, paused), wanted, "{body}");
    }
}

#[test]
fn members_are_picked_by_what_the_store_says() {
    let pick = |cluster: &Cluster, leader, candidate, action| {
        good_members(cluster, leader, candidate, action).map(|m| m.into_iter().map(|(n, _)| n).collect::<Vec<_>>())
    };
    let plain = cluster();
    assert_eq!(pick(&plain, Some("a"), None, Action::Switchover), Ok(vec!["b".to_owned()]));
    assert_eq!(pick(&plain, None, Some("b"), Action::Failover), Ok(vec!["b".to_owned()]));
    assert_eq!(pick(&plain, Some("b"), None, Action::Switchover), Err("leader name does not match".into()));
    assert_eq!(pick(&plain, Some("a"), Some("x"), Action::Switchover), Err("candidate does not exists".into()));
    let mut alone = cluster();
    alone.members.truncate(1);
    let wanted = Err("switchover is not possible: cluster does not have members except leader".to_owned());
    assert_eq!(pick(&alone, Some("a"), None, Action::Switchover), wanted);
    let mut sync = cluster();
    sync.config.as_mut().unwrap().data = object(json!({"synchronous_mode": true}));
    let wanted = Err("candidate name does not match with sync_standby".to_owned());
    assert_eq!(pick(&sync, Some("a"), Some("b"), Action::Switchover), wanted);
    let wanted = Err("switchover is not possible: can not find sync_standby".to_owned());
    assert_eq!(pick(&sync, Some("a"), None, Action::Switchover), wanted);
    assert_eq!(pick(&sync, None, Some("b"), Action::Failover), Ok(vec!["b".to_owned()]));
    sync.sync = SyncState { leader: Some("a".into()), sync_standby: vec!["b".into()], ..SyncState::default() };
    assert_eq!(pick(&sync, Some("a"), None, Action::Switchover), Ok(vec!["b".to_owned()]));
}

#[test]
fn peers_say_whether_they_may_take_over() {
    let peer =
        |tags: Value| PeerStatus { reachable: true, tags: MemberTags(object(tags)), ..PeerStatus::unreachable("b") };
    for (tags, wanted) in [
        (json!({}), true),
        (json!({"nofailover": true}), false),
        (json!({"nofailover": false, "failover_priority": 0}), true),
        (json!({"failover_priority": "0"}), false),
        (json!({"failover_priority": 1}), true),
        (json!({"failover_priority": "x"}), true),
    ] {
        assert_eq!(may_take_over(&peer(tags.clone())), wanted, "{tags}");
    }
    assert!(!may_take_over(&PeerStatus::unreachable("b")));
    assert!(!may_take_over(&PeerStatus { watchdog_failed: true, ..peer(json!({})) }));
}

// rows: HA-36, HA-37
#[test]
fn the_result_is_read_from_the_cluster() {
    let watch = |candidate: Option<&str>, action| Watch {
        old_leader: Some("a".into()),
        candidate: candidate.map(str::to_owned),
        action,
        written: Mono::default(),
    };
    let cluster = |leader: Option<&str>, pending: bool| {
        let mut cluster = cluster();
        cluster.leader = cluster.leader.filter(|_| leader.is_some());
        if let (Some(l), Some(name)) = (&mut cluster.leader, leader) {
            l.name = name.into();
        }
        let leader = pending.then(|| "a".to_owned());
        cluster.failover = Some(Failover { revision: Revision(9), leader, ..Failover::default() });
        cluster
    };
    let text = |reply: Option<Reply>| reply.map(|r| (r.code, r.body));
    use Action::{Failover as F, Switchover as S};
    for (watch, cluster, wanted) in [
        (watch(None, S), cluster(Some("a"), true), None),
        (watch(None, S), cluster(None, true), None),
        (watch(None, S), cluster(Some("b"), true), Some((200, r#"Successfully switched over to "b""#))),
        (watch(Some("b"), F), cluster(Some("b"), false), Some((200, r#"Successfully failed over to "b""#))),
        (watch(Some("b"), S), cluster(Some("c"), false), Some((200, r#"Switched over to "c" instead of "b""#))),
        (watch(None, S), cluster(Some("a"), false), Some((503, "Switchover failed"))),
        (watch(Some("b"), F), cluster(None, false), Some((503, "Failover failed"))),
    ] {
        assert_eq!(text(watch.result(&cluster)), wanted.map(|(c, t)| (c, t.to_owned())));
    }
}
