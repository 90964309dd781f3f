//! What Patroni logs for each rule. The only place where these texts stand.

use super::Rule;

/// The sentence of a rule for the member `me`; a paused cluster puts `PAUSE: ` before it. Empty: no line.
#[must_use]
pub fn sentence(rule: &Rule, me: &str, paused: bool) -> String {
    let text = text(rule, me);
    if paused && !text.is_empty() { format!("PAUSE: {text}") } else { text }
}

fn text(rule: &Rule, me: &str) -> String {
    if let Some(fixed) = fixed(rule) {
        return fixed.to_owned();
    }
    match rule {
        Rule::LeaderDuringJob(action) => format!("updated leader lock during {action}"),
        Rule::JobInProgress(action) => format!("{action} in progress"),
        Rule::JobRefused(action, other) => format!("Failed to run {action}, {other} is already in progress"),
        Rule::LostLeaderDuringJob(action) => format!("lost leader lock during {action}"),
        Rule::StillStarting(left) => format!("PostgreSQL is still starting up, {left} seconds until timeout"),
        Rule::RaceBackoff(left) => {
            format!("My ({me}) wal position moved since last heart beat loop, {left} seconds until leader race")
        }
        Rule::Cloning(from) => format!("trying to bootstrap {from}"),
        Rule::ReleasedWithoutData(empty) => format!(
            "released leader key voluntarily as data dir {} and currently leader",
            if *empty { "empty" } else { "not accessible" }
        ),
        Rule::DataDirInaccessible(error) => format!("data directory is not accessible: {error}"),
        Rule::Rewinding(leader) => format!("running pg_rewind from {leader}"),
        Rule::Leader => format!("no action. I am ({me}), the leader with the lock"),
        Rule::DemotingFor(action) => format!("{action}: demoting myself"),
        Rule::Replica(leader) => format!("no action. I am ({me}), a secondary, and following a leader ({leader})"),
        Rule::CopyingSlots(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            format!("Copying logical slots [{}] from the primary", names.join(", "))
        }
        Rule::StandbyLeader => format!("no action. I am ({me}), the standby leader with the lock"),
        Rule::StandbyReplica(leader) => {
            format!("no action. I am ({me}), a secondary, and following a standby leader ({leader})")
        }
        Rule::PausedNoUpstream => format!("no action. I am ({me})"),
        // All others have a fixed text.
        _ => String::new(),
    }
}

/// Texts without parts. An empty one: the reason stands in a line of its own.
fn fixed(rule: &Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::StoreSilent => "DCS is not accessible",
        Rule::FailsafeLeader => {
            "continue to run as a leader because failsafe mode is enabled and all members are accessible"
        }
        Rule::DemotedOffline => "demoted self because DCS is not accessible and I was a leader",
        Rule::ServerSilent => "Error communicating with PostgreSQL. Will try again later",
        Rule::Bug => "Unexpected exception raised, please report it as a BUG",
        Rule::LostLeaderBeforePromote => "lost leader before promote",
        Rule::CrashRecoveryTimedOut => "terminated crash recovery because of startup timeout",
        Rule::LostLeaderWhileStarting => "stopped PostgreSQL while starting up because leader key was lost",
        Rule::StartTimedOut => "stopped PostgreSQL because of startup timeout",
        Rule::StartTimedOutAlone => {
            "primary start has timed out, but continuing to wait because failover is not possible"
        }
        Rule::AwaitingNewLeader => "waiting for a new leader after demotion",
        Rule::StartingAfterDemotion => "starting after demotion",
        Rule::Bootstrapping => "trying to bootstrap a new cluster",
        Rule::BootstrappingStandbyLeader => "trying to bootstrap a new standby leader",
        Rule::InitializeLost => "failed to acquire initialize lock",
        Rule::CloningWithoutLeader => "trying to bootstrap (without leader)",
        Rule::WaitingForLeader => "waiting for leader to bootstrap",
        Rule::WaitingForStandbyLeader => "waiting for standby_leader to bootstrap",
        Rule::WaitingForEndOfRecovery => "waiting for end of recovery after bootstrap",
        Rule::PostBootstrap => "running post_bootstrap",
        Rule::Initialized => "initialized a new cluster",
        Rule::PausedWithoutData => "running with empty data directory",
        Rule::InvalidSystemId => {
            "data dir for the cluster is not empty, but system ID is invalid; consider doing reinitialize"
        }
        Rule::ReleasedSystemIdMismatch => "released leader key voluntarily due to the system ID mismatch",
        Rule::PausedReleasedNotRunning => "removed leader lock because postgres is not running",
        Rule::PausedNotRunning => "postgres is not running",
        Rule::ReleasedAfterFailedStart => "removed leader key after trying and failing to start postgres",
        Rule::FailedStart => "failed to start postgres",
        Rule::FailedOverAfterCrash => "stopped PostgreSQL to fail over after a crash",
        Rule::StartingPrimary => "starting primary after failure",
        Rule::CrashRecovery => "doing crash recovery in a single user mode",
        Rule::StartingReadOnly => "starting as readonly because i had the session lock",
        Rule::StartingSecondary => "starting as a secondary",
        Rule::StartingStandbyLeader => "starting as a standby leader because i had the session lock",
        Rule::StartingBehindRemote => "trying to follow a remote member because standby cluster is unhealthy",
        Rule::ReinitializingDiverged => "reinitializing due to diverged timelines",
        Rule::RemovingData => "removing data directory after failed rewind",
        Rule::AcquiredLock => "acquired session lock as a leader",
        Rule::Promoted => "promoted self to leader by acquiring session lock",
        Rule::AcquiredStandbyLock => "promoted self to a standby leader by acquiring session lock",
        Rule::LostRaceDemoted => "demoted self after trying and failing to obtain lock",
        Rule::LostRaceFollowing => "following new leader after trying and failing to obtain lock",
        Rule::NotAllowedDemoted => "demoting self because I am not allowed to become primary",
        Rule::NotAllowedFollowing => "following a different leader because I am not allowed to promote",
        Rule::NotHealthiestDemoted => "demoting self because i am not the healthiest node",
        Rule::NotHealthiestFollowing => "following a different leader because i am not the healthiest node",
        Rule::PromotedWithLock => "promoted self to leader because I had the session lock",
        Rule::BecameStandbyLeader => "promoted self to a standby leader because i had the session lock",
        Rule::DemotingCluster => "cannot be a real primary in standby cluster",
        Rule::WaitingForPromotion => "waiting to become primary after promote...",
        Rule::ReleasedNotPrimary => "removed leader lock because postgres is not running as primary",
        Rule::LostLockDemoted => "demoted self because failed to update leader lock in DCS",
        Rule::LostLockPaused => "continue to run as primary after failing to update leader lock in DCS",
        Rule::LostLockNotPromoting => "not promoting because failed to update leader lock in DCS",
        Rule::PromotionCancelled => "Promotion cancelled because the pre-promote script failed",
        Rule::DemotedWithoutWatchdog => "Demoting self because watchdog could not be activated",
        Rule::NotPromotedWithoutWatchdog => "Not promoting self because watchdog could not be activated",
        Rule::PromotionPostponed => {
            "Postponing promotion because synchronous replication state was updated by somebody else"
        }
        Rule::DemotedWithoutLock => "demoting self because I do not have the lock and I was a leader",
        Rule::DemotedInStandbyCluster => "cannot be a real primary in a standby cluster",
        Rule::KeepsOldStandbyLeader => "continue following the old known standby leader",
        Rule::PausedPrimaryWithoutLock => "continue to run as primary without lock",
        Rule::RestartInitiated => "restart initiated",
        Rule::BootstrapFailed | Rule::SystemIdMismatch(..) | Rule::JoinAborted | Rule::Stopping => "",
        _ => return None,
    })
}
