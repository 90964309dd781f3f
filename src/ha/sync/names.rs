//! The text of `synchronous_standby_names`, read and written (SYNC-02, SYNC-13, SYNC-17, SYNC-18).

use super::NameSet;
use crate::types::PgVersion;

/// What the parameter says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many standbys a commit waits for, as written.
    pub num: usize,
    /// The names; `*` is none of them.
    pub names: NameSet,
    /// It has a `*`.
    pub star: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Star,
    Number(usize),
    Comma,
    Open,
    Close,
}

/// Reads the parameter.
///
/// # Errors
/// When PostgreSQL would not take it either.
pub fn parse(text: &str) -> Result<Listed, String> {
    let bad = |why: &str| format!("Unparsable synchronous_standby_names value '{text}': {why}");
    let tokens = tokens(text).map_err(|why| bad(&why))?;
    let (num, list) = match tokens.as_slice() {
        [] => return Ok(Listed::default()),
        [Token::Word(word), Token::Number(num), Token::Open, list @ .., Token::Close] if is_method(word) => {
            (*num, list)
        }
        [Token::Number(num), Token::Open, list @ .., Token::Close] => (*num, list),
        list => (1, list),
    };
    let mut listed = Listed { num, ..Listed::default() };
    for (at, token) in list.iter().enumerate() {
        match token {
            Token::Comma if at % 2 == 1 && at + 1 < list.len() => {}
            Token::Word(name) | Token::Quoted(name) if at % 2 == 0 => listed.names.insert(name),
            Token::Star if at % 2 == 0 => listed.star = true,
            other => return Err(bad(&format!("unexpected {other:?}"))),
        }
    }
    if list.is_empty() { Err(bad("an empty list")) } else { Ok(listed) }
}

fn is_method(word: &str) -> bool {
    word.eq_ignore_ascii_case("first") || word.eq_ignore_ascii_case("any")
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        found.push(match letter {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => continue,
            '*' => Token::Star,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '"' => {
                let mut name = String::new();
                loop {
                    match letters.next() {
                        Some('"') if letters.next_if_eq(&'"').is_none() => break,
                        Some(other) => name.push(other),
                        None => return Err("an open quote".to_owned()),
                    }
                }
                Token::Quoted(name)
            }
            '0'..='9' => {
                let mut digits = String::from(letter);
                while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                Token::Number(digits.parse().map_err(|_| format!("unusable number {digits}"))?)
            }
            _ if starts_word(letter) => {
                let mut word = String::from(letter);
                while let Some(next) = letters.next_if(|c| continues_word(*c)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            other => return Err(format!("unexpected {other:?}")),
        });
    }
    Ok(found)
}

fn starts_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_'
}

fn continues_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$')
}

fn quoted(name: &str) -> String {
    let plain = name.starts_with(starts_word) && name.chars().all(continues_word);
    if plain && !is_method(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The parameter for a list of which each standby must confirm. No names: empty, or `*` when something must confirm all
/// the same. Servers before 9.6 take the first name alone.
#[must_use]
pub fn all_of(names: &NameSet, version: Option<PgVersion>, star: bool) -> String {
    if names.is_empty() {
        return if star { "*".to_owned() } else { String::new() };
    }
    let list = sorted(names);
    match list.as_slice() {
        [_, _, ..] if version.is_none_or(|v| v.at_least(90_600)) => format!("{} ({})", list.len(), list.join(",")),
        _ => list.into_iter().next().unwrap_or_default(),
    }
}

/// The parameter for any `num` of a list: `ANY` from 10 on, in 9.6 the first of the list that are there. No names:
/// any standby at all. None of them: empty.
#[must_use]
pub fn any_of(num: usize, names: &NameSet, version: Option<PgVersion>) -> String {
    let list = if names.is_empty() { vec!["*".to_owned()] } else { sorted(names) };
    if list.is_empty() || num == 0 {
        return String::new();
    }
    let method = if version.is_none_or(|v| v.at_least(100_000)) { "ANY " } else { "" };
    format!("{method}{num} ({})", list.join(","))
}

fn sorted(names: &NameSet) -> Vec<String> {
    let mut list: Vec<&str> = names.iter().collect();
    list.sort_unstable();
    list.into_iter().map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> NameSet {
        names.iter().collect()
    }

    #[test]
    fn texts_are_read() {
        for (text, num, names, star) in [
            ("", 0, &[][..], false),
            ("  ", 0, &[], false),
            ("FiRsT", 1, &["first"], false),
            ("firstborn", 1, &["firstborn"], false),
            ("\"1\"", 1, &["1"], false),
            (" a , b ", 1, &["a", "b"], false),
            ("*", 1, &[], true),
            ("ANY 4(\"a\",*,b)", 4, &["a", "b"], true),
            ("first 2 (\"a\"\"b\", C)", 2, &["a\"b", "c"], false),
            ("2 (any,first)", 2, &["any", "first"], false),
            ("ANY 1 (\"postgres-0\",\"postgres-2\")", 1, &["postgres-0", "postgres-2"], false),
        ] {
            assert_eq!(parse(text), Ok(Listed { num, names: set(names), star }), "{text}");
        }
        for text in ["1", "a,", "ANY 4(\"a\" b,\"c c\")", "FIRST 4(\"a\",)", "2 (,)", "a b", "\"a", "a-b", "2 ()", ","]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_written_as_operators_know_them() {
        let new = Some(PgVersion(150_000));
        let (old, older) = (Some(PgVersion(90_600)), Some(PgVersion(90_500)));
        assert_eq!(all_of(&set(&["postgres-1"]), new, false), "\"postgres-1\"");
        assert_eq!(all_of(&set(&["b", "a", "Any"]), new, true), "3 (\"Any\",a,b)");
        assert_eq!(all_of(&set(&["b", "a"]), older, true), "a");
        assert_eq!((all_of(&set(&[]), new, true).as_str(), all_of(&set(&[]), new, false).as_str()), ("*", ""));
        assert_eq!(any_of(1, &set(&["postgres-2", "postgres-0"]), new), "ANY 1 (\"postgres-0\",\"postgres-2\")");
        assert_eq!(any_of(1, &set(&["a"]), old), "1 (a)");
        assert_eq!((any_of(1, &set(&[]), new).as_str(), any_of(0, &set(&["a"]), new).as_str()), ("ANY 1 (*)", ""));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(names: Vec<String>, num in 1_usize..5) {
            let usable = |name: &&String| !name.is_empty();
            let names: NameSet = names.iter().filter(usable).collect();
            let version = Some(PgVersion(150_000));
            proptest::prop_assert_eq!(parse(&all_of(&names, version, false)).unwrap().names, names.clone());
            let listed = parse(&any_of(num, &names, version)).unwrap();
            proptest::prop_assert_eq!((listed.num, listed.names, listed.star), (num, names.clone(), names.is_empty()));
        }

        #[test]
        fn no_text_breaks_the_reader(text: String) {
            let _ = parse(&text);
        }
    }
}
