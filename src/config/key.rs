//! The keys that a policy file may hold: one list, from which unknown keys are known and to which `docs/policy.md` is held.

use std::fmt;

/// One key of the policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that holds it: `wire`, or `rule.match` for the table `match` in a rule.
    pub table: &'static str,
    /// The key itself.
    pub name: &'static str,
    /// What its value is, in words: `a rate`.
    pub kind: &'static str,
    /// What holds if the key is left out.
    pub absent: Absent,
    /// A value, as TOML.
    pub example: &'static str,
}

/// What holds if a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It may not be left out.
    Required,
    /// The same as this value, as TOML.
    Is(&'static str),
    /// What no value could say, in words.
    Means(&'static str),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absent::Required => f.write_str("required"),
            Absent::Is(value) => write!(f, "`{value}`"),
            Absent::Means(words) => f.write_str(words),
        }
    }
}

/// Every key, table by table, in the order of `docs/policy.md`.
pub const KEYS: &[Key] = {
    use Absent::{Is, Means, Required};
    &[
        key("wire", "inside", "an interface", Required, r#""eth1""#),
        key("wire", "outside", "an interface", Required, r#""eth2""#),
        key("wire", "download", "a rate", Means("no limit"), r#""900mbit""#),
        key("wire", "upload", "a rate", Means("no limit"), r#""90mbit""#),
        key("wire", "overhead", "`none`, `ethernet`, or a number of bytes from 0 to 256", Is(r#""ethernet""#), "22"),
        key("wire", "mode", "`enforce` or `observe`", Is(r#""enforce""#), r#""observe""#),
        key("wire", "queue", "a time from 100us to 10s", Is(r#""50ms""#), r#""20ms""#),
        key("wire", "on_failure", "`open` or `closed`", Is(r#""open""#), r#""closed""#),
        key("wire", "link_loss", "`ignore` or `carry`", Is(r#""ignore""#), r#""carry""#),
        key("wire", "wash", "`none`, `download`, `upload` or `both`", Is(r#""none""#), r#""upload""#),
        key("cores", "control", "a whole number from 0 to 1023", Is("0"), "2"),
        key(
            "cores",
            "workers",
            "a list of up to 64 cores",
            Means("one worker on the last core that isn't `control`"),
            "[1, 2]",
        ),
        key("cores", "idle", "`sleep` or `spin`", Is(r#""sleep""#), r#""spin""#),
        key("api", "listen", "`none`, or an address and a port", Is(r#""127.0.0.1:8088""#), r#""[::1]:9000""#),
        key("class", "name", "a class", Required, r#""voice""#),
        key("class", "guarantee", "a share or a rate", Means("by class"), r#""15%""#),
        key("class", "ceiling", "a share or a rate", Means("by class"), r#""400mbit""#),
        key("class", "priority", "a whole number from 0 to 7", Means("by class"), "4"),
        key("class", "weight", "a whole number from 1 to 100", Is("1"), "2"),
        key("class", "dscp", "`keep`, `wash`, or a DSCP", Is(r#""keep""#), r#""EF""#),
        key("rule", "match", "a table", Required, r#"{ port = 53 }"#),
        key("rule", "class", "a class", Required, r#""gaming""#),
        key("rule.match", "app", "an application", Means("any"), r#""ssh""#),
        key("rule.match", "address", "a prefix", Means("any"), r#""192.0.2.0/24""#),
        key("rule.match", "inside", "a prefix", Means("any"), r#""192.168.1.20""#),
        key("rule.match", "outside", "a prefix", Means("any"), r#""2001:db8::/32""#),
        key("rule.match", "port", "a port or a range of ports", Means("any"), r#""5060-5061""#),
        key("rule.match", "protocol", "a protocol", Means("any"), r#""udp""#),
        key("rule.match", "vlan", "a whole number from 0 to 4094", Means("any"), "100"),
        key("rule.match", "dscp", "a DSCP", Means("any"), r#""EF""#),
        key("remark", "from", "a DSCP", Required, r#""CS1""#),
        key("remark", "to", "a DSCP", Required, r#""LE""#),
        key("remark", "direction", "`download`, `upload` or `both`", Is(r#""both""#), r#""upload""#),
        key("subscriber", "name", "a name", Required, r#""alice""#),
        key("subscriber", "addresses", "a list of prefixes", Required, r#"["192.0.2.10", "2001:db8:1::/48"]"#),
        key("subscriber", "mode", "`enforce` or `observe`", Is(r#""enforce""#), r#""observe""#),
    ]
};

const fn key(
    table: &'static str,
    name: &'static str,
    kind: &'static str,
    absent: Absent,
    example: &'static str,
) -> Key {
    Key { table, name, kind, absent, example }
}

/// The names of the keys of one table; of the file itself for the empty name.
pub(super) fn names(table: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = match table {
        "" => KEYS.iter().map(|key| key.table).filter(|table| !table.contains('.')).collect(),
        _ => KEYS.iter().filter(|key| key.table == table).map(|key| key.name).collect(),
    };
    names.dedup();
    names
}

/// The name among `names` that `typed` was probably meant to be: at most a third of its letters away.
pub(super) fn nearest<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    let distances = names.iter().map(|name| (strsim::osa_distance(typed, name), *name));
    let (distance, name) = distances.min_by_key(|&(distance, _)| distance)?;
    (distance * 3 <= name.len().max(3)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_does_not() {
        let names = names("wire");
        for (typed, meant) in
            [("downlaod", "download"), ("Mode", "mode"), ("over_head", "overhead"), ("insde", "inside")]
        {
            assert_eq!(nearest(typed, &names), Some(meant), "{typed}");
        }
        for typed in ["", "x", "subscribers", "speed", "name"] {
            assert_eq!(nearest(typed, &names), None, "{typed}");
        }
    }

    #[test]
    fn the_file_holds_tables() {
        assert_eq!(names(""), ["wire", "cores", "api", "class", "rule", "remark", "subscriber"]);
    }
}
