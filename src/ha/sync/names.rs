//! The text of `synchronous_standby_names`, read and written (SYNC-02, SYNC-13, SYNC-17, SYNC-18).

use super::NameSet;
use crate::config::settings::STRICT_PLACEHOLDER_NAME;
use crate::types::PgVersion;

/// What a list without names has, when something must confirm all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filler {
    /// Any standby at all.
    Anybody,
    /// A name that no standby has: commits wait.
    Nobody,
}

impl Filler {
    fn text(self) -> &'static str {
        match self {
            Self::Anybody => "*",
            Self::Nobody => STRICT_PLACEHOLDER_NAME,
        }
    }
}

/// What the parameter says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many standbys a commit waits for, as written.
    pub num: usize,
    /// The names; `*` is none of them, nor is the one that stands for nobody.
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
    if listed.names.len() == 1 && listed.names.contains(STRICT_PLACEHOLDER_NAME) {
        listed.names = NameSet::default();
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

/// The parameter for a list of which each standby must confirm. No names: empty, or the filler. Servers before 9.6 take
/// the first name alone.
#[must_use]
pub fn all_of(names: &NameSet, version: Option<PgVersion>, filler: Option<Filler>) -> String {
    if names.is_empty() {
        return filler.map(Filler::text).unwrap_or_default().to_owned();
    }
    let list = sorted(names);
    match list.as_slice() {
        [_, _, ..] if version.is_none_or(|v| v.at_least(90_600)) => format!("{} ({})", list.len(), list.join(",")),
        _ => list.into_iter().next().unwrap_or_default(),
    }
}

/// The parameter for any `num` of a list: `ANY` from 10 on, in 9.6 the first of the list that are there. No names: the
/// filler. None of them: empty.
#[must_use]
pub fn any_of(num: usize, names: &NameSet, version: Option<PgVersion>, filler: Filler) -> String {
    let list = if names.is_empty() { vec![filler.text().to_owned()] } else { sorted(names) };
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

    // rows: SYNC-17, SYNC-18
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
            ("__patroni_strict_sync_replica_placeholder__", 1, &[], false),
            ("ANY 1 (__Patroni_strict_sync_replica_placeholder__)", 1, &[], false),
            (
                "__patroni_strict_sync_replica_placeholder__,a",
                1,
                &["__patroni_strict_sync_replica_placeholder__", "a"],
                false,
            ),
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

    // rows: SYNC-02, SYNC-13, SYNC-18
    #[test]
    fn texts_are_written_as_operators_know_them() {
        let new = Some(PgVersion(150_000));
        let (old, older) = (Some(PgVersion(90_600)), Some(PgVersion(90_500)));
        let (star, nobody) = (Filler::Anybody, Filler::Nobody);
        assert_eq!(all_of(&set(&["postgres-1"]), new, None), "\"postgres-1\"");
        assert_eq!(all_of(&set(&["b", "a", "Any"]), new, Some(star)), "3 (\"Any\",a,b)");
        assert_eq!(all_of(&set(&["b", "a"]), older, Some(nobody)), "a");
        assert_eq!((all_of(&set(&[]), new, Some(star)).as_str(), all_of(&set(&[]), new, None).as_str()), ("*", ""));
        assert_eq!(any_of(1, &set(&["postgres-2", "postgres-0"]), new, star), "ANY 1 (\"postgres-0\",\"postgres-2\")");
        assert_eq!(any_of(1, &set(&["a"]), old, nobody), "1 (a)");
        assert_eq!(any_of(1, &set(&[]), new, star), "ANY 1 (*)");
        assert_eq!(any_of(0, &set(&["a"]), new, nobody), "");
        assert_eq!(all_of(&set(&[]), new, Some(nobody)), "__patroni_strict_sync_replica_placeholder__");
        assert_eq!(any_of(1, &set(&[]), new, nobody), "ANY 1 (__patroni_strict_sync_replica_placeholder__)");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(names: Vec<String>, num in 1_usize..5) {
            let usable = |name: &&String| !name.is_empty();
            let names: NameSet = names.iter().filter(usable).collect();
            let version = Some(PgVersion(150_000));
            proptest::prop_assert_eq!(parse(&all_of(&names, version, None)).unwrap().names, names.clone());
            let listed = parse(&any_of(num, &names, version, Filler::Anybody)).unwrap();
            proptest::prop_assert_eq!((listed.num, listed.names, listed.star), (num, names.clone(), names.is_empty()));
        }

        #[test]
        fn no_text_breaks_the_reader(text: String) {
            let _ = parse(&text);
        }
    }
}
