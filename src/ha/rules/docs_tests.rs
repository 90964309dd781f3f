//! `docs/rules.md` shows the order of the stages as it is.

const HEAD: &str = "# The rules in their order\n\nEach cycle walks these stages from the top; the first that has \
something to say ends it. The list is\n`STAGES` in `src/ha/rules/mod.rs`; this page is written by its test \
(`UPDATE_DOCS=1 cargo test rules_page`).\n\n";

// rows: HA-02
#[test]
fn rules_page_shows_the_order_of_the_stages() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
    let page = format!("{HEAD}{}", diagram());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "run with UPDATE_DOCS=1");
}

fn diagram() -> String {
    let mut text = String::from("```mermaid\nflowchart TD\n");
    for (at, (name, says)) in super::precedence().enumerate() {
        text.push_str(&format!("    s{at}[\"{name}: {says}\"]\n"));
        if at > 0 {
            text.push_str(&format!("    s{} -- nothing to do --> s{at}\n", at - 1));
        }
    }
    text.push_str("```\n");
    text
}
