//! What a coordinator says to a primary without a store, and what a round of calls of its own means.

use super::*;
use crate::actors::messages::{HearPrimary, Verdict};
use crate::cluster::{FailsafeAnswer, FailsafeCall, Leader, Postmaster, Role};
use crate::dcs::DcsError;
use std::sync::Mutex;

fn call(name: &str) -> FailsafeCall {
    let (conn_url, api_url) = ("postgres://p/x".to_owned(), "http://p/patroni".to_owned());
    FailsafeCall { name: name.to_owned(), conn_url, api_url, slots: None, ttl: None }
}

impl Rig {
    async fn says(&self, call: FailsafeCall) -> Verdict {
        let (answer, verdict) = oneshot::channel();
        self.coordinator.do_send(HearPrimary { call, answer });
        verdict.await.unwrap()
    }

    /// A cycle begins with this.
    async fn view(&mut self, cluster: Result<Cluster, DcsError>, status: Option<NodeStatus>) {
        let (load, observe, answer) = self.questions().await;
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: cluster.map(Arc::new) });
        observe.reply.do_send(Observed { ticket: observe.ticket, report: self.report.clone() });
        answer.reply.do_send(StatusAnswered { ticket: answer.ticket, status });
    }

    fn server(&mut self, role: Role, standby: bool) {
        self.report.role = role;
        self.report.facts.postmaster = Some(Postmaster { pid: 100, start_ticks: 1 });
        self.report.facts.recovery_files = standby;
    }
}

fn standby() -> Option<NodeStatus> {
    Some(NodeStatus { in_recovery: true, replay_lsn: Some(Lsn(700)), ..NodeStatus::default() })
}

fn led(by: &str) -> Cluster {
    let leader = Leader { name: by.into(), own_session: false, revision: Revision(1) };
    Cluster { leader: Some(leader), ..Cluster::default() }
}

fn silent() -> Result<Cluster, DcsError> {
    Err(DcsError::Unreachable("away".to_owned()))
}

/// Asks for the lock in each cycle.
fn racer(view: &View) -> Round {
    if view.done.is_empty() { need(vec![Command::AcquireLeader]) } else { idle(view) }
}

/// Asks a member first.
fn careful(view: &View) -> Round {
    match view.done.len() {
        0 => need(vec![Command::PollPeers(Vec::new())]),
        1 => need(vec![Command::AcquireLeader]),
        _ => done(Finish { commands: vec![Command::CancelJob], ..finish(view.memory.clone()) }),
    }
}

// rows: FSM-08
#[test]
fn a_promise_counts_also_in_the_cycle_that_was_open() {
    for called in [true, false] {
        on_paused_clock(async move {
            let mut rig = rig(careful);
            rig.server(Role::Replica, true);
            rig.view(Ok(Cluster::default()), standby()).await;
            let poll = rig.command().await;
            if called {
                assert_eq!(rig.says(call("b")).await, Verdict::Accepted(Some(Lsn(700))));
            }
            answer(&poll, Outcome::Peers(Vec::new()));
            let next = if called { Command::CancelJob } else { Command::AcquireLeader };
            assert_eq!(rig.command().await.command, next);
        });
    }
}

fn refused(text: &str) -> Verdict {
    Verdict::Refused(text.to_owned())
}

// rows: FSM-05, FSM-06, FSM-07
#[test]
fn a_standby_leaves_the_caller_in_the_lead() {
    static SEEN: Mutex<Vec<Option<Mono>>> = Mutex::new(Vec::new());
    fn notes(view: &View) -> Round {
        SEEN.lock().unwrap().push(view.caller.as_ref().map(|c| c.until));
        idle(view)
    }
    on_paused_clock(async {
        let mut rig = rig(notes);
        assert_eq!(rig.says(call("b")).await, Verdict::Accepted(None), "before anything is known");
        let until = rig.clock.mono() + Duration::from_secs(30);
        assert_eq!(rig.snapshots.borrow().failsafe_until, Some(until));
        rig.server(Role::Replica, true);
        rig.view(silent(), standby()).await;
        let (load, ..) = rig.questions().await;
        assert_eq!(load.ticket.cycle, 2);
        assert_eq!(*SEEN.lock().unwrap(), [Some(until)], "it is in the view of the cycle that was open");
        // who means to go on for longer is left in the lead for longer; a shorter word does not end a promise
        let longer = FailsafeCall { ttl: Some(Duration::from_secs(60)), ..call("b") };
        assert_eq!(rig.says(longer).await, Verdict::Accepted(Some(Lsn(700))));
        let until = rig.clock.mono() + Duration::from_secs(60);
        assert_eq!(
            rig.says(FailsafeCall { ttl: Some(Duration::ZERO), ..call("b") }).await,
            Verdict::Accepted(Some(Lsn(700)))
        );
        assert_eq!(rig.snapshots.borrow().failsafe_until, Some(until));
        assert_eq!(rig.says(call("c")).await, Verdict::Accepted(Some(Lsn(700))), "the lead has passed on meanwhile");
        assert_eq!(rig.snapshots.borrow().failsafe_until, Some(until), "the earlier promise holds");
        assert!(matches!(rig.says(call(&settings(|_| ()).name)).await, Verdict::Refused(_)), "my own name");
    });
}

// rows: FSM-05
#[test]
fn who_leads_or_is_about_to_leaves_nobody_in_the_lead() {
    for (role, files, status, verdict) in [
        (Role::Primary, false, Some(NodeStatus::default()), refused("Running as a leader")),
        (Role::Primary, false, None, refused("Running as a leader")),
        (Role::Promoted, true, standby(), refused("Running as a leader")),
        (Role::Replica, true, standby(), Verdict::Accepted(Some(Lsn(700)))),
    ] {
        on_paused_clock(async move {
            let mut rig = rig(idle);
            rig.server(role, files);
            rig.view(silent(), status).await;
            rig.questions().await;
            assert_eq!(rig.says(call("b")).await, verdict, "{role:?}");
        });
    }
    // the key was got, and the server is no primary yet
    on_paused_clock(async {
        let mut rig = rig(leader);
        rig.server(Role::Replica, true);
        rig.view(Ok(Cluster::default()), standby()).await;
        let renew = rig.command().await;
        answer(&renew, Outcome::Leased { until: rig.clock.mono() + Duration::from_secs(30) });
        rig.command().await;
        assert_eq!(rig.says(call("b")).await, refused("Running as a leader"));
    });
    // the key is being asked for
    on_paused_clock(async {
        let mut rig = rig(racer);
        rig.server(Role::Replica, true);
        rig.view(Ok(Cluster::default()), standby()).await;
        let acquire = rig.command().await;
        assert_eq!(rig.says(call("b")).await, refused("Running as a leader"));
        answer(&acquire, Outcome::Conflict);
        rig.questions().await;
        assert_eq!(rig.says(call("b")).await, Verdict::Accepted(Some(Lsn(700))));
    });
}

// rows: FSM-05
#[test]
fn who_sees_another_leader_in_the_store_says_so() {
    on_paused_clock(async {
        let mut rig = rig(idle);
        rig.server(Role::Replica, true);
        rig.view(Ok(led("c")), standby()).await;
        rig.questions().await;
        assert_eq!(rig.says(call("b")).await, refused("c has the leader lock"));
        assert_eq!(rig.says(call("c")).await, Verdict::Accepted(Some(Lsn(700))), "its key has not run out yet");
    });
    // it may have changed since the store was last read
    on_paused_clock(async {
        let mut rig = rig(idle);
        rig.server(Role::Replica, true);
        rig.view(Ok(led("c")), standby()).await;
        rig.view(silent(), standby()).await;
        rig.questions().await;
        assert_eq!(rig.says(call("b")).await, Verdict::Accepted(Some(Lsn(700))));
    });
}

/// Calls `b` in each cycle.
fn caller(view: &View) -> Round {
    if view.done.is_empty() {
        let (call, ttl) = (Box::new(call("a")), Duration::from_secs(30));
        need(vec![Command::CallFailsafe { call, ttl, members: vec![("b".to_owned(), "http://b".to_owned())] }])
    } else {
        done(Finish { commands: vec![Command::CancelJob], ..finish(view.memory.clone()) })
    }
}

/// What the fence was told.
struct Told(mpsc::UnboundedSender<Mono>);

impl Fencing for Told {
    fn lease(&self, until: Mono, _: Duration) {
        self.0.send(until).unwrap();
    }

    fn server(&self, _: bool, _: Option<Postmaster>) {}

    fn fired(&self) -> u64 {
        0
    }
}

// rows: FSM-03
#[test]
fn the_fence_hears_at_once_of_a_round_that_all_agreed_to_and_of_no_other() {
    for accepted in [true, false] {
        on_paused_clock(async move {
            let (sender, mut told) = mpsc::unbounded_channel();
            let mut rig = rig_with(caller, Box::new(Told(sender)));
            rig.server(Role::Primary, false);
            rig.view(silent(), Some(NodeStatus::default())).await;
            let called = rig.command().await;
            assert_eq!(called.budget, Duration::from_millis(4200), "two tries");
            let until = rig.clock.mono() + Duration::from_secs(30);
            let answers = vec![FailsafeAnswer { name: "b".to_owned(), accepted, position: None }];
            answer(&called, Outcome::Failsafe { until, answers });
            rig.command().await;
            let expected = accepted.then_some(until);
            assert_eq!((told.try_recv().ok(), told.try_recv().ok()), (expected, None));
            let seen = rig.snapshots.borrow().clone();
            assert_eq!(
                (seen.lease_until, seen.failsafe_until),
                (None, None),
                "the rules of this test remember nothing"
            );
        });
    }
}
