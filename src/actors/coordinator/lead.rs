//! The right to lead was renewed: the one place where everybody is told who acts when it ends.

use super::Coordinator;
use crate::actors::watchdog::LeadRenewed;
use crate::config::settings::WatchdogMode;
use crate::ha::WatchdogReport;
use crate::types::Mono;

impl Coordinator {
    /// This member may lead until this moment: the store renewed its lease, or all members agreed to go on without it.
    pub(super) fn lead_renewed(&mut self, until: Mono) {
        self.memory.lease_until = Some(until);
        self.fence.lease(until, self.settings.global.ttl);
        self.publisher.lease(self.memory.shown_lease());
        self.partners.watchdog_feed.do_send(LeadRenewed { until });
    }
}

/// The watchdog before its first report: a required one counts as broken, and any has to be asked for.
pub(super) fn unseen_watchdog(mode: WatchdogMode) -> WatchdogReport {
    let required = mode == WatchdogMode::Required;
    WatchdogReport { required, active: false, healthy: !required, wanted: mode != WatchdogMode::Off }
}
