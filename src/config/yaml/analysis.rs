//! Which styles a text may be written in, by PyYAML's emitter.

/// What the emitter must know of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Analysis {
    pub empty: bool,
    /// It has line breaks.
    pub multiline: bool,
    /// It may stand without quotes (in block context).
    pub plain: bool,
    /// It may stand in single quotes.
    pub single_quoted: bool,
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank(c: char) -> bool {
    matches!(c, '\0' | ' ' | '\t' | '\r') || is_break(c)
}

/// Printable without escapes when Unicode is allowed.
fn is_special(c: char) -> bool {
    let ordinary = matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        || ('\u{10000}'..'\u{10ffff}').contains(&c);
    !ordinary || c == '\u{feff}'
}

pub(super) fn analyze(text: &str) -> Analysis {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return Analysis { empty: true, multiline: false, plain: true, single_quoted: true };
    };
    let padded = first == ' ' || is_break(first) || last == ' ' || is_break(last);
    let multiline = text.chars().any(is_break);
    let special = text.chars().any(is_special);
    let pairs = || text.chars().zip(text.chars().skip(1));
    let break_space = pairs().any(|(a, b)| is_break(a) && b == ' ');
    let space_break = pairs().any(|(a, b)| a == ' ' && is_break(b));
    let quotable = !break_space && !space_break && !special;
    Analysis {
        empty: false,
        multiline,
        plain: quotable && !padded && !multiline && !has_indicators(text),
        single_quoted: quotable,
    }
}

/// Characters that mean something else at their place in block context.
fn has_indicators(text: &str) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut previous: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let blank_follows = characters.peek().is_none_or(|next| is_blank(*next));
        let indicator = match previous {
            None => {
                matches!(
                    c,
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                ) || (matches!(c, '?' | ':' | '-') && blank_follows)
            }
            Some(before) => (c == ':' && blank_follows) || (c == '#' && is_blank(before)),
        };
        if indicator {
            return true;
        }
        previous = Some(c);
    }
    false
}
