//! Running a short program for its output.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Runs a program to its end and returns what it wrote. Killed when `patience` passes (`ErrorKind::TimedOut`) or when the
/// caller goes away.
///
/// # Errors
/// When it cannot be executed, or takes too long.
pub async fn output(command: &mut Command, patience: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(patience, command.output()).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {patience:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let error = output(Command::new("sleep").arg("60"), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let done = output(Command::new("echo").arg("x"), Duration::from_secs(10)).await.unwrap();
        assert_eq!(done.stdout, b"x\n");
    }
}
