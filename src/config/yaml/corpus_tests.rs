//! `corpus.json` holds what PyYAML 6.0.3 reads (`safe_load`) and writes (`safe_dump(default_flow_style=False,
//! allow_unicode=True, width=200)`, with sorted keys and without): reader and emitter must agree with it.

use super::{dump, load};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn corpus(part: &str) -> Vec<Value> {
    let corpus: Value = serde_json::from_str(include_str!("corpus.json")).unwrap();
    corpus[part].as_array().unwrap().clone()
}

/// Same numbers (1 is not 1.0), same order of keys.
fn same(a: &Value, b: &Value) -> bool {
    let (text, other) = (a.to_string(), b.to_string());
    a == b && text == other
}

#[test]
fn documents_are_read_as_pyyaml_reads_them() {
    let mut wrong = Vec::new();
    for case in corpus("loads") {
        let yaml = case["yaml"].as_str().unwrap();
        let ok = match (load(yaml, "test"), case.get("value")) {
            (Ok(read), Some(Value::String(date))) if date == "DATE" => !read.is_null(),
            (Ok(read), Some(wanted)) => same(&read, wanted),
            (Err(_), None) => true,
            _ => false,
        };
        if !ok {
            wrong.push(format!("{yaml:?}: {:?}, not {:?}", load(yaml, "test"), case.get("value")));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
}

#[test]
fn values_are_written_as_pyyaml_writes_them() {
    let mut wrong = Vec::new();
    for case in corpus("dumps") {
        for (style, sorted) in [("sorted", true), ("ordered", false)] {
            let written = dump(&case["value"], sorted);
            let wanted = case[style].as_str().unwrap();
            if written != wanted {
                let differing = written.lines().zip(wanted.lines()).find(|(a, b)| a != b);
                wrong.push(format!("{differing:?} of {wanted:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
}

#[test]
fn errors_name_file_line_and_column() {
    for (text, line, column) in [("a: 1\nb: [1, 2\nc: 3\n", 3, 2), ("a: 1\nb: !foo 2\n", 2, 4), ("a\u{1}: 1", 1, 2)] {
        let error = load(text, "patroni.yml").unwrap_err();
        let wanted = format!("patroni.yml, line {line}, column {column}: ");
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let reference = format!("*a{}", level - 1);
        let list = [reference.as_str(); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert!(load(&bomb, "bomb").unwrap_err().reason.contains("aliases"));
    assert!(load(&"[".repeat(10_000), "deep").is_err());
    assert!(load(&"- ".repeat(200), "deep").is_err());
}

#[test]
fn numbers_that_json_cannot_hold_stay_text() {
    for text in [".inf", "-.INF", ".nan", "123456789012345678901234567890"] {
        assert_eq!(load(text, "test"), Ok(json!(text)));
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        (-1e20..1e20).prop_map(|n: f64| json!(n)),
        "[ -~é☃\n]{0,12}".prop_map(Value::String),
        "(on|off|12:30|0x1f|[0-9_.:eE+-]{1,8}|[a-z:#'\"?-]{1,6})".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(("[ -~]{0,10}", inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in values()) {
        let text = dump(&value, false);
        let read = load(&text, "dumped").unwrap();
        prop_assert!(same(&read, &value), "{text}");
    }
}
