//! What a coordinator does with time that is short: its budgets within a lease.

use super::*;
use crate::cluster::{Postmaster, Role};
use crate::ha::memory::{Archiving, DemoteMode, Demotion};

fn primary(mut report: ServerReport) -> ServerReport {
    report.facts.postmaster = Some(Postmaster { pid: 100, start_ticks: 1 });
    report.facts.recovery_files = false;
    report
}

#[test]
fn questions_of_a_primary_end_before_its_lease_and_those_of_a_standby_have_their_time() {
    for (primary_runs, read, renewal) in [(true, 2_500, 5_000), (false, 10_000, 10_000)] {
        on_paused_clock(async move {
            let mut rig = rig(leader);
            if primary_runs {
                rig.report = primary(rig.report.clone());
            }
            rig.gather().await;
            let renew = rig.command().await;
            assert_eq!(renew.budget, Duration::from_secs(10), "no lease is at stake yet");
            answer(&renew, Outcome::Leased { until: rig.clock.mono() + Duration::from_secs(20) });
            for _ in 0..2 {
                let command = rig.command().await;
                answer(&command, Outcome::Ok);
            }
            // 10 s later: 10 s are left, of them 2 s the fence's and 3 s for the stop
            let (load, observe, status) = rig.questions().await;
            assert_eq!(load.budget, Duration::from_millis(read));
            load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
            observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
            status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
            assert_eq!(rig.command().await.budget, Duration::from_millis(renewal));
        });
    }
}

// rows: WD-05
#[test]
fn the_watchdog_is_fed_by_a_renewed_lease_at_once_and_by_nothing_else() {
    on_paused_clock(async {
        let mut rig = rig(leader);
        rig.gather().await;
        let renew = rig.command().await;
        assert!(rig.fed.try_recv().is_err(), "a cycle alone is no reason");
        let until = rig.clock.mono() + Duration::from_secs(30);
        answer(&renew, Outcome::Leased { until });
        assert_eq!(rig.fed.recv().await, Some(until));
        assert_eq!(rig.clock.mono() + Duration::from_secs(30), until, "not at the end of the cycle");
        for _ in 0..2 {
            let command = rig.command().await;
            answer(&command, Outcome::Ok);
        }
        for refused in [Outcome::Conflict, Outcome::Unknown("late".to_owned()), Outcome::Ok] {
            rig.gather().await;
            let renew = rig.command().await;
            answer(&renew, refused);
            while rig.got.try_recv().is_ok() {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(rig.fed.try_recv().is_err(), "what was not renewed feeds nothing");
    });
}

/// A demotion is under way from the first cycle on.
fn demoting(mode: DemoteMode) -> Round {
    let (role, archiving) = (Role::Primary, Archiving::Off);
    let demotion = Demotion { mode, stop: None, stopped: None, role, archiving, released: false, wait_until: None };
    done(finish(Memory { demotion: Some(demotion), ..Memory::default() }))
}

#[test]
fn a_demotion_only_glances_at_a_silent_store_whose_answer_it_does_not_need() {
    for (rules, silent, budget) in [
        ((|_| demoting(DemoteMode::Offline)) as fn(&View) -> Round, true, 1),
        (|_| demoting(DemoteMode::Offline), false, 10),
        (|_| demoting(DemoteMode::Graceful), true, 10),
        (idle, true, 10),
    ] {
        on_paused_clock(async move {
            let mut rig = rig(rules);
            let (load, observe, status) = rig.questions().await;
            observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
            status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
            if !silent {
                load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
            }
            let (again, ..) = rig.questions().await;
            assert_eq!(again.budget, Duration::from_secs(budget));
        });
    }
}
