//! `patronictl list` and `patronictl topology`.

use crate::ctl::args::{List, Topology, Watch};
use crate::ctl::context::Context;
use crate::ctl::output::Format;
use crate::ctl::{CtlError, rows};
use std::time::Duration;

/// What to show.
struct Show<'a> {
    names: &'a [String],
    extended: bool,
    timestamp: bool,
    format: Format,
    watch: Watch,
}

/// Members as a table or in another form.
pub async fn list(context: &mut Context<'_>, args: &List) -> Result<(), CtlError> {
    let List { cluster_names: names, extended, timestamp, format, watch } = args;
    let show = Show { names, extended: *extended, timestamp: *timestamp, format: *format, watch: *watch };
    repeat(context, &show).await
}

/// Members as a tree.
pub async fn topology(context: &mut Context<'_>, args: &Topology) -> Result<(), CtlError> {
    let (names, watch) = (&args.cluster_names, args.watch);
    repeat(context, &Show { names, extended: false, timestamp: false, format: Format::Topology, watch }).await
}

async fn repeat(context: &mut Context<'_>, show: &Show<'_>) -> Result<(), CtlError> {
    let names: Vec<String> =
        if show.names.is_empty() { context.scope().cloned().into_iter().collect() } else { show.names.to_vec() };
    if names.is_empty() {
        tracing::warn!("Listing members: No cluster names were provided");
        return Ok(());
    }
    let Some(period) = period(show.watch)? else { return once(context, show, &names).await };
    loop {
        let started = context.clock.mono();
        if context.console.is_terminal() {
            context.console.write("\x1b[2J\x1b[1;1H");
        }
        once(context, show, &names).await?;
        let passed = context.clock.mono().since(started);
        tokio::time::sleep(period.saturating_sub(passed)).await;
    }
}

async fn once(context: &mut Context<'_>, show: &Show<'_>, names: &[String]) -> Result<(), CtlError> {
    if show.timestamp {
        let now = context.timestamp(false);
        context.console.line(&now);
    }
    for name in names {
        let cluster = context.load(name).await?;
        context.console.write(&rows::members(&cluster, name, show.extended, show.format));
    }
    Ok(())
}

/// How often to show it again; `None`: once.
fn period(watch: Watch) -> Result<Option<Duration>, CtlError> {
    let seconds = watch.watch.filter(|s| *s != 0.0).or(watch.every_two_seconds.then_some(2.0));
    let wrong = |_| CtlError::Usage("Invalid value for '--watch'".to_owned());
    seconds.map(|s| Duration::try_from_secs_f64(s).map_err(wrong)).transpose()
}
