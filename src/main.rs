//! The agent's program: arguments, and the wiring of the parts. It decides nothing.

use anyhow::Context;
use clap::{ArgAction, Parser};
use patroni::actors::guardian::{Blueprint, run};
use patroni::actors::journal::{DIRECTORY_VARIABLE, Journal};
use patroni::actors::{peer_http, replay, rest_server};
use patroni::clock::Clock;
use patroni::config::Config;
use patroni::fencing::Fence;
use patroni::logging::{self, Logging};
use patroni::{OWN_VERSION, PATRONI_VERSION, dcs, ha, postgres, sys};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Configuration, name, system identifier, start (PROC-04).
const FAILED: u8 = 1;
/// The log cannot be written (LOG-08).
const LOG_BROKEN: u8 = 5;
/// What the log gets to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(5);
/// Recorded cycles came out differently.
const DIFFERENT: u8 = 3;
/// Threads for files and name lookups, which may block.
const BLOCKING_THREADS: usize = 4;

#[derive(Parser)]
#[command(name = "patroni", about = "High-availability agent for PostgreSQL", disable_version_flag = true)]
#[command(after_help = "`patroni replay FILE` decides recorded cycles again; see `patroni replay --help`.")]
struct Arguments {
    /// Patroni may also read the configuration from the PATRONI_CONFIGURATION environment variable
    configfile: Option<PathBuf>,
    /// Show the version of Patroni that this program behaves as, and exit
    #[arg(long)]
    version: bool,
    /// Show the version of this program itself, and exit
    #[arg(long)]
    build_version: bool,
    /// Run config validator and exit (not supported yet)
    #[arg(long, group = "mode")]
    validate_config: bool,
    /// Generate a sample Patroni yaml configuration file (not supported yet)
    #[arg(long, group = "mode")]
    generate_sample_config: bool,
    /// Generate a Patroni yaml configuration file for a running instance (not supported yet)
    #[arg(long, group = "mode")]
    generate_config: bool,
    /// Optional DSN string of the instance to be used as a source for config generation. Superuser connection is required
    #[arg(long)]
    dsn: Option<String>,
    /// Ignore `listen` ports already in use. Can only be used with --validate-config
    #[arg(short, long, action = ArgAction::SetTrue)]
    ignore_listen_port: bool,
    /// Print out local configuration (incl. environment configuration overrides). Can only be used with --validate-config
    #[arg(short, long, action = ArgAction::SetTrue)]
    print: bool,
}

/// Decide the cycles of a journal again, and tell whether the same comes out.
#[derive(Parser)]
#[command(name = "patroni replay")]
struct ReplayArguments {
    /// A journal: JSON lines, as PATRONI_JOURNAL_DIR collects them
    file: PathBuf,
    /// Only this cycle, with all that was done in it
    #[arg(long)]
    cycle: Option<u64>,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == "replay") {
        return run_replay(&ReplayArguments::parse_from(std::env::args_os().skip(1)));
    }
    let arguments = Arguments::parse();
    if arguments.version {
        println!("patroni {PATRONI_VERSION}");
        return ExitCode::SUCCESS;
    }
    if arguments.build_version {
        println!("patroni {OWN_VERSION} in Rust, behaving as Patroni {PATRONI_VERSION}");
        return ExitCode::SUCCESS;
    }
    if let Some(refused) = unsupported(&arguments) {
        eprintln!("patroni: {refused} is not supported yet");
        return ExitCode::from(FAILED);
    }
    // Before any thread is started.
    match sys::init::run_as_pid_1() {
        Ok(Some(code)) => return ExitCode::from(code),
        Ok(None) => {}
        Err(error) => return fail(&format!("the agent cannot be started beside init: {error}")),
    }
    run_agent(arguments.configfile.as_deref())
}

/// An option that is known and not obeyed yet.
fn unsupported(arguments: &Arguments) -> Option<&'static str> {
    let asked = [
        (arguments.validate_config, "--validate-config"),
        (arguments.generate_sample_config, "--generate-sample-config"),
        (arguments.generate_config, "--generate-config"),
        (arguments.dsn.is_some(), "--dsn"),
        (arguments.ignore_listen_port, "--ignore-listen-port"),
        (arguments.print, "--print"),
    ];
    asked.into_iter().find_map(|(given, name)| given.then_some(name))
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::from(FAILED)
}

fn run_replay(arguments: &ReplayArguments) -> ExitCode {
    let file = match std::fs::File::open(&arguments.file) {
        Ok(file) => BufReader::new(file),
        Err(error) => return fail(&format!("{}: {error}", arguments.file.display())),
    };
    match replay::replay(file, arguments.cycle, ha::decide, &mut std::io::stdout().lock()) {
        Ok(sum) => {
            println!("{} cycles, {} different, {} unreadable lines", sum.cycles, sum.different, sum.unreadable);
            ExitCode::from(if sum.different > 0 || sum.unreadable > 0 { DIFFERENT } else { 0 })
        }
        // A pipe that was closed is no news.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{}: {error}", arguments.file.display())),
    }
}

/// Variables that are no text are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn run_agent(configfile: Option<&Path>) -> ExitCode {
    let log = match logging::init(Clock::system()) {
        Ok(log) => log,
        Err(error) => return fail(&error.to_string()),
    };
    let (config, warnings) = match Config::load(configfile, environment()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(error) = log.configure(&config.settings().log).and_then(|()| log.start()) {
        return fail(&error.to_string());
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let code = match run_system(config, &log) {
        Ok(code) => u8::try_from(code).unwrap_or(FAILED),
        Err(error) => {
            tracing::error!(target: "patroni.__main__", critical = true, "{error}");
            FAILED
        }
    };
    match log.shutdown(LOG_PATIENCE) {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(LOG_BROKEN)
        }
    }
}

/// Runs the agent on this thread until it ends; its exit code.
fn run_system(config: Config, log: &Logging) -> anyhow::Result<i32> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).thread_keep_alive(Duration::from_secs(2));
    let runtime = builder.build()?;
    let system = actix::System::with_tokio_rt(|| runtime);
    let blueprint = blueprint(config, log)?;
    Ok(system.block_on(run(blueprint))?)
}

/// The real parts.
fn blueprint(mut config: Config, log: &Logging) -> anyhow::Result<Blueprint> {
    let clock = Clock::system();
    if let Err(error) = config.load_cache() {
        tracing::error!(target: "patroni.config", "Exception when loading file: {error}");
    }
    let settings = config.settings();
    patroni::api::own_metrics::install(&settings.scope, &settings.name)?;
    let store_clock = clock.clone();
    let journal = match std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from) {
        Some(directory) => Journal::in_directory(&directory)
            .with_context(|| format!("{DIRECTORY_VARIABLE}={}", directory.display()))?,
        None => Journal::in_memory(),
    };
    let (queue, follower) = (log.clone(), log.clone());
    Ok(Blueprint {
        clock: clock.clone(),
        decide: ha::decide,
        config: Box::new(config),
        control: Rc::new(postgres::Server::new(settings, clock)),
        store: Arc::new(move |settings| dcs::connect(settings, store_clock.clone()).map_err(|error| error.to_string())),
        transport: peer_http::transport,
        rest: rest_server::start,
        fence: Box::new(Fence::start()?),
        journal,
        log_queue: Arc::new(move || (queue.queue_size(), queue.records_lost())),
        local_change: Box::new(move |settings| {
            if let Err(error) = follower.configure(&settings.log) {
                tracing::error!("The log is as before: {error}");
            }
        }),
    })
}
