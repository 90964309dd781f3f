//! Output, questions and answers.

use super::CtlError;
use std::io::{BufRead, IsTerminal, Write};

/// Where a command prints and whom it asks.
pub struct Console {
    input: Box<dyn BufRead>,
    output: Box<dyn Write>,
    error: Box<dyn Write>,
    terminal: bool,
}

impl Console {
    /// Standard input, output and error.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            input: Box::new(std::io::BufReader::new(std::io::stdin())),
            output: Box::new(std::io::stdout()),
            error: Box::new(std::io::stderr()),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Answers that are known before, and output that is kept.
    #[cfg(test)]
    pub fn scripted(answers: &'static str, output: impl Write + 'static) -> Self {
        Self {
            input: Box::new(answers.as_bytes()),
            output: Box::new(output),
            error: Box::new(std::io::sink()),
            terminal: false,
        }
    }

    /// Whether a person sees the output at once.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Prints text as it stands. A reader that has gone away (`patronictl list | head`) is no error.
    pub fn write(&mut self, text: &str) {
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        if let Err(error) = written {
            tracing::debug!("output: {error}");
        }
    }

    /// Prints a line of complaint.
    pub fn complain(&mut self, text: &str) {
        if let Err(error) = writeln!(self.error, "{text}") {
            tracing::debug!("error output: {error}");
        }
    }

    /// Asks for a text. An empty answer is `default`; without one the question comes again.
    ///
    /// # Errors
    /// The input ended.
    pub fn prompt(&mut self, question: &str, default: Option<&str>) -> Result<String, CtlError> {
        let shown = default.map_or_else(|| format!("{question}: "), |d| format!("{question} [{d}]: "));
        loop {
            self.write(&shown);
            let answer = self.answer()?;
            match (answer.is_empty(), default) {
                (false, _) => return Ok(answer),
                (true, Some(default)) => return Ok(default.to_owned()),
                (true, None) => {}
            }
        }
    }

    /// Asks for a yes; an empty answer is no.
    ///
    /// # Errors
    /// The input ended.
    pub fn confirm(&mut self, question: &str) -> Result<bool, CtlError> {
        loop {
            self.write(&format!("{question} [y/N]: "));
            match self.answer()?.to_lowercase().trim() {
                "y" | "yes" => return Ok(true),
                "" | "n" | "no" => return Ok(false),
                _ => self.line("Error: invalid input"),
            }
        }
    }

    /// Everything that comes on standard input.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_all(&mut self) -> Result<String, CtlError> {
        let mut text = String::new();
        self.input.read_to_string(&mut text).map_err(|e| CtlError::message(format!("standard input: {e}")))?;
        Ok(text)
    }

    fn answer(&mut self) -> Result<String, CtlError> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) | Err(_) => Err(CtlError::Aborted),
            Ok(_) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
        }
    }
}
