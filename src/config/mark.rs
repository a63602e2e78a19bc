//! What becomes of the marks (DSCP) with which frames come.

use std::collections::HashMap;
use std::str::FromStr;

use toml::Spanned;

use super::section::Section;
use super::{rule, word};
use crate::qos::Mark;
use crate::units::Wanted;
use crate::wire::dscp;

/// Some of the directions of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions {
    /// What comes in at the outside port.
    pub download: bool,
    /// What comes in at the inside port.
    pub upload: bool,
}

impl Directions {
    /// The words for one or both.
    const WORDS: [(&str, Directions); 3] = [
        ("download", Directions { download: true, upload: false }),
        ("upload", Directions { download: false, upload: true }),
        ("both", Directions::BOTH),
    ];

    const BOTH: Directions = Directions { download: true, upload: true };
    const NONE: Directions = Directions { download: false, upload: false };

    fn overlap(self, other: Directions) -> bool {
        self.download && other.download || self.upload && other.upload
    }
}

impl FromStr for Directions {
    type Err = Wanted;

    /// Reads one direction, or both.
    fn from_str(text: &str) -> Result<Directions, Wanted> {
        word(text, &Directions::WORDS)
    }
}

/// Reads which directions lose their marks, which may be none.
pub(super) fn wash(text: &str) -> Result<Directions, Wanted> {
    let [download, upload, both] = Directions::WORDS;
    word(text, &[("none", Directions::NONE), download, upload, both])
}

/// Reads what a class means to the marks of its frames.
pub(super) fn of_class(text: &str) -> Result<Mark, Wanted> {
    match text {
        "keep" => Ok(Mark::Map),
        "wash" => Ok(Mark::Set(0)),
        _ => rule::dscp(text)
            .map(Mark::Set)
            .map_err(|wanted| Wanted::new(format!("\"keep\", \"wash\", {}", wanted.what()))),
    }
}

/// One mark that leaves as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The mark with which a frame comes, at most 63.
    pub from: u8,
    /// The mark with which it leaves, at most 63; the same for one that [`Wire::wash`](super::Wire::wash) spares.
    pub to: u8,
    /// Where that holds: at least one direction, in which no other remark is about this mark.
    pub directions: Directions,
}

/// Reads the tables `[[remark]]`.
pub(super) fn remarks(sections: &[Section<'_>]) -> Vec<Remark> {
    let mut lines: HashMap<u8, Vec<(Directions, u32)>> = HashMap::new();
    sections.iter().filter_map(|section| remark(section, &mut lines)).collect()
}

/// Reads one table; `lines` are the marks of those before it with their directions and lines, and get that of this one.
fn remark(section: &Section<'_>, lines: &mut HashMap<u8, Vec<(Directions, u32)>>) -> Option<Remark> {
    section.refuse_unknown();
    section.require("from");
    section.require("to");
    let from = section.text_or_number("from", rule::dscp);
    let to = section.text_or_number("to", rule::dscp);
    let directions = section.text("direction", Directions::from_str).map_or(Directions::BOTH, Spanned::into_inner);
    let (from, to) = (from?, to?.into_inner());
    let (at, from) = (from.span().start, from.into_inner());
    let before = lines.entry(from).or_default();
    match before.iter().find(|(other, _)| other.overlap(directions)) {
        Some((_, line)) => {
            let name = dscp::name(from).map_or(from.to_string(), |name| format!("{name:?}"));
            let want = format!("each mark once in a direction: it's on line {line}");
            section.report(at, "from", format!("{name} again"), want);
        }
        None => before.push((directions, section.file.line(at))),
    }
    Some(Remark { from, to, directions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_keeps_washes_or_sets() {
        assert_eq!([of_class("keep"), of_class("wash")], [Ok(Mark::Map), Ok(Mark::Set(0))]);
        assert_eq!([of_class("EF"), of_class("le"), of_class("63")], [46, 1, 63].map(|dscp| Ok(Mark::Set(dscp))));
        for text in ["", "Keep", "64", "BE"] {
            let wanted = "want \"keep\", \"wash\", EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63";
            assert_eq!(of_class(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn a_wash_may_be_none_and_a_remark_is_somewhere() {
        assert_eq!((wash("none"), wash("both")), (Ok(Directions::NONE), Ok(Directions::BOTH)));
        assert_eq!("both".parse(), Ok(Directions::BOTH));
        assert_eq!("upload".parse(), Ok(Directions { upload: true, download: false }));
        let wanted = "want one of \"none\", \"download\", \"upload\", \"both\"";
        assert_eq!(wash("").unwrap_err().to_string(), wanted);
        let wanted = "want one of \"download\", \"upload\", \"both\"";
        assert_eq!("none".parse::<Directions>().unwrap_err().to_string(), wanted);
    }
}
