//! YAML 1.1 as PyYAML reads it takes no notice of indentation within brackets and quotes; YAML 1.2 wants it deeper than
//! the block around. Lines that the parser refuses for that are moved to the right, where blanks mean nothing.

use saphyr_parser::Marker;
use std::collections::HashSet;

/// A text with some lines moved to the right.
pub(super) struct Indented<'a> {
    lines: Vec<&'a str>,
    moved: HashSet<usize>,
    /// Blanks before a moved line.
    blanks: usize,
}

impl<'a> Indented<'a> {
    pub fn new(text: &'a str) -> Self {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        // Deeper than any block that a person would write.
        let blanks = lines.iter().map(|line| line.len()).max().unwrap_or(0).min(200) + 1;
        Self { lines, moved: HashSet::new(), blanks }
    }

    /// The text as it is now.
    pub fn text(&self) -> String {
        let blanks = " ".repeat(self.blanks);
        let mut text = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            if self.moved.contains(&number) {
                text.push_str(&blanks);
            }
            text.push_str(line);
        }
        text
    }

    /// Moves what the parser refused, if it was for indentation. Whether something was moved.
    pub fn repair(&mut self, at: &Marker, reason: &str) -> bool {
        let line = at.line().saturating_sub(1);
        match reason {
            "invalid indentation" | "invalid indentation in flow construct" => self.moved.insert(line),
            "invalid indentation in quoted scalar" => {
                let continued = self.lines_of_quoted(line, at.col());
                let before = self.moved.len();
                self.moved.extend(continued);
                self.moved.len() > before
            }
            _ => false,
        }
    }

    /// The column in the text as it was given.
    pub fn column(&self, at: &Marker) -> usize {
        let moved = self.moved.contains(&at.line().saturating_sub(1));
        at.col().saturating_sub(if moved { self.blanks } else { 0 })
    }

    /// The lines on which the quoted text goes on that begins at this place.
    fn lines_of_quoted(&self, line: usize, column: usize) -> Vec<usize> {
        let column = column.saturating_sub(if self.moved.contains(&line) { self.blanks } else { 0 });
        let mut number = line;
        let mut continued = Vec::new();
        let lines = self.lines.get(line..).unwrap_or(&[]);
        let mut characters = lines.iter().flat_map(|line| line.chars()).skip(column);
        let Some(quote) = characters.next() else { return continued };
        let mut characters = characters.peekable();
        while let Some(c) = characters.next() {
            match c {
                '\\' if quote == '"' && characters.peek() != Some(&'\n') => {
                    characters.next();
                }
                '\n' => {
                    number += 1;
                    continued.push(number);
                }
                _ if c == quote => {
                    if quote == '\'' && characters.peek() == Some(&'\'') {
                        characters.next();
                    } else {
                        break;
                    }
                }
                _ => {}
            }
        }
        continued
    }
}
