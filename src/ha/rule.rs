//! The rules by name: each ends a cycle with one sentence (rendered in `sentence.rs`).

use crate::types::SystemId;
use serde::{Deserialize, Serialize};

/// Which rule ended a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    // --- store and server out of reach ---
    /// The store gave no view and nothing had to be done.
    StoreSilent,
    /// The store is silent, I am a primary, and all members agree that I go on.
    FailsafeLeader,
    /// The store is silent and I was a primary.
    DemotedOffline,
    /// My server does not answer; nothing can be decided.
    ServerSilent,
    /// A fault of the program: outcomes that do not fit, or too many rounds.
    Bug,

    // --- a job, a start ---
    /// A job runs and the lock is renewed meanwhile.
    LeaderDuringJob(String),
    /// A job runs.
    JobInProgress(String),
    /// A job could not be started because another runs: what, and the other.
    JobRefused(String, String),
    /// The lock was lost before the promotion was signalled.
    LostLeaderBeforePromote,
    /// The lock was lost while a job had a primary in hand.
    LostLeaderDuringJob(String),
    /// Crash recovery took longer than `primary_start_timeout`.
    CrashRecoveryTimedOut,
    /// The lock was lost while the server starts.
    LostLeaderWhileStarting,
    /// The start took longer than its patience and somebody else can take over.
    StartTimedOut,
    /// The start took longer than its patience and nobody can take over.
    StartTimedOutAlone,
    /// The server starts still: seconds left.
    StillStarting(u64),
    /// A demotion is under way and waits for a new leader or the end of its pause.
    AwaitingNewLeader,
    /// A demotion is over: the server starts as standby.
    StartingAfterDemotion,

    // --- bootstrap ---
    /// `initialize` is mine, the bootstrap begins.
    Bootstrapping,
    /// Somebody else was first to create `initialize`.
    InitializeLost,
    /// `initialize` is mine, the remote server is copied: a new standby cluster.
    BootstrappingStandbyLeader,
    /// A copy is being made: "from leader 'a'", "from replica 'b'".
    Cloning(String),
    /// A copy without a leader.
    CloningWithoutLeader,
    /// Nothing to copy from yet.
    WaitingForLeader,
    /// The same in a standby cluster.
    WaitingForStandbyLeader,
    /// A custom bootstrap: recovery is not over.
    WaitingForEndOfRecovery,
    /// post_bootstrap runs.
    PostBootstrap,
    /// A new cluster is there.
    Initialized,
    /// The bootstrap failed; the process ends.
    BootstrapFailed,

    // --- data directory ---
    /// Key released because the data directory is gone (`true`: empty, `false`: not accessible).
    ReleasedWithoutData(bool),
    /// The data directory cannot be read.
    DataDirInaccessible(String),
    /// Paused, and no data directory.
    PausedWithoutData,
    /// No readable system identifier.
    InvalidSystemId,
    /// Paused with a foreign data directory: key released.
    ReleasedSystemIdMismatch,
    /// A foreign data directory: the process ends.
    SystemIdMismatch(SystemId, SystemId),
    /// A running standby of a cluster that nobody initialized: the process ends and leaves it.
    JoinAborted,

    // --- the server is down ---
    /// Paused; key released.
    PausedReleasedNotRunning,
    /// Paused.
    PausedNotRunning,
    /// A start with the lock failed; key released.
    ReleasedAfterFailedStart,
    /// A start failed.
    FailedStart,
    /// Crashed, and a candidate takes over.
    FailedOverAfterCrash,
    /// Crashed primary with the lock: started again.
    StartingPrimary,
    /// Single-user mode.
    CrashRecovery,
    /// Started without upstream because the lock is mine.
    StartingReadOnly,
    /// Started as a standby.
    StartingSecondary,
    /// Started as the leader of a standby cluster.
    StartingStandbyLeader,
    /// Started behind the remote server, since nobody leads the standby cluster.
    StartingBehindRemote,
    /// pg_rewind from this leader.
    Rewinding(String),
    /// The data directory is copied anew because it diverged.
    ReinitializingDiverged,
    /// The data directory is removed because a rewind failed.
    RemovingData,

    // --- no leader ---
    /// The race is left alone for so many seconds still, since WAL comes in.
    RaceBackoff(u64),
    /// The race is won; the server is a primary already.
    AcquiredLock,
    /// The race is won; the promotion begins.
    Promoted,
    /// The race is won in a standby cluster.
    AcquiredStandbyLock,
    /// The race is lost: demotion.
    LostRaceDemoted,
    /// The race is lost: follow.
    LostRaceFollowing,
    /// nofailover: demotion.
    NotAllowedDemoted,
    /// nofailover: follow.
    NotAllowedFollowing,
    /// Not the healthiest: demotion.
    NotHealthiestDemoted,
    /// Not the healthiest: follow.
    NotHealthiestFollowing,

    // --- my lock ---
    /// All is well.
    Leader,
    /// The lock is mine, the server a standby: the promotion begins.
    PromotedWithLock,
    /// All is well in a standby cluster.
    StandbyLeader,
    /// The lock of a standby cluster is mine, the server a replica: it becomes the standby leader.
    BecameStandbyLeader,
    /// The lock is mine, the server a primary, the cluster a standby cluster: demotion.
    DemotingCluster,
    /// Paused: the promotion of a manual failover goes on.
    WaitingForPromotion,
    /// Paused and not a primary: key released.
    ReleasedNotPrimary,
    /// The lock is lost: demotion.
    LostLockDemoted,
    /// The lock is lost; paused.
    LostLockPaused,
    /// The lock is lost; the server is a standby.
    LostLockNotPromoting,
    /// A failover or switchover begins: its name.
    DemotingFor(String),
    /// The promotion waits: the `sync` key or the list of synchronous standbys could not be set for it.
    PromotionPostponed,
    /// The pre_promote script failed: key released.
    PromotionCancelled,
    /// A required watchdog could not be activated: demotion.
    DemotedWithoutWatchdog,
    /// A required watchdog could not be activated: key released.
    NotPromotedWithoutWatchdog,

    // --- somebody else's lock ---
    /// A primary without the lock.
    DemotedWithoutLock,
    /// All is well: the leader.
    Replica(String),
    /// A primary without the lock in a standby cluster.
    DemotedInStandbyCluster,
    /// All is well in a standby cluster: its leader.
    StandbyReplica(String),
    /// The leader of the standby cluster does not say where it is: nothing changes.
    KeepsOldStandbyLeader,
    /// Paused: a primary without the lock.
    PausedPrimaryWithoutLock,
    /// Paused: nobody to follow.
    PausedNoUpstream,
    /// Logical slots are being copied from the leader: their names.
    CopyingSlots(Vec<String>),

    // --- requests, end ---
    /// A restart that was due has begun.
    RestartInitiated,
    /// The process ends.
    Stopping,
}
