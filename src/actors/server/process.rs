//! The process: its birth, its end, and looks at it.

use super::{JOB_LOOK_PATIENCE, LOOK_PATIENCE, PROBE_PATIENCE, Server};
use crate::actors::messages::Wake;
use crate::cluster::{DataDir, PgState, Postmaster, Readiness, ServerFacts};
use crate::ha::JobKind;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// A server that starts without a job at work is probed this often.
const WATCH_START_EVERY: Duration = Duration::from_millis(500);

impl Server {
    /// A postmaster lives: its exit is watched from now on.
    pub fn set_postmaster(self: &Rc<Self>, postmaster: Postmaster) {
        {
            let mut inner = self.inner_mut();
            if inner.known == Some(postmaster) {
                return;
            }
            inner.known = Some(postmaster);
            inner.report.facts.postmaster = Some(postmaster);
            inner.changes += 1;
            inner.answered = false;
        }
        // The fence has to know whom to stop before anything else can go wrong.
        self.moved();
        let server = Rc::clone(self);
        actix::spawn(async move {
            server.control.exited(postmaster).await;
            server.postmaster_exited(postmaster);
        });
    }

    /// The postmaster is gone. State follows unless a job that stops or starts it sees to that.
    pub fn postmaster_exited(&self, postmaster: Postmaster) {
        let state = {
            let mut inner = self.inner_mut();
            if inner.known != Some(postmaster) {
                return;
            }
            inner.known = None;
            inner.changes += 1;
            inner.answered = false;
            inner.report.facts.postmaster = None;
            inner.report.facts.at = self.clock.mono();
            inner.report.readiness = Readiness::NoResponse;
            let kind = inner.report.job.as_ref().map(|j| j.job.kind());
            let unexpected = matches!(kind, None | Some(JobKind::Promote | JobKind::PostBootstrap));
            unexpected.then(|| state_after_exit(inner.report.state, inner.settings.global.pause))
        };
        if let Some(state) = state {
            self.set_state(state);
        }
        self.moved();
        self.wake(Wake::PostmasterExit);
    }

    /// A server that ended before the news of the pause came was stopped by hand, not lost.
    pub fn excuse_crash(&self) {
        let paused = self.settings().global.pause;
        if paused && self.postmaster().is_none() && matches!(self.state(), PgState::Crashed | PgState::StartFailed) {
            self.set_state(PgState::Stopped);
            self.wake(Wake::Job);
        }
    }

    /// Looks, and takes over what was seen. When the look hangs (a dead disk) the last facts are returned.
    pub async fn look(self: &Rc<Self>) -> ServerFacts {
        if timeout(JOB_LOOK_PATIENCE, self.look_on()).await.is_err() {
            warn!("the look at the server has not ended within {} s", JOB_LOOK_PATIENCE.as_secs());
        }
        self.facts()
    }

    /// A look that ran across a launch or an exit is repeated.
    async fn look_on(self: &Rc<Self>) {
        loop {
            let before = self.inner().changes;
            let facts = self.control.look().await;
            if self.inner().changes == before {
                return self.accept(facts);
            }
        }
    }

    /// Takes facts over. The exit watch, not a pid file that is not written yet, says that a known postmaster ended.
    fn accept(self: &Rc<Self>, mut facts: ServerFacts) {
        let found = facts.postmaster;
        {
            let mut inner = self.inner_mut();
            facts.postmaster = found.or(inner.known);
            if let DataDir::Present(Some(version)) = facts.data_dir
                && inner.report.version.is_none_or(|v| v.major() != version.major())
            {
                inner.report.version = Some(version);
            }
            inner.report.facts = facts;
            inner.looked_at = true;
        }
        if let Some(postmaster) = found
            && self.postmaster() != Some(postmaster)
        {
            self.set_postmaster(postmaster);
            if self.job().is_none() {
                self.set_state(PgState::Starting);
                self.watch_start();
            }
        }
    }

    /// Looks within [`LOOK_PATIENCE`] and, when the server's state is in doubt, probes it. When the look hangs (a dead
    /// disk), the last facts stay, with their old time stamp.
    pub async fn observe(self: &Rc<Self>) {
        let done = self.looked.notified();
        if !self.looking.replace(true) {
            let server = Rc::clone(self);
            actix::spawn(async move {
                server.look_on().await;
                server.probe_if_in_doubt().await;
                server.looking.set(false);
                server.looked.notify_waiters();
            });
        }
        if timeout(LOOK_PATIENCE, done).await.is_err() {
            warn!("the look at the server has not ended within {} s", LOOK_PATIENCE.as_secs());
        }
    }

    async fn probe_if_in_doubt(self: &Rc<Self>) {
        let (doubt, alive) = {
            let inner = self.inner();
            let starting = matches!(inner.report.state, PgState::Starting | PgState::BootstrapStarting);
            let running = inner.report.state == PgState::Running && !inner.answered;
            (inner.report.job.is_none() && (starting || running), inner.known.is_some())
        };
        if doubt && alive {
            self.probe().await;
        }
    }

    /// Probes readiness, and moves between `starting` and `running` by the answer when no job is at work.
    pub async fn probe(self: &Rc<Self>) -> Readiness {
        let readiness = timeout(PROBE_PATIENCE, self.control.readiness()).await.unwrap_or(Readiness::NoResponse);
        if self.postmaster().is_none() {
            return Readiness::NoResponse;
        }
        self.set_readiness(readiness);
        if self.job().is_none() {
            match (self.state(), readiness) {
                (PgState::Starting | PgState::BootstrapStarting, Readiness::Accepting) => {
                    self.set_state(PgState::Running);
                    self.refresh_pending_restart(Duration::ZERO);
                }
                (PgState::Running, Readiness::Rejecting) => {
                    self.set_state(PgState::Starting);
                    self.watch_start();
                }
                _ => {}
            }
        }
        readiness
    }

    /// While the server starts and no job waits for it, its readiness is watched, so that no cycle has to find it out.
    pub fn watch_start(self: &Rc<Self>) {
        if !self.starts_alone() || self.watching_start.replace(true) {
            return;
        }
        let server = Rc::clone(self);
        actix::spawn(async move {
            while server.starts_alone() {
                tokio::time::sleep(WATCH_START_EVERY).await;
                if server.starts_alone() {
                    server.probe().await;
                    if server.state() == PgState::Running {
                        server.wake(Wake::Job);
                    }
                }
            }
            server.watching_start.set(false);
        });
    }

    fn starts_alone(&self) -> bool {
        let starting = matches!(self.state(), PgState::Starting | PgState::BootstrapStarting);
        starting && self.job().is_none() && self.postmaster().is_some()
    }
}

/// The state of a server whose postmaster ended and nobody here stopped it (HA-42). In pause a stop by hand is no crash.
fn state_after_exit(state: PgState, pause: bool) -> PgState {
    match state {
        PgState::Stopping => PgState::Stopped,
        PgState::Running | PgState::Restarting | PgState::Starting | PgState::BootstrapStarting if pause => {
            PgState::Stopped
        }
        PgState::Starting | PgState::BootstrapStarting => PgState::StartFailed,
        PgState::Running | PgState::Restarting => PgState::Crashed,
        other => other,
    }
}
