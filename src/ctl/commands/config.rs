//! `patronictl show-config` and `patronictl edit-config` (CTL-17, CTL-18).

use crate::ctl::args::{EditConfig, OneCluster};
use crate::ctl::context::{Context, store_error};
use crate::ctl::{CtlError, diff, edit};
use crate::dcs::DcsError;
use serde_json::{Map, Value};
use std::io::Write as _;
use std::path::Path;

/// Prints the dynamic configuration as YAML; nothing when there is none.
pub async fn show(context: &mut Context<'_>, args: &OneCluster) -> Result<(), CtlError> {
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    if let Some(config) = context.load(&name).await?.config {
        context.console.line(&edit::text(&config.data));
    }
    Ok(())
}

/// Changes the dynamic configuration, unless somebody else does so meanwhile.
pub async fn edit(context: &mut Context<'_>, args: &EditConfig) -> Result<(), CtlError> {
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    let cluster = context.load(&name).await?;
    let missing = || CtlError::message(format!("The config key does not exist in the cluster {name}"));
    let config = cluster.config.ok_or_else(missing)?;
    let before = edit::text(&config.data);
    let (after, data) = match changed(context, args, &config.data)? {
        Some(data) => (edit::text(&data), data),
        None => edit::in_editor(&before, &name)?,
    };
    // The order of keys says nothing.
    if data == config.data {
        if !args.quiet {
            context.console.line("Not changed");
        }
        return Ok(());
    }
    if !args.quiet {
        show_diff(context, &before, &after)?;
    }
    let from_stdin = [&args.apply, &args.replace].into_iter().flatten().any(|f| is_stdin(f));
    if from_stdin && !args.force {
        context.console.line("Use --force option to apply changes");
        return Ok(());
    }
    if args.force || context.console.confirm("Apply these changes?")? {
        let store = context.store(&name)?;
        store.write_config(&data, Some(config.revision), context.budget()).await.map_err(|error| match error {
            DcsError::Conflict(_) => CtlError::message("Config modification aborted due to concurrent changes"),
            other => store_error(other),
        })?;
        context.console.line("Configuration changed");
    }
    Ok(())
}

/// The configuration after what the command line asks for; `None`: it asks for nothing.
fn changed(
    context: &mut Context<'_>,
    args: &EditConfig,
    before: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, CtlError> {
    let mut data = None;
    if let Some(file) = &args.replace {
        let mut whole = Map::new();
        edit::apply_yaml(&mut whole, &read(context, file)?, &file.display().to_string())?;
        data = Some(whole);
    }
    if let Some(file) = &args.apply {
        let text = read(context, file)?;
        edit::apply_yaml(data.get_or_insert_with(|| before.clone()), &text, &file.display().to_string())?;
    }
    if !args.set.is_empty() || !args.pg.is_empty() {
        let parameters: Vec<String> =
            args.pg.iter().map(|p| format!("postgresql.parameters.{}", p.trim_start())).collect();
        let pairs = args.set.iter().chain(&parameters).map(String::as_str);
        edit::apply_pairs(data.get_or_insert_with(|| before.clone()), pairs)?;
    }
    Ok(data)
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(context: &mut Context<'_>, file: &Path) -> Result<String, CtlError> {
    if is_stdin(file) { context.console.read_all() } else { edit::read_file(file) }
}

/// Prints the changes; to a terminal in colours and through a pager.
fn show_diff(context: &mut Context<'_>, before: &str, after: &str) -> Result<(), CtlError> {
    let lines = diff::unified(before, after);
    if !context.console.is_terminal() {
        for line in &lines {
            context.console.line(line);
        }
        return Ok(());
    }
    let own = std::env::var("PAGER").ok().filter(|p| !p.is_empty());
    let pager = own.as_deref().into_iter().chain(["less", "more"]).find_map(edit::find_program);
    let pager = pager.ok_or_else(|| {
        CtlError::message(
            "No pager could be found. Either set PAGER environment variable with your pager or install either \
             \"less\" or \"more\" in the host.",
        )
    })?;
    let mut command = std::process::Command::new(&pager);
    if pager.file_name().is_some_and(|n| n == "less") {
        // Leaves at once when it fits one screen, and keeps colours.
        command.arg("-FRSX");
    }
    let failed = |e: std::io::Error| CtlError::message(format!("{}: {e}", pager.display()));
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take()
        && let Err(error) = input.write_all(diff::coloured(&lines).as_bytes())
    {
        tracing::debug!("pager: {error}");
    }
    child.wait().map_err(failed)?;
    Ok(())
}
