//! Holds `docs/policy.md`, the list of keys and what the code accepts to one another.

use std::collections::BTreeMap;

use tidegate::classify::Class;
use tidegate::config::{self, Absent, Config, KEYS, Key};
use tidegate::wire::protocol;

const DOCS: &str = include_str!("../docs/policy.md");

/// The rows of the table under the heading `name`, without its head, as trimmed cells.
fn rows(name: &str) -> Vec<Vec<&'static str>> {
    let section = |(heading, _): &(&str, &str)| heading.trim_start_matches('#').trim() == name;
    let mut sections = DOCS.split("\n#").map(|section| section.split_once('\n').unwrap());
    let (_, body) = sections.find(section).unwrap_or_else(|| panic!("docs/policy.md has no heading {name:?}"));
    let lines = body.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn tables() -> Vec<&'static str> {
    let mut tables: Vec<_> = KEYS.iter().map(|key| key.table).collect();
    tables.dedup();
    tables
}

/// A small policy in which `key` has the value `value`, or is missing.
fn policy(key: &Key, value: Option<&str>) -> Result<Config, config::Errors> {
    let base = [
        ("wire", "inside", r#""in0""#),
        ("wire", "outside", r#""out0""#),
        ("class", "name", r#""gaming""#),
        ("rule", "class", r#""web""#),
        // Two conditions, so that either may be missing.
        ("rule.match", "app", r#""dns""#),
        ("rule.match", "dscp", "8"),
        ("remark", "from", "0"),
        ("remark", "to", "1"),
        ("subscriber", "name", r#""bob""#),
        ("subscriber", "addresses", r#"["192.0.2.1"]"#),
    ];
    let mut values: BTreeMap<_, _> = base.into_iter().map(|(table, name, value)| ((table, name), value)).collect();
    values.remove(&(key.table, key.name));
    values.extend(value.map(|value| ((key.table, key.name), value)));
    let lines = |table: &str, end: &str| {
        let of_table = values.iter().filter(|((of, _), _)| *of == table);
        of_table.map(|((_, name), value)| format!("{name} = {value}{end}")).collect::<String>()
    };
    let matches = match (key.table, key.name) {
        ("rule", "match") => String::new(),
        _ => format!("match = {{ {} }}\n", lines("rule.match", ", ").trim_end_matches(", ")),
    };
    // The rule comes first, so that its line stays the same.
    let [rule, wire, cores, api, class, remark, subscriber] =
        ["rule", "wire", "cores", "api", "class", "remark", "subscriber"].map(|table| lines(table, "\n"));
    config::from_str(
        "t",
        &format!(
            "[[rule]]\n{matches}{rule}[[wire]]\n{wire}[cores]\n{cores}[api]\n{api}[[class]]\n{class}[[remark]]\n{remark}[[subscriber]]\n{subscriber}"
        ),
    )
}

#[test]
fn the_docs_list_exactly_the_keys() {
    for table in tables() {
        let documented: Vec<_> = rows(table).iter().map(|row| row[..4].join(" | ")).collect();
        let known = KEYS.iter().filter(|key| key.table == table);
        let known: Vec<_> =
            known.map(|key| format!("`{}` | {} | {} | `{}`", key.name, key.kind, key.absent, key.example)).collect();
        assert_eq!(documented, known, "[{table}] in docs/policy.md and src/config/key.rs");
    }
}

#[test]
fn the_docs_list_no_other_tables() {
    assert_eq!(DOCS.matches("| Key |").count(), tables().len());
}

#[test]
fn every_key_is_accepted_and_changes_the_policy() {
    for key in KEYS {
        let given = policy(key, Some(key.example)).unwrap_or_else(|errors| panic!("{key:?}\n{errors}"));
        match (key.absent, policy(key, None)) {
            (Absent::Required, Err(errors)) => {
                let nothing =
                    format!(": {}.{}: got nothing, want {} like {}", key.table, key.name, key.kind, key.example);
                assert!(errors.to_string().contains(&nothing), "{errors}");
            }
            (Absent::Required, Ok(_)) => panic!("{key:?} may be left out"),
            (_, Ok(absent)) => assert_ne!(given, absent, "{key:?} has no effect"),
            (_, Err(errors)) => panic!("{key:?} may not be left out\n{errors}"),
        }
    }
}

#[test]
fn every_default_is_what_it_is_said_to_be() {
    for key in KEYS {
        if let Absent::Is(value) = key.absent {
            assert_eq!(policy(key, Some(value)).unwrap(), policy(key, None).unwrap(), "{key:?}");
            assert_ne!(key.example, value, "the example of {key:?} shows nothing");
        }
    }
}

#[test]
fn every_range_of_numbers_is_what_it_is_said_to_be() {
    let mut ranges = 0;
    for key in KEYS {
        let Some((_, range)) = key.kind.split_once("from ") else { continue };
        let (first, last) = range.split_once(" to ").unwrap();
        let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { continue };
        for (number, is_within) in [(first - 1, false), (first, true), (last, true), (last + 1, false)] {
            assert_eq!(policy(key, Some(&number.to_string())).is_ok(), is_within, "{key:?} = {number}");
        }
        ranges += 1;
    }
    assert!(ranges >= 5);
}

#[test]
fn the_docs_show_errors_as_they_are() {
    let blocks: Vec<_> = DOCS.split("```").skip(1).step_by(2).collect();
    let [policy, printed] = blocks[..] else { panic!("{} blocks, want a policy and its errors", blocks.len()) };
    let errors = config::from_str("home.toml", policy.strip_prefix("toml\n").unwrap()).unwrap_err();
    assert_eq!(errors.to_string(), printed.trim());
}

#[test]
fn the_docs_name_every_protocol() {
    let values = rows("Values");
    let row = values.iter().find(|row| row[0] == "a protocol").unwrap();
    let named: Vec<_> = row[2].split('`').skip(1).step_by(2).collect();
    assert_eq!(named, protocol::NAMES.map(|(name, _)| name));
}

#[test]
fn the_docs_tell_the_six_classes_as_they_are() {
    let policy = Config::default_policy();
    let expected = policy.classes.iter().map(|spec| {
        [spec.class.to_string(), spec.guarantee.to_string(), spec.ceiling.to_string(), spec.priority.to_string()]
            .map(|cell| format!("`{cell}`"))
            .join(" | ")
    });
    let documented: Vec<_> = rows("The six classes").iter().map(|row| row[..4].join(" | ")).collect();
    assert_eq!(documented, expected.collect::<Vec<_>>());
    assert_eq!(policy.classes.map(|spec| spec.class), Class::OPERATORS);
}

#[test]
fn every_mark_that_the_docs_suggest_can_be_set() {
    let suggested = rows("Marks");
    let classes: Vec<_> = suggested.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(classes, Class::OPERATORS.map(Class::name));
    for row in suggested {
        let [class, mark] = [0, 1].map(|cell| row[cell].trim_matches('`'));
        let text = format!("[[wire]]\ninside = 'a'\noutside = 'b'\n[[class]]\nname = '{class}'\ndscp = '{mark}'");
        let policy = config::from_str("t", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_ne!(policy.classes, Config::default_policy().classes, "{class} is left as it is");
    }
}
