//! From what the operator wrote to what the datapath does.

use super::{ClassSpec, Config, Directions, IpNet, MIN_RATE, Mode, Percent, Rule, Share, Subscriber, Wire};
use crate::classify::{self, Apps, Class, Classifier, Prefix, Rules, Subscribers};
use crate::datapath::Policy;
use crate::datapath::counters::CLASSES;
use crate::datapath::police::Policing;
use crate::qos::{CODE_POINTS, Codel, LeafSpec, Mark, Marks, OBSERVED, TreeSpec, bucket};
use crate::units::{Nanos, Rate};

/// The bytes of a full frame on Ethernet: what one turn is worth among equals of weight 1.
const FULL_FRAME: u32 = 1_538;

/// How long a bucket may save up: covers the time that a worker comes late.
const BURST: Nanos = Nanos::from_millis(1);

/// The most frames that the queues of one direction hold.
const QUEUED_FRAMES: u32 = 8_192;

/// The most bytes that they hold: as many full frames.
const QUEUED_BYTES: u64 = QUEUED_FRAMES as u64 * 1_514;

/// The least that a leaf may hold, so that a slow link still carries a burst.
const LEAF_BYTES_MIN: u64 = 32 * 1_514;

/// The control class: it keeps the network alive, and must not be a way around the plan.
const CONTROL: ClassSpec = ClassSpec {
    class: Class::Control,
    guarantee: Share::Percent(Percent(200)),
    ceiling: Share::Percent(Percent(1_000)),
    priority: 0,
    weight: 1,
    policer: None,
    mark: Mark::Leave,
};

/// The least that control's ceiling may be: on a slow link, a tenth is too little for a routing table.
const CONTROL_CEILING_MIN: Rate = Rate(256_000);

/// The band of what belongs to an observed subscriber: the first that isn't control's, so that nothing but control goes before
/// it and whatever comes of it costs control nothing.
const OBSERVED_BAND: u8 = Class::Control.band() + 1;

/// The policy that `config` means for `wire`, as number `epoch`.
///
/// # Panics
///
/// If `config` wasn't read from a file and says what no file may say.
pub fn policy(config: &Config, wire: &Wire, epoch: u32) -> Policy {
    let classifier = classifier(&config.rules).with_subscribers(subscribers(&config.subscribers));
    match wire.mode {
        Mode::Enforce => Policy {
            epoch,
            classifier,
            leaves: Class::ALL.map(|class| class.slot().into()),
            bands: Class::ALL.map(Class::band),
            observed: (OBSERVED, OBSERVED_BAND),
            policing: policing(config),
            // What leaves by the inside port is the download.
            trees: [wire.download, wire.upload].map(|link| shaping(config, wire, link)),
            marks: marks(config, wire),
        },
        Mode::Observe => Policy {
            epoch,
            classifier,
            leaves: Class::ALL.map(|_| 0),
            bands: Class::ALL.map(|_| 0),
            observed: (0, 0),
            policing: Policing::default(),
            trees: [observing(), observing()],
            marks: None,
        },
    }
}

/// A link and one leaf for each class, by slot.
fn shaping(config: &Config, wire: &Wire, link: Option<Rate>) -> TreeSpec {
    // Control has the first priority to itself.
    let operators = config.classes.iter().map(|spec| ClassSpec { priority: spec.priority + 1, ..*spec });
    TreeSpec {
        link,
        burst: burst(link),
        overhead: wire.overhead,
        leaves: std::iter::once(control(link)).chain(operators).map(|spec| leaf(&spec, link, wire.queue)).collect(),
        max_frames: QUEUED_FRAMES,
        max_bytes: QUEUED_BYTES,
    }
}

/// One leaf without a rate, so that nothing overtakes and nothing waits; it ends where the memory does, so bytes don't count.
fn observing() -> TreeSpec {
    let leaf = LeafSpec {
        guarantee: None,
        ceiling: None,
        burst: 0,
        priority: 0,
        quantum: FULL_FRAME,
        limit: u64::MAX,
        band: 0,
        codel: None,
    };
    TreeSpec { leaves: vec![leaf], max_frames: QUEUED_FRAMES, max_bytes: u64::MAX, ..TreeSpec::default() }
}

fn control(link: Option<Rate>) -> ClassSpec {
    match link {
        Some(link) if CONTROL.ceiling.of(link) < CONTROL_CEILING_MIN => {
            ClassSpec { ceiling: Share::Rate(CONTROL_CEILING_MIN), ..CONTROL }
        }
        _ => CONTROL,
    }
}

fn leaf(spec: &ClassSpec, link: Option<Rate>, queue: Nanos) -> LeafSpec {
    let guarantee = rate(spec.guarantee, link).filter(|rate| *rate > Rate(0));
    // Rounding must not close a class, and a ceiling at the link's own rate says nothing that the link doesn't.
    let ceiling =
        rate(spec.ceiling, link).map(|rate| rate.max(MIN_RATE)).filter(|rate| link.is_none_or(|link| *rate < link));
    let fastest = ceiling.or(link);
    LeafSpec {
        guarantee,
        ceiling,
        burst: burst(ceiling.or(guarantee)),
        priority: spec.priority,
        quantum: spec.weight * FULL_FRAME,
        limit: fastest.map_or(QUEUED_BYTES, |rate| rate.bytes_in(queue).clamp(LEAF_BYTES_MIN, QUEUED_BYTES)),
        band: spec.class.band(),
        // What keeps the network alive waits for as long as it takes.
        codel: (spec.class != Class::Control).then(|| fastest.map_or(Codel::default(), Codel::for_rate)),
    }
}

/// A share as a rate; a percentage of a link without a rate is none.
fn rate(share: Share, link: Option<Rate>) -> Option<Rate> {
    match share {
        Share::Rate(rate) => Some(rate),
        Share::Percent(_) => link.map(|link| share.of(link)),
    }
}

/// What may leave at once after a pause: two full frames at least.
fn burst(rate: Option<Rate>) -> u32 {
    let bytes = rate.map_or(0, |rate| rate.bytes_in(BURST).clamp(2 * u64::from(FULL_FRAME), bucket::MAX_BURST.into()));
    bytes as u32
}

/// With which marks frames leave; `None` if as they came.
fn marks(config: &Config, wire: &Wire) -> Option<Marks<CLASSES>> {
    let mut classes = [CONTROL.mark; CLASSES];
    for spec in &config.classes {
        classes[usize::from(spec.class.slot())] = spec.mark;
    }
    // What comes in at the inside port is the upload.
    let upload = map(config, wire.wash.upload, |directions| directions.upload);
    let download = map(config, wire.wash.download, |directions| directions.download);
    Marks::new(classes, [upload, download])
}

/// What becomes of each code point in the direction that `is_here` picks.
fn map(config: &Config, wash: bool, is_here: impl Fn(Directions) -> bool) -> [u8; CODE_POINTS] {
    let mut map = std::array::from_fn(|dscp| if wash { 0 } else { dscp as u8 });
    for remark in config.remarks.iter().filter(|remark| is_here(remark.directions)) {
        map[usize::from(remark.from)] = remark.to;
    }
    map
}

fn classifier(rules: &[Rule]) -> Classifier {
    let apps = Apps::builtin();
    let rules = rules.iter().map(|of| rule(of, &apps)).collect();
    Classifier::new(Rules::new(rules), apps)
}

/// Who has which policer; control has none.
fn policing(config: &Config) -> Policing {
    let policers = config.policers.iter().map(|named| named.policer).collect();
    let of_class = |class| config.classes.iter().find(|spec| spec.class == class)?.policer;
    Policing::new(
        policers,
        config.rules.iter().map(|rule| rule.policer),
        Class::ALL.map(of_class),
        config.subscribers.iter().map(|subscriber| subscriber.policer),
    )
}

/// What `net` is to the classifier.
pub(super) fn prefix(net: IpNet) -> Prefix {
    Prefix::new(net.addr(), net.prefix_len()).expect("no prefix is longer than its address")
}

fn subscribers(subscribers: &[Subscriber]) -> Subscribers {
    let subscriber = |of: &Subscriber| classify::Subscriber {
        prefixes: of.addresses.iter().copied().map(prefix).collect(),
        observed: of.mode == Mode::Observe,
    };
    Subscribers::new(subscribers.iter().map(subscriber).collect())
}

fn rule(rule: &Rule, apps: &Apps) -> classify::Rule {
    let matches = &rule.matches;
    classify::Rule {
        address: matches.address.map(prefix),
        inside: matches.inside.map(prefix),
        outside: matches.outside.map(prefix),
        ports: matches.port.iter().cloned().collect(),
        protocol: matches.protocol,
        vlan: matches.vlan,
        dscp: matches.dscp,
        app: matches.app.as_ref().map(|name| apps.id(name).expect("a checked rule names an application of the table")),
        class: rule.class,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::net::IpAddr;

    use super::*;
    use crate::qos::{Overhead, Tree};

    fn read(wire: &str, rest: &str) -> Result<Config, String> {
        let text = format!("[[wire]]\ninside = 'a'\noutside = 'b'\n{wire}\n{rest}");
        super::super::from_str("t", &text).map_err(|errors| errors.to_string())
    }

    fn compiled(wire: &str, rest: &str) -> Policy {
        let config = read(wire, rest).unwrap();
        policy(&config, &config.wires[0], 7)
    }

    /// The leaves of the download, by class slot.
    fn leaves(wire: &str, rest: &str) -> Vec<LeafSpec> {
        let [download, _] = compiled(wire, rest).trees;
        download.leaves
    }

    fn of(leaves: &[LeafSpec], class: Class) -> &LeafSpec {
        &leaves[usize::from(class.slot())]
    }

    #[test]
    fn the_leaf_of_a_class_is_in_its_slot_and_in_its_band() {
        let policy = compiled("download = '1gbit'\noverhead = 22", "");
        assert_eq!((policy.epoch, policy.leaves, policy.observed), (7, [0, 1, 2, 3, 4, 5, 6], (OBSERVED, 1)));
        for tree in &policy.trees {
            assert_eq!(tree.overhead, Overhead { bytes: 22, min_frame: 0 });
            assert_eq!(tree.leaves.iter().map(|leaf| leaf.band).collect::<Vec<_>>(), Class::ALL.map(Class::band));
        }
        assert_eq!(policy.bands, Class::ALL.map(Class::band));
    }

    #[test]
    fn percentages_are_of_each_direction_for_itself() {
        let [download, upload] = compiled("download = '100mbit'\nupload = '10mbit'", "").trees;
        for (tree, mbit) in [(download, 1_000_000), (upload, 100_000)] {
            assert_eq!(tree.link, Some(Rate(100 * mbit)));
            let voice = of(&tree.leaves, Class::Voice);
            assert_eq!((voice.guarantee, voice.ceiling), (Some(Rate(10 * mbit)), Some(Rate(30 * mbit))));
            let guaranteed = tree.leaves.iter().filter_map(|leaf| leaf.guarantee).map(|rate| rate.0).sum::<u64>();
            assert_eq!(guaranteed, 92 * mbit);
        }
    }

    #[test]
    fn a_ceiling_that_the_link_keeps_anyway_is_none() {
        for (ceiling, kept) in [("100%", None), ("100mbit", None), ("1gbit", None), ("99mbit", Some(Rate(99_000_000)))]
        {
            let leaves = leaves("download = '100mbit'", &format!("[[class]]\nname = 'web'\nceiling = '{ceiling}'"));
            assert_eq!(of(&leaves, Class::Web).ceiling, kept, "{ceiling}");
        }
    }

    #[test]
    fn without_a_link_only_absolute_rates_hold() {
        let policy = compiled("", "[[class]]\nname = 'file'\nguarantee = '1mbit'\nceiling = '8mbit'");
        for TreeSpec { link, leaves, burst, .. } in policy.trees {
            assert_eq!((link, burst), (None, 0));
            for (slot, leaf) in leaves.iter().enumerate() {
                let (guarantee, ceiling, burst) = match Class::ALL[slot] {
                    Class::File => (Some(Rate(1_000_000)), Some(Rate(8_000_000)), 2 * FULL_FRAME),
                    _ => (None, None, 0),
                };
                assert_eq!((leaf.guarantee, leaf.ceiling, leaf.burst), (guarantee, ceiling, burst));
            }
        }
    }

    #[test]
    fn what_rounds_to_nothing_is_no_promise_but_never_a_closed_door() {
        let leaves = leaves("download = '2kbit'", "[[class]]\nname = 'voice'\nguarantee = '0.01%'\nceiling = '0.01%'");
        let voice = of(&leaves, Class::Voice);
        assert_eq!((voice.guarantee, voice.ceiling), (None, Some(MIN_RATE)));
    }

    #[test]
    fn control_goes_before_every_priority_that_can_be_given() {
        let leaves = leaves("", "[[class]]\nname = 'voice'\npriority = 0\n[[class]]\nname = 'file'\npriority = 7");
        assert_eq!(leaves.iter().map(|leaf| leaf.priority).collect::<Vec<_>>(), [0, 1, 3, 4, 4, 8, 7]);
    }

    #[test]
    fn control_has_a_small_promise_and_a_cap_that_leaves_slow_links_room() {
        for (link, guarantee, ceiling) in [
            ("1gbit", 20_000_000, Some(100_000_000)),
            ("2560kbit", 51_200, Some(256_000)),
            ("1mbit", 20_000, Some(256_000)),
            ("257kbit", 5_140, Some(256_000)),
            ("256kbit", 5_120, None),
            ("64kbit", 1_280, None),
        ] {
            let leaves = leaves(&format!("download = '{link}'"), "");
            let control = of(&leaves, Class::Control);
            assert_eq!((control.guarantee, control.ceiling), (Some(Rate(guarantee)), ceiling.map(Rate)), "{link}");
        }
        let leaves = leaves("", "");
        assert_eq!((leaves[0].guarantee, leaves[0].ceiling), (None, None));
    }

    #[test]
    fn weight_is_full_frames_per_turn() {
        let leaves = leaves("", "[[class]]\nname = 'video'\nweight = 100");
        let full_frames = leaves.iter().map(|leaf| leaf.quantum / FULL_FRAME).collect::<Vec<_>>();
        assert_eq!(full_frames, [1, 1, 1, 100, 1, 1, 1]);
    }

    #[test]
    fn every_class_but_control_has_its_flows_kept_short_at_the_rate_that_it_can_get() {
        let leaves = leaves("download = '1mbit'", "[[class]]\nname = 'voice'\nceiling = '50%'");
        assert_eq!(of(&leaves, Class::Control).codel, None);
        assert_eq!(of(&leaves, Class::Voice).codel, Some(Codel::for_rate(Rate(500_000))));
        assert_eq!(of(&leaves, Class::Web).codel, Some(Codel::for_rate(Rate(1_000_000))));
        assert_eq!(of(&self::leaves("", ""), Class::Web).codel, Some(Codel::default()));
    }

    #[test]
    fn a_queue_holds_what_its_class_may_send_in_its_time() {
        for (wire, voice, web) in [
            ("download = '100mbit'", 187_500, 625_000),
            ("download = '100mbit'\nqueue = '20ms'", 75_000, 250_000),
            ("download = '1mbit'", LEAF_BYTES_MIN, LEAF_BYTES_MIN),
            ("download = '100gbit'", QUEUED_BYTES, QUEUED_BYTES),
            ("", QUEUED_BYTES, QUEUED_BYTES),
        ] {
            let leaves = leaves(wire, "");
            assert_eq!((of(&leaves, Class::Voice).limit, of(&leaves, Class::Web).limit), (voice, web), "{wire}");
        }
    }

    #[test]
    fn a_bucket_saves_a_millisecond_of_its_own_rate() {
        let [download, _] = compiled("download = '1gbit'", "").trees;
        assert_eq!(download.burst, 125_000);
        assert_eq!(of(&download.leaves, Class::Voice).burst, 37_500, "the ceiling's");
        assert_eq!(of(&download.leaves, Class::File).burst, 12_500, "the guarantee's, as there is no ceiling");
        assert_eq!(burst(Some(Rate(1_000_000))), 2 * FULL_FRAME);
        assert_eq!(burst(Some(bucket::MAX_RATE)), bucket::MAX_BURST);
    }

    #[test]
    fn observing_is_one_queue_without_a_rate() {
        let policy = compiled("download = '1mbit'\nmode = 'observe'", "");
        assert_eq!((policy.leaves, policy.bands, policy.observed), ([0; 7], [0; 7], (0, 0)));
        for tree in policy.trees {
            let [leaf] = &tree.leaves[..] else { panic!("{tree:?}") };
            assert_eq!((tree.link, leaf.guarantee, leaf.ceiling, leaf.band), (None, None, None, 0));
            assert_eq!((leaf.limit, tree.max_bytes, tree.max_frames), (u64::MAX, u64::MAX, QUEUED_FRAMES));
        }
    }

    #[test]
    fn everything_that_a_rule_says_is_kept() {
        let matches = "{ app = 'ssh', address = '192.0.2.0/24', inside = '10.0.0.1', outside = '0.0.0.0/0', \
                       port = '22-23', protocol = 'tcp', vlan = 0, dscp = 'EF' }";
        let config = read("", &format!("[[rule]]\nmatch = {matches}\nclass = 'file'")).unwrap();
        let apps = Apps::builtin();
        let prefix = |address: [u8; 4], length| Prefix::new(address.into(), length);
        let expected = classify::Rule {
            address: prefix([192, 0, 2, 0], 24),
            inside: prefix([10, 0, 0, 1], 32),
            outside: prefix([0; 4], 0),
            ports: vec![22..=23],
            protocol: Some(6),
            vlan: Some(0),
            dscp: Some(46),
            app: apps.id("ssh"),
            class: Class::File,
        };
        assert_eq!(rule(&config.rules[0], &apps), expected);
        let config = read("", "[[rule]]\nmatch = { dscp = 0 }\nclass = 'file'").unwrap();
        assert_eq!(rule(&config.rules[0], &apps), classify::Rule { dscp: Some(0), ..classify::Rule::all(Class::File) });
    }

    #[test]
    fn the_classifier_gets_every_prefix_and_the_mode() {
        let net = |text: &str| text.parse().unwrap();
        let subscriber = |name: &str, addresses, mode| Subscriber { name: name.into(), addresses, mode, policer: None };
        let compiled = subscribers(&[
            subscriber("a", vec![net("192.0.2.0/24"), net("2001:db8::/32")], Mode::Enforce),
            subscriber("b", vec![net("192.0.2.10/32")], Mode::Observe),
        ]);
        for (address, observed) in
            [("192.0.2.9", Some(false)), ("192.0.2.10", Some(true)), ("2001:db8::1", Some(false)), ("::", None)]
        {
            let bits = match address.parse::<IpAddr>().unwrap() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            assert_eq!(compiled.of(bits).map(|subscriber| subscriber.observed), observed, "{address}");
        }
    }

    /// A rate that a policy may have, the extremes often.
    fn rates() -> impl Strategy<Value = String> {
        let bits = prop_oneof![
            Just(MIN_RATE.0),
            Just(bucket::MAX_RATE.0),
            MIN_RATE.0..1_000_000,
            MIN_RATE.0..=bucket::MAX_RATE.0,
        ];
        bits.prop_map(|bits| format!("{bits}bit"))
    }

    /// The line `key = "value"`, or none.
    fn line(key: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        prop::option::of(value)
            .prop_map(move |value| value.map_or(String::new(), |value| format!("{key} = \"{value}\"\n")))
    }

    /// A table `[[class]]` that often, not always, keeps to what a policy may say.
    fn class(class: Class) -> impl Strategy<Value = String> {
        let small = (0..1_500u32).prop_map(|hundredths| Percent(hundredths).to_string());
        let large = (3_000..=10_000u32).prop_map(|hundredths| Percent(hundredths).to_string());
        (
            line("guarantee", prop_oneof![9 => small, 1 => rates()]),
            line("ceiling", prop_oneof![4 => large, 1 => rates()]),
            line("priority", (0..=7u8).prop_map(|number| number.to_string())),
            line("weight", (1..=100u8).prop_map(|number| number.to_string())),
        )
            .prop_map(move |(a, b, c, d)| format!("[[class]]\nname = \"{class}\"\n{a}{b}{c}{d}"))
    }

    proptest! {
        /// Whatever passes the check becomes trees that can be built, in which no leaf has more than its link.
        #[test]
        fn what_is_accepted_compiles(
            wire in (line("download", rates()), line("upload", rates()), line("queue", (100..=10_000_000u32).prop_map(|us| format!("{us}us")))),
            classes in prop::sample::subsequence(Class::OPERATORS.to_vec(), 0..=6)
                .prop_flat_map(|classes| classes.into_iter().map(class).collect::<Vec<_>>()),
        ) {
            let config = read(&[wire.0, wire.1, wire.2].concat(), &classes.concat());
            prop_assume!(config.is_ok());
            let config = config.unwrap();
            for spec in policy(&config, &config.wires[0], 1).trees {
                let tree = Tree::new(&spec, Nanos(1));
                prop_assert_eq!(tree.link_rate(), spec.link);
                for leaf in &spec.leaves {
                    prop_assert!(leaf.guarantee.is_none_or(|rate| spec.link.is_none_or(|link| rate <= link)));
                    prop_assert!(leaf.ceiling.is_none_or(|rate| rate >= MIN_RATE && spec.link.is_none_or(|link| rate < link)));
                    prop_assert!((LEAF_BYTES_MIN..=QUEUED_BYTES).contains(&leaf.limit) && leaf.quantum >= FULL_FRAME);
                }
            }
        }
    }
}
