//! Which actor carries out a command, how long it may take, and what silence means.

use crate::cluster::PeerStatus;
use crate::config::Global;
use crate::ha::{Command, Outcome};
use std::time::Duration;

/// Who carries out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Store,
    Peers,
    Server,
    Slots,
    Sync,
    Callbacks,
    Watchdog,
}

/// What a peer gets to answer, plus a little for the way through two actors.
const PEER_BUDGET: Duration = Duration::from_millis(2_200);
/// Two tries of a call to the members, and a little for the way.
pub(super) const FAILSAFE_BUDGET: Duration = Duration::from_millis(4_200);
/// A short step on the server: a statement (3 s to connect, 2 s to run) or a few files.
const STEP_BUDGET: Duration = Duration::from_secs(6);
/// A question that takes more than one connection, or a program.
const LONG_STEP_BUDGET: Duration = Duration::from_secs(12);
/// A device of the kernel is opened or closed.
const DEVICE_BUDGET: Duration = Duration::from_secs(3);
/// What is only handed over.
const NOTICE_BUDGET: Duration = Duration::from_secs(2);

/// The actor that owns what the command touches.
pub(super) fn route(command: &Command) -> Route {
    match command {
        Command::ReloadCluster
        | Command::TouchMember(_)
        | Command::AcquireLeader
        | Command::RenewLeader
        | Command::WriteStatus(_)
        | Command::ReleaseLeader { .. }
        | Command::Initialize { .. }
        | Command::CancelInitialize
        | Command::WriteConfig { .. }
        | Command::WriteFailover { .. }
        | Command::WriteHistory(_)
        | Command::WriteFailsafe(_)
        | Command::WriteSync(_)
        | Command::DeleteSync(_) => Route::Store,
        Command::PollPeers(_) | Command::CallFailsafe { .. } => Route::Peers,
        Command::StartJob(_)
        | Command::CancelJob
        | Command::SetRole(_)
        | Command::CheckRecovery { .. }
        | Command::ReloadRecovery { .. }
        | Command::CheckpointAfterPromote
        | Command::ResumeReplay
        | Command::EnforceFeedback(_)
        | Command::QueryOwnTimeline
        | Command::QueryLeader(_)
        | Command::QueryCheckpointEnd { .. }
        | Command::ReadHistory(_)
        | Command::QueryArchiving => Route::Server,
        Command::SyncSlots(_) => Route::Slots,
        Command::SetSyncNames(_) | Command::ProduceWal => Route::Sync,
        Command::Callback { .. } => Route::Callbacks,
        Command::WatchdogActivate | Command::WatchdogDisable => Route::Watchdog,
    }
}

/// How long a command may take (DCS-09): reads and lock operations of the store have the whole `retry_timeout`, other
/// writes one try of it.
pub(super) fn budget(command: &Command, global: &Global) -> Duration {
    match command {
        Command::ReloadCluster | Command::AcquireLeader | Command::RenewLeader | Command::Initialize { .. } => {
            global.retry_timeout
        }
        Command::TouchMember(_)
        | Command::WriteStatus(_)
        | Command::ReleaseLeader { .. }
        | Command::CancelInitialize
        | Command::WriteConfig { .. }
        | Command::WriteFailover { .. }
        | Command::WriteHistory(_)
        | Command::WriteFailsafe(_)
        | Command::WriteSync(_)
        | Command::DeleteSync(_) => one_try(global),
        Command::PollPeers(_) => PEER_BUDGET,
        Command::CallFailsafe { .. } => FAILSAFE_BUDGET,
        Command::QueryLeader(_) | Command::QueryCheckpointEnd { .. } => LONG_STEP_BUDGET,
        Command::StartJob(_)
        | Command::CancelJob
        | Command::SetRole(_)
        | Command::CheckRecovery { .. }
        | Command::ReloadRecovery { .. }
        | Command::CheckpointAfterPromote
        | Command::ResumeReplay
        | Command::EnforceFeedback(_)
        | Command::QueryOwnTimeline
        | Command::ReadHistory(_)
        | Command::QueryArchiving
        | Command::SyncSlots(_)
        | Command::SetSyncNames(_)
        | Command::ProduceWal => STEP_BUDGET,
        Command::WatchdogActivate | Command::WatchdogDisable => DEVICE_BUDGET,
        Command::Callback { .. } => NOTICE_BUDGET,
    }
}

/// The budget of a store write that is tried once.
pub(super) fn one_try(global: &Global) -> Duration {
    (global.retry_timeout / 3).max(Duration::from_secs(1))
}

/// The outcome of a command that was not answered: a write to the store may have been done.
pub(super) fn silence(command: &Command) -> Outcome {
    match command {
        Command::ReloadCluster => Outcome::Unreachable("no answer from the store in time".to_owned()),
        Command::PollPeers(asked) => {
            Outcome::Peers(asked.iter().map(|(name, _)| PeerStatus::unreachable(name)).collect())
        }
        Command::SetSyncNames(_) => Outcome::Unknown("no answer from PostgreSQL in time".to_owned()),
        _ if route(command) == Route::Store => Outcome::Unknown("no answer from the store in time".to_owned()),
        _ => Outcome::Failed("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::FailsafeCall;

    // rows: QUIRK-14
    #[test]
    fn calls_in_fail_safe_mode_have_their_time_whatever_retry_timeout_is() {
        let text = || "a".to_owned();
        let call = FailsafeCall { name: text(), conn_url: text(), api_url: text(), slots: None, ttl: None };
        let command = Command::CallFailsafe { call: Box::new(call), ttl: Duration::from_secs(30), members: Vec::new() };
        for seconds in [3, 10, 100] {
            let global = Global { retry_timeout: Duration::from_secs(seconds), ..Global::default() };
            assert_eq!(budget(&command, &global), Duration::from_millis(4_200));
            assert_eq!(budget(&Command::ReloadCluster, &global), global.retry_timeout);
        }
    }
}
