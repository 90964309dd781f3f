//! Whom I leave in the lead without a store (POST /failsafe). A call is answered at once, between the steps of a cycle, so that no lock is asked for between the promise and its note.

use super::Coordinator;
use crate::actors::messages::{HearPrimary, Verdict};
use crate::cluster::{FailsafeCall, Role};
use crate::ha::Command;
use crate::ha::memory::FailsafeCaller;
use crate::types::Mono;
use actix::Handler;

/// What a primary says to another (FSM-05).
const LEADS: &str = "Running as a leader";

impl Coordinator {
    /// Until when fail-safe mode is shown to be active: on the primary that it holds up, and on those who agreed.
    pub(super) fn shown_failsafe(&self) -> Option<Mono> {
        self.memory.shown_failsafe().max(self.caller.as_ref().map(|c| c.until))
    }

    /// A promise holds.
    pub(super) fn left_another_in_the_lead(&self) -> bool {
        let now = self.clock.mono();
        self.caller.as_ref().is_some_and(|c| c.until > now)
    }

    /// Why the caller must not go on, if so.
    fn objection(&self, call: &FailsafeCall, now: Mono) -> Option<String> {
        let leads = self.may_write
            || self.publisher.role() == Role::Primary && self.postmaster.is_some()
            || self.memory.leads_until().is_some_and(|until| until > now)
            || self.cycle.as_ref().is_some_and(|c| c.awaits(&Command::AcquireLeader));
        if leads {
            return Some(LEADS.to_owned());
        }
        if call.name == self.settings.name {
            return Some(format!("I am {} myself", call.name));
        }
        let other = |name: &&str| *name != call.name && *name != self.settings.name;
        let leader = self.publisher.leader(self.settings.global.loop_wait * 2, now);
        let leader = leader.as_deref().filter(|_| !self.store_silent).filter(other);
        leader.map(|name| format!("{name} has the leader lock"))
    }
}

impl Handler<HearPrimary> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: HearPrimary, _ctx: &mut Self::Context) {
        let now = self.clock.mono();
        let verdict = match self.objection(&msg.call, now) {
            Some(text) => Verdict::Refused(text),
            None => {
                // Counted from now, and the caller counts from before it asked: the promise outlives its right to lead.
                let ttl = self.settings.global.ttl;
                let until = now + msg.call.ttl.map_or(ttl, |theirs| theirs.max(ttl));
                // An earlier caller may be another: the lead can pass on while a promise lasts, after a demotion that all
                // could see. The later of the two ends counts.
                let until = self.caller.as_ref().map_or(until, |c| c.until.max(until));
                self.caller = Some(FailsafeCaller { call: msg.call, until });
                self.publisher.failsafe(self.shown_failsafe());
                self.publisher.publish();
                Verdict::Accepted(self.position)
            }
        };
        if msg.answer.send(verdict).is_err() {
            tracing::debug!("nobody waits for the answer to a call of a primary any more");
        }
    }
}
