//! The watchdog: a device that resets the machine when a leader no longer feeds it.

mod device;
mod keeper;
mod line;

pub use device::{OpenDevice, driver};
pub use keeper::{Keeper, WatchdogPlan, WatchdogState};
pub use line::{WatchdogAnswer, WatchdogLine, WatchdogOrder};
