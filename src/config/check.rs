//! The tree judged and turned into types.
//!
//! Each function reads one table. It reports what is wrong and goes on with the default, so that everything shows at once;
//! what it returns counts only if nothing was reported.

use std::str::FromStr;

use ipnet::IpNet;
use toml::Spanned;

use super::Config;
use super::api::{self, Api};
use super::class::{self, ClassSpec};
use super::cores::{Cores, Idle};
use super::file::File;
use super::mark;
use super::rule::{self, Match, Rule};
use super::section::Section;
use super::share::{self, Percent, Share};
use super::subscriber;
use super::wire::{self, LinkLoss, Mode, OnFailure, Wire};
use crate::classify::{Apps, Class, Rules};
use crate::units::Rate;
use crate::wire::protocol;

/// Judges the whole file; `None`, or something reported, means that it holds no policy.
pub(super) fn config(file: &File<'_>) -> Option<Config> {
    let root = file.root();
    root.refuse_unknown();
    let wires = wires(&root);
    let cores = root.section("cores", "cores").map(|section| cores(section, wires.len())).unwrap_or_default();
    let api = root.section("api", "api").map(api).unwrap_or_default();
    let links = wires.iter().flat_map(|wire| [("wire.download", wire.download), ("wire.upload", wire.upload)]);
    let links: Vec<_> = links.filter_map(|(key, rate)| Some((key, rate?))).collect();
    let classes = classes(&root.sections("class"), &links);
    let rules = rules(root.sections("rule"));
    let remarks = mark::remarks(&root.sections("remark"));
    let subscribers = subscriber::all(&root.sections("subscriber"));
    if wires.is_empty() {
        return None;
    }
    Some(Config { wires, cores, api, classes, rules, remarks, subscribers, warnings: Vec::new() })
}

/// The most wires of one box: the kernel's share of as many ports is all that can be silenced at once.
const WIRES_MAX: usize = 16;

fn wires(root: &Section<'_>) -> Vec<Wire> {
    root.require("wire");
    let sections = root.sections("wire");
    if let Some(further) = sections.get(WIRES_MAX) {
        root.report(further.at, "wire", format!("{} wires", sections.len()), format!("at most {WIRES_MAX}"));
    }
    let mut ports: Vec<(String, u32)> = Vec::new();
    sections.into_iter().filter_map(|section| wire(section, &mut ports)).collect()
}

/// Reads one wire; `ports` are the interfaces of those before it, with their lines.
fn wire(section: Section<'_>, ports: &mut Vec<(String, u32)>) -> Option<Wire> {
    section.refuse_unknown();
    section.require("inside");
    section.require("outside");
    let inside = section.text("inside", wire::interface);
    let outside = section.text("outside", wire::interface);
    let download = section.text("download", wire::link_rate).map(Spanned::into_inner);
    let upload = section.text("upload", wire::link_rate).map(Spanned::into_inner);
    let overhead = section.text_or_number("overhead", wire::overhead);
    let mode = section.text("mode", Mode::from_str);
    let queue = section.text("queue", wire::queue);
    let on_failure = section.text("on_failure", OnFailure::from_str);
    let link_loss = section.text("link_loss", LinkLoss::from_str);
    let wash = section.text("wash", mark::wash);
    let (inside, outside) = (inside?, outside?);
    if inside.get_ref() == outside.get_ref() {
        let got = format!("{:?} again", outside.get_ref());
        section.report(outside.span().start, "outside", got, "another interface than inside");
    }
    for (key, name) in [("inside", &inside), ("outside", &outside)] {
        if let Some((_, line)) = ports.iter().find(|(port, _)| port == name.get_ref()) {
            let want = format!("an interface of its own: it's on line {line}");
            section.report(name.span().start, key, format!("{:?} again", name.get_ref()), want);
        }
    }
    let line = |name: &Spanned<String>| (name.get_ref().clone(), section.file.line(name.span().start));
    ports.extend([line(&inside), line(&outside)]);
    let default = Wire::between(inside.into_inner(), outside.into_inner());
    Some(Wire {
        download,
        upload,
        overhead: overhead.map_or(default.overhead, Spanned::into_inner),
        mode: mode.map_or(default.mode, Spanned::into_inner),
        queue: queue.map_or(default.queue, Spanned::into_inner),
        on_failure: on_failure.map_or(default.on_failure, Spanned::into_inner),
        link_loss: link_loss.map_or(default.link_loss, Spanned::into_inner),
        wash: wash.map_or(default.wash, Spanned::into_inner),
        ..default
    })
}

fn api(section: Section<'_>) -> Api {
    section.refuse_unknown();
    let listen = section.text("listen", api::listen).map(Spanned::into_inner);
    listen.map_or_else(Api::default, |listen| Api { listen })
}

fn cores(section: Section<'_>, wires: usize) -> Cores {
    section.refuse_unknown();
    let control = section.number("control", 0..=1023).map_or(0, |core| core.into_inner() as usize);
    let idle = section.text("idle", Idle::from_str).map_or(Idle::Sleep, Spanned::into_inner);
    let workers = section.numbers("workers", 0..=1023).map(|list| workers(&section, control, wires, &list));
    Cores { control, workers: workers.unwrap_or_default(), idle }
}

/// The most workers.
const WORKERS_MAX: usize = 64;

fn workers(section: &Section<'_>, control: usize, wires: usize, list: &Spanned<Vec<Spanned<u32>>>) -> Vec<usize> {
    let at: Vec<_> = list.get_ref().iter().map(|core| core.span().start).collect();
    let cores: Vec<_> = list.get_ref().iter().map(|core| *core.get_ref() as usize).collect();
    let own = "a core of its own for each worker";
    if let Some(shared) = cores.iter().position(|&core| core == control) {
        let (got, want) = (format!("core {control}, the control core"), format!("{own} where there are enough"));
        section.file.warn(at[shared], section.path("workers"), got, want);
    }
    for (index, core) in cores.iter().enumerate().filter(|(index, core)| cores[..*index].contains(core)) {
        section.report(at[index], "workers", format!("core {core} again"), own);
    }
    if cores.is_empty() || cores.len() > WORKERS_MAX {
        let want = format!("1 to {WORKERS_MAX}: two for each wire, or fewer");
        section.report(list.span().start, "workers", format!("{} cores", cores.len()), want);
    } else if wires > 0 && cores.len() > 2 * wires {
        let (got, want) =
            (format!("{} cores for {wires} wires", cores.len()), "at most two for each, the others stay unused");
        section.file.warn(list.span().start, section.path("workers"), got, want);
    }
    cores
}

/// Reads the tables `[[class]]` over the defaults; `links` are the keys and rates of the wire's limits.
fn classes(sections: &[Section<'_>], links: &[(&str, Rate)]) -> [ClassSpec; Class::OPERATORS.len()] {
    let mut classes = ClassSpec::DEFAULTS;
    let mut lines = [None; Class::OPERATORS.len()];
    let mut last_guarantee = None;
    let mut all_sound = true;
    for section in sections {
        let problems = section.file.problem_count();
        if let Some(Adjusted { spec, name_at, guarantee_at }) = class(section, links) {
            let index = usize::from(spec.class.slot() - Class::OPERATORS[0].slot());
            if let Some(line) = lines[index].replace(section.file.line(section.at)) {
                let want = format!("each class once: it's on line {line}");
                section.report(name_at, "name", format!("{} again", spec.class), want);
            }
            classes[index] = spec;
            last_guarantee = guarantee_at.map(|at| (section, at)).or(last_guarantee);
        }
        all_sound &= section.file.problem_count() == problems;
    }
    if let Some((section, at)) = last_guarantee.filter(|_| all_sound)
        && let Some((sum, limit)) = excess(&classes, links)
    {
        section.report(at, "guarantee", format!("{sum} for all classes together"), format!("at most {limit}"));
    }
    classes
}

/// A class as one table `[[class]]` makes it, and where that stands.
struct Adjusted {
    spec: ClassSpec,
    name_at: usize,
    guarantee_at: Option<usize>,
}

fn class(section: &Section<'_>, links: &[(&str, Rate)]) -> Option<Adjusted> {
    let problems = section.file.problem_count();
    section.refuse_unknown();
    section.require("name");
    let name = section.text("name", class::name);
    let guarantee = section.text("guarantee", Share::from_str);
    let ceiling = section.text("ceiling", share::above_zero);
    let priority = section.number("priority", 0..=7);
    let weight = section.number("weight", 1..=100);
    let mark = section.text_or_number("dscp", mark::of_class);
    let [guarantee_at, ceiling_at] = [&guarantee, &ceiling].map(|share| share.as_ref().map(|share| share.span().start));
    let name = name?;
    let default = ClassSpec::DEFAULTS.into_iter().find(|spec| spec.class == *name.get_ref())?;
    let spec = ClassSpec {
        class: default.class,
        guarantee: guarantee.map_or(default.guarantee, Spanned::into_inner),
        ceiling: ceiling.map_or(default.ceiling, Spanned::into_inner),
        priority: priority.map_or(default.priority, |priority| priority.into_inner() as u8),
        weight: weight.map_or(default.weight, Spanned::into_inner),
        mark: mark.map_or(default.mark, Spanned::into_inner),
    };
    let (guarantee, ceiling) = (spec.guarantee, spec.ceiling);
    if section.file.problem_count() == problems && is_less(ceiling, guarantee, links) {
        match (ceiling_at, guarantee_at) {
            (Some(at), _) => section.report(at, "ceiling", ceiling, format!("at least the guarantee, {guarantee}")),
            (None, Some(at)) => {
                section.report(at, "guarantee", guarantee, format!("at most the ceiling, {ceiling} by default"));
            }
            (None, None) => {}
        }
    }
    Some(Adjusted { spec, name_at: name.span().start, guarantee_at })
}

/// Whether `a` is less than `b` on some link, or on every conceivable one.
fn is_less(a: Share, b: Share, links: &[(&str, Rate)]) -> bool {
    match (a, b) {
        (Share::Percent(a), Share::Percent(b)) => a < b,
        (Share::Rate(a), Share::Rate(b)) => a < b,
        _ => links.iter().any(|&(_, link)| a.of(link) < b.of(link)),
    }
}

/// The sum of all guarantees and the limit, in words, if the sum is above it.
fn excess(classes: &[ClassSpec], links: &[(&str, Rate)]) -> Option<(String, String)> {
    let percent = |spec: &ClassSpec| match spec.guarantee {
        Share::Percent(percent) => percent.0,
        Share::Rate(_) => 0,
    };
    let percents = Percent(classes.iter().map(percent).sum());
    if percents > Percent::ALL {
        return Some((percents.to_string(), Percent::ALL.to_string()));
    }
    let sum = |link| Rate(classes.iter().fold(0, |sum: u64, spec| sum.saturating_add(spec.guarantee.of(link).0)));
    let (key, link) = links.iter().find(|&&(_, link)| sum(link) > link)?;
    Some((sum(*link).to_string(), format!("{link}, which is {key}")))
}

fn rules(sections: Vec<Section<'_>>) -> Vec<Rule> {
    if let Some(further) = sections.get(Rules::MAX) {
        further.file.report(further.at, "rule", format!("{} rules", sections.len()), format!("at most {}", Rules::MAX));
    }
    let apps = Apps::builtin();
    sections.into_iter().filter_map(|section| rule(section, &apps)).collect()
}

fn rule(section: Section<'_>, apps: &Apps) -> Option<Rule> {
    section.refuse_unknown();
    section.require("match");
    section.require("class");
    let class = section.text("class", class::name);
    let matches = section.section("match", "rule.match").map(|section| matches(section, apps));
    Some(Rule { matches: matches?, class: class?.into_inner(), line: section.file.line(section.at) })
}

fn matches(section: Section<'_>, apps: &Apps) -> Match {
    section.refuse_unknown();
    if section.is_empty() {
        let want = "at least one key: an empty match would take every frame";
        section.file.report(section.at, "rule.match", "nothing", want);
    }
    let [address, inside, outside] = ["address", "inside", "outside"].map(|key| section.text(key, rule::prefix));
    one_family(&section, [("address", &address), ("inside", &inside), ("outside", &outside)]);
    let port = section.text_or_number("port", rule::ports);
    let protocol = section.text_or_number("protocol", rule::protocol).map(Spanned::into_inner);
    if let (Some(port), Some(number)) = (&port, protocol.filter(|number| !protocol::has_ports(*number))) {
        let got = format!("a port with protocol {number}");
        section.report(port.span().start, "port", got, "tcp, udp or another protocol that has ports, or no protocol");
    }
    let [address, inside, outside] = [address, inside, outside].map(|prefix| prefix.map(Spanned::into_inner));
    Match {
        app: section.text("app", |text| rule::app(text, apps)).map(Spanned::into_inner),
        address,
        inside,
        outside,
        port: port.map(Spanned::into_inner),
        protocol,
        vlan: section.number("vlan", 0..=4094).map(|vlan| vlan.into_inner() as u16),
        dscp: section.text_or_number("dscp", rule::dscp).map(Spanned::into_inner),
    }
}

/// Reports a prefix whose family isn't that of the prefix before it: no frame has addresses of both.
fn one_family(section: &Section<'_>, prefixes: [(&str, &Option<Spanned<IpNet>>); 3]) {
    let is_ipv4 = |prefix: &Spanned<IpNet>| prefix.get_ref().addr().is_ipv4();
    let written: Vec<_> = prefixes.into_iter().filter_map(|(key, prefix)| Some((key, prefix.as_ref()?))).collect();
    if let Some((first, _)) = written.first()
        && let Some((key, other)) = written.iter().find(|(_, prefix)| is_ipv4(prefix) != is_ipv4(written[0].1))
    {
        let want = format!("the IP version of {first}: no frame has both");
        section.report(other.span().start, key, other.get_ref(), want);
    }
}
