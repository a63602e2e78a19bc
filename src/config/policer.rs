//! Profiles that traffic is held to, and who is held to them.

use std::cell::Cell;
use std::collections::HashMap;
use std::str::FromStr;

use toml::Spanned;

use super::key::nearest;
use super::section::Section;
use super::share::rate;
use super::word;
use crate::datapath::police::{Action, METERS_MAX, Policer};
use crate::qos::{MeterSpec, Profile, bucket};
use crate::units::{Rate, Wanted};

/// The most policers, and of whoever has one: each has a meter in both directions.
const POLICED_MAX: usize = METERS_MAX / 2;

/// The most bytes that a burst may have.
const BURST_MAX: u32 = bucket::MAX_BURST;

/// What a full frame costs on Ethernet; a burst below it never lets one through.
const FULL_FRAME: u32 = 1_538;

/// A policer as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPolicer {
    /// The name, which no other policer has.
    pub name: String,
    /// What it does.
    pub policer: Policer,
}

/// The policers of a file while the rest of it is read.
pub(super) struct Policers {
    sound: Vec<NamedPolicer>,
    /// The place of each name, also of those that are not sound, so that one mistake shows once.
    places: HashMap<String, u16>,
    /// How often a policer was named.
    policed: Cell<usize>,
}

impl Policers {
    /// Reads the tables `[[policer]]`.
    pub(super) fn read(sections: &[Section<'_>]) -> Policers {
        if let Some(further) = sections.get(POLICED_MAX) {
            let (got, want) = (format!("{} policers", sections.len()), format!("at most {POLICED_MAX}"));
            further.file.report(further.at, "policer", got, want);
        }
        let (mut places, mut lines) = (HashMap::new(), HashMap::new());
        let mut sound = Vec::new();
        for (place, section) in (0..=u16::MAX).zip(sections) {
            let name = name(section, &mut lines);
            places.extend(name.clone().map(|name| (name, place)));
            let policer = policer(section);
            sound.extend(name.zip(policer).map(|(name, policer)| NamedPolicer { name, policer }));
        }
        Policers { sound, places, policed: Cell::new(0) }
    }

    /// The place of the policer that `section` names under `policer`, if it names one.
    pub(super) fn of(&self, section: &Section<'_>) -> Option<u16> {
        let place = section.text("policer", |text| {
            self.places.get(text).copied().ok_or_else(|| {
                let names: Vec<_> = self.places.keys().map(String::as_str).collect();
                match nearest(text, &names) {
                    Some(name) => Wanted::new(name.to_owned()),
                    None => Wanted::new("the name of a [[policer]]"),
                }
            })
        })?;
        self.policed.set(self.policed.get() + 1);
        if self.policed.get() == POLICED_MAX + 1 {
            let want = format!("at most {POLICED_MAX} rules, classes and subscribers with one");
            section.report(place.span().start, "policer", "one more", want);
        }
        Some(place.into_inner())
    }

    /// The policers in the order of the file: of use if nothing was reported.
    pub(super) fn into_vec(self) -> Vec<NamedPolicer> {
        self.sound
    }
}

/// Reads the name; `lines` are those of the names before it.
fn name(section: &Section<'_>, lines: &mut HashMap<String, u32>) -> Option<String> {
    section.refuse_unknown();
    section.require("name");
    let name = section.text("name", super::subscriber::name)?;
    if let Some(line) = lines.insert(name.get_ref().clone(), section.file.line(name.span().start)) {
        let (at, got) = (name.span().start, format!("{:?} again", name.get_ref()));
        section.report(at, "name", got, format!("each name once: it's on line {line}"));
    }
    Some(name.into_inner())
}

fn policer(section: &Section<'_>) -> Option<Policer> {
    section.require("kind");
    let kind = section.text("kind", Kind::from_str).map(Spanned::into_inner);
    if let Some(kind) = kind {
        kind.hold(section);
    }
    let aware = section.text("colour", |text| word(text, &[("blind", false), ("aware", true)]));
    let yellow = section.text("yellow", action).map_or(Action::Pass, Spanned::into_inner);
    let red = section.text("red", action).map_or(Action::Drop, Spanned::into_inner);
    // Read for their own mistakes whatever the kind is.
    let [cir, pir, eir] = ["cir", "pir", "eir"].map(|key| section.text(key, rate));
    let [cbs, pbs] = ["cbs", "pbs"].map(|key| burst(section, key, 1));
    let ebs = burst(section, "ebs", 0);
    if let (Some(cir), Some(pir)) = (&cir, &pir)
        && pir.get_ref() < cir.get_ref()
    {
        section.report(pir.span().start, "pir", pir.get_ref(), format!("at least cir, {}", cir.get_ref()));
    }
    let [cir, pir, eir] = [cir, pir, eir].map(|rate| rate.map(Spanned::into_inner));
    let meter = MeterSpec {
        profile: kind?.profile(cir?, cbs?, [pir, eir], [pbs, ebs])?,
        aware: aware.is_some_and(Spanned::into_inner),
    };
    Some(Policer { meter, yellow, red })
}

/// Reads a burst in bytes; one that holds no full frame is warned of.
fn burst(section: &Section<'_>, key: &str, least: u32) -> Option<u32> {
    let burst = section.number(key, least..=BURST_MAX)?;
    if (1..FULL_FRAME).contains(burst.get_ref()) {
        let want = format!("{FULL_FRAME} or more: no full frame fits into less");
        section.file.warn(burst.span().start, section.path(key), burst.get_ref(), want);
    }
    Some(burst.into_inner())
}

/// Reads what becomes of frames of a colour.
fn action(text: &str) -> Result<Action, Wanted> {
    word(
        text,
        &[("pass", Action::Pass), ("remark", Action::Remark), ("demote", Action::Demote), ("drop", Action::Drop)],
    )
}

/// Which algorithm meters.
#[derive(Clone, Copy)]
enum Kind {
    SrTcm,
    TrTcm,
    Rfc4115,
}

impl FromStr for Kind {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Kind, Wanted> {
        word(text, &[("srtcm", Kind::SrTcm), ("trtcm", Kind::TrTcm), ("rfc4115", Kind::Rfc4115)])
    }
}

impl Kind {
    /// The rates and bursts that it needs, all of them.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::SrTcm => &["cir", "cbs", "ebs"],
            Kind::TrTcm => &["cir", "cbs", "pir", "pbs"],
            Kind::Rfc4115 => &["cir", "cbs", "eir", "ebs"],
        }
    }

    /// What it needs, in words.
    fn want(self) -> String {
        let name = match self {
            Kind::SrTcm => "srtcm",
            Kind::TrTcm => "trtcm",
            Kind::Rfc4115 => "rfc4115",
        };
        format!("what {name} has: {}", self.keys().join(", "))
    }

    /// Reports the rates and bursts that are missing from `section`, and those that another kind has.
    fn hold(self, section: &Section<'_>) {
        for key in ["cir", "cbs", "ebs", "pir", "pbs", "eir"] {
            match (section.place_of(key), self.keys().contains(&key)) {
                (Some(at), false) => section.report(at, key, "a key of another kind", self.want()),
                // What every kind has is asked for like any other key.
                (None, true) if ["cir", "cbs"].contains(&key) => section.require(key),
                (None, true) => section.report(section.at, key, "nothing", self.want()),
                _ => {}
            }
        }
    }

    /// The profile; `None` if something is missing, which was reported.
    fn profile(
        self,
        cir: Rate,
        cbs: u32,
        [pir, eir]: [Option<Rate>; 2],
        [pbs, ebs]: [Option<u32>; 2],
    ) -> Option<Profile> {
        Some(match self {
            Kind::SrTcm => Profile::SingleRate { cir, cbs, ebs: ebs? },
            Kind::TrTcm => Profile::TwoRate { cir, cbs, pir: pir?, pbs: pbs? },
            Kind::Rfc4115 => Profile::Excess { cir, cbs, eir: eir?, ebs: ebs? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, from_str};
    use super::*;

    const WIRE: &str = "[[wire]]\ninside = 'a'\noutside = 'b'\n";

    fn read(rest: &str) -> Result<Config, Vec<String>> {
        from_str("t", &format!("{WIRE}{rest}"))
            .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
    }

    fn contract(rest: &str) -> Result<Config, Vec<String>> {
        read(&format!("[[policer]]\nname = 'contract'\n{rest}"))
    }

    #[test]
    fn each_kind_has_its_rates_and_bursts() {
        let (cir, cbs, other, burst) = (Rate(1_000_000), 5_000, Rate(2_000_000), 9_000);
        for (text, profile) in [
            ("kind = 'srtcm'\nebs = 9000", Profile::SingleRate { cir, cbs, ebs: burst }),
            ("kind = 'trtcm'\npir = '2mbit'\npbs = 9000", Profile::TwoRate { cir, cbs, pir: other, pbs: burst }),
            ("kind = 'rfc4115'\neir = '2mbit'\nebs = 9000", Profile::Excess { cir, cbs, eir: other, ebs: burst }),
        ] {
            let config =
                contract(&format!("cir = '1mbit'\ncbs = 5000\n{text}\ncolour = 'aware'\nred = 'demote'")).unwrap();
            let policer =
                Policer { meter: MeterSpec { profile, aware: true }, yellow: Action::Pass, red: Action::Demote };
            assert_eq!(config.policers, [NamedPolicer { name: "contract".into(), policer }]);
            assert_eq!(config.warnings, []);
        }
    }

    #[test]
    fn wrong_combinations_are_told_with_what_the_kind_wants() {
        let want = "want what srtcm has: cir, cbs, ebs";
        let errors = contract("kind = 'srtcm'\ncir = '1mbit'\npir = '2mbit'\npbs = 5000").unwrap_err();
        let expected = [
            "t:4:1: policer.cbs: got nothing, want a whole number from 1 to 268435456 like 50000".to_owned(),
            format!("t:4:1: policer.ebs: got nothing, {want}"),
            format!("t:8:7: policer.pir: got a key of another kind, {want}"),
            format!("t:9:7: policer.pbs: got a key of another kind, {want}"),
        ];
        assert_eq!(errors, expected);
        let errors = contract("kind = 'trtcm'\ncir = '2mbit'\ncbs = 5000\npir = '1mbit'\npbs = 5000").unwrap_err();
        assert_eq!(errors, ["t:9:7: policer.pir: got 1mbit, want at least cir, 2mbit"]);
        let errors = contract("kind = 'rfc4115'\ncir = '2mbit'\ncbs = 5000\nebs = 0\nred = 'shape'").unwrap_err();
        let expected = [
            "t:4:1: policer.eir: got nothing, want what rfc4115 has: cir, cbs, eir, ebs",
            "t:10:7: policer.red: got \"shape\", want one of \"pass\", \"remark\", \"demote\", \"drop\"",
        ];
        assert_eq!(errors, expected);
        let errors = contract("kind = 'rfc2697'\ncir = '0mbit'\ncbs = 5000").unwrap_err();
        let expected = [
            "t:6:8: policer.kind: got \"rfc2697\", want one of \"srtcm\", \"trtcm\", \"rfc4115\"",
            "t:7:7: policer.cir: got \"0mbit\", want a rate from 1kbit to 100000gbit",
        ];
        assert_eq!(errors, expected);
    }

    const PLAIN: &str = "kind = 'srtcm'\ncir = '1mbit'\ncbs = 5000\nebs = 0\n";

    #[test]
    fn a_burst_that_holds_no_full_frame_is_warned_of() {
        let config = contract(&PLAIN.replace("ebs = 0", "ebs = 1537")).unwrap();
        let warnings: Vec<_> = config.warnings.iter().map(|warning| (warning.line, warning.key.as_str())).collect();
        assert_eq!(warnings, [(9, "policer.ebs")]);
    }

    #[test]
    fn whoever_names_a_policer_must_find_it() {
        let named = "[[class]]\nname = 'web'\npolicer = 'contract'\n\
                     [[rule]]\nmatch = { port = 1 }\nclass = 'web'\npolicer = 'other'\n\
                     [[subscriber]]\nname = 'alice'\naddresses = ['192.0.2.1']\npolicer = 'contract'\n";
        let both = format!("{PLAIN}[[policer]]\nname = 'other'\n{PLAIN}");
        let config = contract(&format!("{both}{named}")).unwrap();
        let web = config.classes.iter().filter_map(|spec| spec.policer).collect::<Vec<_>>();
        assert_eq!((web, config.rules[0].policer, config.subscribers[0].policer), (vec![0], Some(1), Some(0)));

        let errors = contract(&format!("{PLAIN}{named}").replace("'other'", "'contact'")).unwrap_err();
        assert_eq!(errors, ["t:16:11: rule.policer: got \"contact\", want contract"]);
        let errors = read("[[class]]\nname = 'web'\npolicer = 'contract'").unwrap_err();
        assert_eq!(errors, ["t:6:11: class.policer: got \"contract\", want the name of a [[policer]]"]);
        // The mistake in the policer shows once, and not where it is named.
        let errors = contract(&format!("{both}{named}").replace("ebs = 0", "ebs = -1")).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        let errors = contract(&both.replace("'other'", "'contract'")).unwrap_err();
        assert_eq!(errors, ["t:11:8: policer.name: got \"contract\" again, want each name once: it's on line 5"]);
    }

    #[test]
    fn as_many_may_have_a_policer_as_there_are_meters() {
        let rules = |count| {
            let rules = "[[rule]]\nmatch = { port = 1 }\nclass = 'web'\npolicer = 'contract'\n".repeat(count);
            contract(&format!("{PLAIN}{rules}"))
        };
        let config = rules(POLICED_MAX).unwrap();
        let policy = super::super::compile::policy(&config, &config.wires[0], 1);
        assert!(!policy.policing.is_empty());
        let want = "want at most 32768 rules, classes and subscribers with one";
        let errors = rules(POLICED_MAX + 2).unwrap_err();
        assert!(errors.len() == 1 && errors[0].ends_with(&format!("rule.policer: got one more, {want}")), "{errors:?}");
    }
}
