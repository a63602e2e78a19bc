//! Whose traffic it is, and what becomes of it.

use std::collections::HashMap;
use std::str::FromStr;

use ipnet::IpNet;
use toml::Spanned;

use super::compile;
use super::policer::Policers;
use super::rule::prefix;
use super::section::Section;
use super::wire::Mode;
use crate::classify::{Prefix, Subscribers};
use crate::units::Wanted;

/// The most characters of a subscriber's name.
const NAME_CHARS_MAX: usize = 64;

/// The most prefixes of one subscriber.
const PREFIXES_MAX: usize = 64;

/// One subscriber: what the traffic of its addresses is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The name, which no other subscriber has.
    pub name: String,
    /// The prefixes, without host bits, that hold the subscriber's addresses; at least one, and no other subscriber's. Where one
    /// lies within another's, the longest decides.
    pub addresses: Vec<IpNet>,
    /// Whether its frames are delayed and dropped.
    pub mode: Mode,
    /// The place of the policer that it has, if any.
    pub policer: Option<u16>,
}

/// Reads the tables `[[subscriber]]`.
pub(super) fn all(sections: &[Section<'_>], policers: &Policers) -> Vec<Subscriber> {
    if let Some(further) = sections.get(Subscribers::MAX) {
        let (got, want) = (format!("{} subscribers", sections.len()), format!("at most {}", Subscribers::MAX));
        further.file.report(further.at, "subscriber", got, want);
    }
    let (mut names, mut owners) = (HashMap::new(), HashMap::new());
    sections.iter().filter_map(|section| subscriber(section, policers, &mut names, &mut owners)).collect()
}

/// Who has a prefix, and the line where that stands.
type Owners = HashMap<Prefix, (Option<String>, u32)>;

/// Reads one table; `names` and `owners` are the lines of what was read before, and get what is read here.
fn subscriber(
    section: &Section<'_>,
    policers: &Policers,
    names: &mut HashMap<String, u32>,
    owners: &mut Owners,
) -> Option<Subscriber> {
    section.refuse_unknown();
    section.require("name");
    section.require("addresses");
    let written = section.text("name", name);
    if let Some(name) = &written
        && let Some(line) = names.insert(name.get_ref().clone(), section.file.line(name.span().start))
    {
        let (at, got) = (name.span().start, format!("{:?} again", name.get_ref()));
        section.report(at, "name", got, format!("each name once: it's on line {line}"));
    }
    let name = written.map(Spanned::into_inner);
    let mode = section.text("mode", Mode::from_str).map_or(Mode::Enforce, Spanned::into_inner);
    let policer = policers.of(section);
    let addresses = section.list("addresses", prefix)?;
    let count = addresses.get_ref().len();
    if !(1..=PREFIXES_MAX).contains(&count) {
        let got = if count == 0 { "an empty list".into() } else { format!("{count} prefixes") };
        let want = format!("1 to {PREFIXES_MAX}; a block of addresses is one");
        section.report(addresses.span().start, "addresses", got, want);
    }
    for address in addresses.get_ref() {
        claim(section, address, name.as_deref(), owners);
    }
    let addresses = addresses.into_inner().into_iter().map(Spanned::into_inner).collect();
    Some(Subscriber { name: name?, addresses, mode, policer })
}

/// Notes who has `address`, or reports who had it already.
fn claim(section: &Section<'_>, address: &Spanned<IpNet>, name: Option<&str>, owners: &mut Owners) {
    let (at, line) = (address.span().start, section.file.line(address.span().start));
    match owners.get(&compile::prefix(*address.get_ref())) {
        Some((owner, line)) => {
            let owner = owner.as_ref().map_or("another".into(), |owner| format!("{owner:?}"));
            let want = format!("each prefix once: {owner} has it on line {line}");
            section.report(at, "addresses", format!("{} again", address.get_ref()), want);
        }
        None => {
            owners.insert(compile::prefix(*address.get_ref()), (name.map(str::to_owned), line));
        }
    }
}

/// Reads the name of a subscriber, or of a policer.
pub(super) fn name(text: &str) -> Result<String, Wanted> {
    let is_name = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && text.trim() == text;
    if is_name && !text.contains(char::is_control) {
        return Ok(text.into());
    }
    Err(Wanted::new(format!("a name of 1 to {NAME_CHARS_MAX} characters on one line, no spaces around it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_line_of_text() {
        for text in ["alice", "Müller, 2nd floor", "a"] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        assert!(name(&"ü".repeat(64)).is_ok() && name(&"ü".repeat(65)).is_err());
        for text in ["", " alice", "alice ", "a\nb", "a\tb"] {
            let wanted = "want a name of 1 to 64 characters on one line, no spaces around it";
            assert_eq!(name(text).unwrap_err().to_string(), wanted, "{text:?}");
        }
    }
}
