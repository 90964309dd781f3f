//! Callbacks (CB-01 to CB-05, CB-09): the user's scripts for what happened to the server.

use super::Server;
use super::process_tree::kill_tree;
use super::program::{clean_environment, split};
use crate::cluster::{CallbackEvent, Role};
use std::cell::RefCell;
use std::process::Stdio;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tracing::{debug, error, warn};

/// The two places where a callback can run: `on_reload` beside all others.
#[derive(Default)]
pub struct Callbacks {
    others: Place,
    on_reload: Place,
}

/// Runs one command at a time: the newest one. Commands that are still waiting when a newer one comes are not run.
#[derive(Default)]
struct Place {
    newest: RefCell<Option<watch::Sender<Vec<String>>>>,
}

/// The name of an event as scripts get it.
#[must_use]
pub fn event_name(event: CallbackEvent) -> &'static str {
    match event {
        CallbackEvent::OnStart => "on_start",
        CallbackEvent::OnStop => "on_stop",
        CallbackEvent::OnRestart => "on_restart",
        CallbackEvent::OnReload => "on_reload",
        CallbackEvent::OnRoleChange => "on_role_change",
    }
}

/// Starts the callback of this event, if there is one, and returns at once. Must be called within a runtime.
pub fn call(server: &Server, event: CallbackEvent, role: Role) {
    let settings = server.settings();
    let name = event_name(event);
    let Some(command) = settings.postgresql.callbacks.get(name) else { return };
    let role = if role == Role::Promoted { Role::Primary } else { role };
    match split(command) {
        Ok(mut words) if !words.is_empty() => {
            words.extend([name.to_owned(), role.to_string(), settings.scope.clone()]);
            debug!("CallbackExecutor.call({words:?})");
            let places = &server.callbacks;
            if event == CallbackEvent::OnReload { &places.on_reload } else { &places.others }.run(words);
        }
        Ok(_) => error!("callback {command} {name} {role} {} failed: the command is empty", settings.scope),
        Err(reason) => error!("callback {command} {name} {role} {} failed: {reason}", settings.scope),
    }
}

impl Place {
    fn run(&self, words: Vec<String>) {
        let mut newest = self.newest.borrow_mut();
        let words = match &*newest {
            Some(sender) => match sender.send(words) {
                Ok(()) => return,
                // Its runner has ended (its runtime did): start another.
                Err(watch::error::SendError(words)) => words,
            },
            None => words,
        };
        let (sender, receiver) = watch::channel(words);
        tokio::spawn(run_newest(receiver));
        *newest = Some(sender);
    }
}

/// Runs what comes, killing what still runs. When the sender is gone (the agent ends), the last one is left running.
async fn run_newest(mut commands: watch::Receiver<Vec<String>>) {
    loop {
        let words = commands.borrow_and_update().clone();
        if let Some(child) = start(&words) {
            match wait_or_replace(child, &mut commands, &words).await {
                Next::Newer => continue,
                Next::Ended => {}
            }
        }
        if commands.changed().await.is_err() {
            return;
        }
    }
}

enum Next {
    /// Another command waits.
    Newer,
    /// It ended by itself, or nobody will send another one.
    Ended,
}

async fn wait_or_replace(mut child: Child, commands: &mut watch::Receiver<Vec<String>>, words: &[String]) -> Next {
    tokio::select! {
        status = child.wait() => {
            match status {
                Ok(status) if !status.success() => debug!("callback {words:?} ended with {status}"),
                Ok(_) => {}
                Err(reason) => warn!("cannot wait for callback {words:?}: {reason}"),
            }
            return Next::Ended;
        }
        newer = commands.changed() => if newer.is_err() {
            return Next::Ended;
        },
    }
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        kill_tree(pid);
        warn!("Killed {words:?} because it was still running");
    }
    // Only one at a time: what cannot be killed is waited for.
    if let Err(reason) = child.wait().await {
        warn!("cannot wait for callback {words:?}: {reason}");
    }
    Next::Newer
}

fn start(words: &[String]) -> Option<Child> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    // Its output goes where the agent's goes: a script may leave a process behind that writes on.
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    clean_environment(&mut command);
    match command.spawn() {
        Ok(child) => Some(child),
        Err(reason) => {
            error!("Failed to execute {words:?}: {reason}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    fn script(dir: &Path, words: &str) -> Vec<String> {
        let line = words.replace("DIR", &dir.display().to_string());
        ["/bin/sh", "-c", &line].map(str::to_owned).to_vec()
    }

    async fn appears(path: &Path) {
        for _ in 0..2000 {
            if path.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} does not appear", path.display());
    }

    // rows: CB-03
    #[tokio::test]
    async fn a_new_callback_kills_the_running_one_and_runs_itself() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::default();
        place.run(script(
            dir.path(),
            "sleep 1000 & echo $! > DIR/pid.new; mv DIR/pid.new DIR/pid; wait; touch DIR/wrong",
        ));
        appears(&dir.path().join("pid")).await;
        place.run(script(dir.path(), "touch DIR/second"));
        appears(&dir.path().join("second")).await;
        let child = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
        assert!(!dir.path().join("wrong").exists());
    }

    // rows: CB-03
    #[tokio::test]
    async fn on_reload_runs_beside_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = super::super::test_settings::settings(&dir.path().join("data"));
        let wait = |name: &str, until: &str| {
            let place = dir.path().display();
            format!(
                "sh -c 'touch {place}/{name}; while [ ! -e {place}/{until} ]; do sleep 0.01; done; touch {place}/{name}-done'"
            )
        };
        settings.postgresql.callbacks.insert("on_start".to_owned(), wait("start", "go"));
        settings.postgresql.callbacks.insert("on_reload".to_owned(), wait("reload", "go"));
        let server = Server::new(std::sync::Arc::new(settings), crate::clock::Clock::system());
        call(&server, CallbackEvent::OnStart, Role::Replica);
        appears(&dir.path().join("start")).await;
        call(&server, CallbackEvent::OnReload, Role::Replica);
        appears(&dir.path().join("reload")).await;
        std::fs::write(dir.path().join("go"), "").unwrap();
        appears(&dir.path().join("start-done")).await;
        appears(&dir.path().join("reload-done")).await;
    }

    // rows: CB-09
    #[tokio::test]
    async fn one_that_cannot_be_executed_does_not_stop_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::default();
        place.run(vec!["/nowhere/script".to_owned()]);
        tokio::task::yield_now().await;
        place.run(script(dir.path(), "touch DIR/second"));
        appears(&dir.path().join("second")).await;
    }

    // rows: CB-02
    #[tokio::test]
    async fn scripts_get_event_role_and_scope() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = super::super::test_settings::settings(&dir.path().join("data"));
        let seen = dir.path().join("seen");
        let command = format!("sh -c 'echo \"$@\" > {0}.new; mv {0}.new {0}' 'a b'", seen.display());
        settings.postgresql.callbacks.insert("on_role_change".to_owned(), command);
        let server = Server::new(std::sync::Arc::new(settings), crate::clock::Clock::system());
        call(&server, CallbackEvent::OnStart, Role::Replica);
        call(&server, CallbackEvent::OnRoleChange, Role::Promoted);
        appears(&seen).await;
        assert_eq!(std::fs::read_to_string(&seen).unwrap(), "on_role_change primary batman\n");
    }
}
