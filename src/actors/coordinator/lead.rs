//! The right to lead was renewed: the one place where everybody is told who acts when it ends.

use super::Coordinator;
use crate::actors::watchdog::LeadRenewed;
use crate::config::settings::WatchdogMode;
use crate::ha::{Outcome, WatchdogReport};
use crate::types::Mono;

impl Coordinator {
    /// The right to lead was renewed, by the leader key or by the word of all members. Everybody hears of it now and not
    /// at the end of the cycle: the rest of it may take longer than the old right lasts.
    pub(super) fn right_to_lead(&mut self, until: Mono, outcome: &Outcome) {
        self.memory.note_right(outcome);
        self.fence.lease(until, self.settings.global.ttl);
        self.publisher.failsafe(self.shown_failsafe());
        self.publisher.lease(self.memory.shown_lease());
        self.partners.watchdog_feed.do_send(LeadRenewed { until });
    }
}

/// The watchdog before its first report: a required one counts as broken, and any has to be asked for.
pub(super) fn unseen_watchdog(mode: WatchdogMode) -> WatchdogReport {
    let required = mode == WatchdogMode::Required;
    WatchdogReport { required, active: false, healthy: !required, wanted: mode != WatchdogMode::Off }
}
