//! The member key: what this member says of itself (ha-rules 3). Written last in every cycle that had a view.

use crate::PATRONI_VERSION;
use crate::cluster::{MemberData, NodeStatus, PgState, Role};
use crate::ha::cycle::Cycle;
use crate::ha::rewind::RewindState;
use crate::ha::{Command, JobKind, Rule};
use crate::types::Timeline;

/// The command to write it; `None` when the store is silent.
pub(super) fn command(cycle: &mut Cycle<'_>, rule: &Rule) -> Option<Command> {
    let silent =
        cycle.view.cluster.is_err() || matches!(rule, Rule::StoreSilent | Rule::FailsafeLeader | Rule::DemotedOffline);
    if silent { None } else { Some(Command::TouchMember(Box::new(data(cycle)))) }
}

fn data(cycle: &mut Cycle<'_>) -> MemberData {
    let view = cycle.view;
    let pending = &view.server.pending_restart;
    let awaits_checkpoint = cycle.facts.is_leader && cycle.memory.rewind != RewindState::Checkpoint;
    let mut data = MemberData {
        conn_url: Some(view.me.conn_url.clone()),
        api_url: Some(view.me.api_url.clone()),
        state: Some(view.server.state),
        role: Some(cycle.role),
        version: Some(PATRONI_VERSION.to_owned()),
        proxy_url: view.me.proxy_url.clone().filter(|url| !url.is_empty()),
        checkpoint_after_promote: awaits_checkpoint.then_some(false),
        tags: view.me.tags.published(),
        pending_restart: (!pending.is_empty()).then_some(true),
        pending_restart_reason: (!pending.is_empty()).then(|| pending.clone()),
        scheduled_restart: cycle.memory.scheduled_restart.as_ref().map(|s| s.data.clone()),
        pause: cycle.facts.paused.then_some(true),
        ..MemberData::default()
    };
    if cycle.memory.sync.leaving_until.is_some() {
        data.tags.0.insert("nosync".to_owned(), true.into());
        data.tags.0.insert("sync_priority".to_owned(), 0.into());
    }
    let quiet = view.server.job.as_ref().is_none_or(|j| j.job.kind() == JobKind::Promote);
    let up = matches!(view.server.state, PgState::Running | PgState::Restarting | PgState::Starting);
    if quiet
        && up
        && let Some(status) = &view.status
    {
        positions(cycle, status, &mut data);
    }
    data
}

fn positions(cycle: &mut Cycle<'_>, status: &NodeStatus, data: &mut MemberData) {
    data.xlog_location = Some(status.position());
    if !status.in_recovery {
        data.timeline = Some(status.timeline).filter(|t| t.0 > 0);
        return;
    }
    data.replay_lsn = status.replay_lsn.filter(|lsn| lsn.0 > 0);
    data.receive_lsn = status.receive_lsn.filter(|lsn| lsn.0 > 0);
    data.replication_state = replication_state(cycle, status).map(str::to_owned);
    let received = status.receiver.as_ref().map(|r| r.timeline).filter(|t| t.0 > 0);
    let control = || status.control_timeline.filter(|_| cycle.role == Role::StandbyLeader);
    let known = cycle.memory.last_timeline.filter(|t| t.0 > 0);
    let timeline: Option<Timeline> = received.or_else(control).or(known);
    if timeline.is_some() {
        cycle.memory.last_timeline = timeline;
    }
    data.timeline = cycle.memory.last_timeline.filter(|t| t.0 > 0);
}

/// `streaming`, `in archive recovery`, or nothing that could be told (HA-45).
fn replication_state(cycle: &Cycle<'_>, status: &NodeStatus) -> Option<&'static str> {
    if !cycle.facts.version_at_least(90_600) {
        return None;
    }
    if status.receiver.as_ref().is_some_and(|r| r.status == "streaming") {
        return Some("streaming");
    }
    status.restore_command.as_ref().filter(|c| !c.is_empty()).map(|_| "in archive recovery")
}
