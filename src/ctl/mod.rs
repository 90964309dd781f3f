//! `patronictl`: the operator's tool. It works with nothing but the store and the members' REST APIs.
//! One file a command; what is fetched is rendered elsewhere.

mod args;
mod commands;
mod console;
mod context;
mod diff;
mod edit;
mod error;
mod log;
mod output;
mod rows;
mod select;
mod setup;
mod table;
mod topology;

pub use error::CtlError;

use args::Cli;
use clap::Parser;
use console::Console;
use context::Context;

/// Runs the tool with the arguments of this process; returns its exit code.
#[must_use]
pub fn main() -> u8 {
    // clap prints usage errors and ends with 2, help with 0.
    let cli = Cli::parse();
    log::start();
    let mut console = Console::standard();
    let result = run(&cli, &mut console);
    match result {
        Ok(()) => 0,
        Err(error) => {
            console.complain(&error.shown());
            error.exit_code()
        }
    }
}

fn run(cli: &Cli, console: &mut Console) -> Result<(), CtlError> {
    let setup = setup::load(cli)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CtlError::message(format!("no runtime: {e}")))?;
    runtime.block_on(commands::run(&cli.command, &mut Context::new(setup, console)))
}
