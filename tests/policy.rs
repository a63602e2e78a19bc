//! Policies as operators write them: the examples, every mistake at once, and files that are no policies at all.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use proptest::prelude::*;
use tidegate::classify::Class;
use tidegate::config::{self, Config, IpNet, KEYS, Mode, Percent, Share, compile};
use tidegate::frame::Side;
use tidegate::qos::Mark;
use tidegate::units::{Nanos, Rate};
use tidegate::wire::Packet;

const HOME: &str = include_str!("../config/home.toml");
const ISP: &str = include_str!("../config/isp.toml");

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "TIDEGATE_INSIDE" => "eth3",
        "TIDEGATE_OUTSIDE" => "eth4",
        "TIDEGATE_VLAN" => "100",
        "TIDEGATE_BAD" => "20mb",
        _ => return None,
    };
    Some(value.into())
}

fn read(text: &str) -> Result<Config, String> {
    config::with_variables("t.toml", text, &variables).map_err(|errors| errors.to_string())
}

/// The smallest policy, with `more` behind it.
fn wire_and(more: &str) -> Result<Config, String> {
    read(&format!("[[wire]]\ninside = \"a\"\noutside = \"b\"\n{more}"))
}

#[test]
fn the_examples_are_policies() {
    let home = read(HOME).unwrap();
    assert_eq!(home.wires[0].download, Some(Rate(240_000_000)));
    assert_eq!(home.classes, Config::default_policy().classes);
    assert_eq!(home.rules[0].matches.inside, Some("192.168.1.20/32".parse::<IpNet>().unwrap()));

    let isp = read(ISP).unwrap();
    assert_eq!((isp.wires[0].inside.as_str(), isp.wires[0].outside.as_str()), ("eth3", "eth4"));
    assert_eq!((isp.wires[0].mode, isp.wires[0].queue), (Mode::Enforce, Nanos::from_millis(30)));
    assert_eq!(isp.cores.workers, [1, 2]);
    assert_eq!(isp.classes[2].guarantee, Share::Percent(Percent(3_500)));
    assert_eq!(isp.classes[5].ceiling, Share::Rate(Rate(4_000_000_000)));
    assert_eq!(isp.rules[1].matches.port, Some(5060..=5061));
    assert_eq!((isp.classes[0].mark, isp.classes[2].mark), (Mark::Set(46), Mark::Map));
    assert_eq!(isp.remarks.iter().map(|remark| (remark.from, remark.to)).collect::<Vec<_>>(), [(8, 1), (1, 1)]);
    assert_eq!((isp.subscribers[0].name.as_str(), isp.subscribers[0].mode), ("acme", Mode::Observe));
    assert_eq!(ISP.lines().nth(isp.rules[3].line as usize - 1), Some("[[rule]]"));
    for config in [home, isp] {
        assert_eq!(config.warnings, []);
    }
}

#[test]
fn the_examples_comment_every_key_and_the_isps_has_them_all() {
    for example in [HOME, ISP] {
        for line in example.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            assert!(line.contains("  # "), "no comment: {line}");
        }
    }
    for key in KEYS {
        assert!(ISP.contains(&format!("{} = ", key.name)), "config/isp.toml doesn't show {}", key.name);
    }
}

#[test]
fn every_mistake_shows_at_once_and_where_it_is() {
    let text = r#"
[[wire]]
inside = "eth0"
outside = "eth0"
downlaod = "20mbit"
download = "20mb"
upload = "20mbps"
overhead = 257
mode = observe
queue = 50
on_failure = "ajar"
link_lost = "carry"

[cores]
control = -1
workers = [1, "x", 1.5, 2000]
idle = true

[[class]]
name = "voice"
guarantee = "40%"

[[class]]
name = "voice"
ceiling = "0%"
priority = 8
weight = "${TIDEGATE_UNSET}"

[[class]]
name = "control"
mark = "EF"

[[rule]]
match = { address = "192.0.2.7/24", inside = "::/0", outside = "10.0.0.0/8", vlan = 4095 } # ü
class = "vioce"

[[rule]]
match = { app = "für alle", port = "9-5", "ü" = 1, dscp = "AF44", protocol = "smtp" }

[[rule]]
match = { port = 53, protocol = "icmp", app = "smpt" }
class = 5

[[rule]]
match = {}

[[rule]]
match = "everything"
class = "${HOME}"

[api]
listen = "0.0.0.0:80"

[forecast]
[[wire]]
inside = "a name that's too long"
outside = "eth0"

[[wire]]
inside = "eth0"
outside = "eth1"
"#;
    let expected = r#"
t.toml:4:11: wire.outside: got "eth0" again, want another interface than inside
t.toml:5:1: wire.downlaod: got an unknown key, want download
t.toml:6:12: wire.download: got "20mb", want a rate like "20mbit"
t.toml:7:10: wire.upload: got "20mbps", want "bit" as in "20mbit", because some read "bps" as bits and some as bytes
t.toml:8:12: wire.overhead: got 257, want "none" or "ethernet" or a number of bytes from 0 to 256
t.toml:9:8: syntax: got "observe", want TOML: string values must be quoted, expected literal string
t.toml:10:9: wire.queue: got 50, want a time like "5ms"
t.toml:11:14: wire.on_failure: got "ajar", want "open" or "closed"
t.toml:12:1: wire.link_lost: got an unknown key, want link_loss
t.toml:15:11: cores.control: got -1, want a whole number from 0 to 1023
t.toml:16:15: cores.workers: got "x", want a whole number from 0 to 1023
t.toml:16:20: cores.workers: got 1.5, want a whole number from 0 to 1023
t.toml:16:25: cores.workers: got 2000, want a whole number from 0 to 1023
t.toml:17:8: cores.idle: got true, want "sleep" or "spin"
t.toml:21:13: class.guarantee: got 40%, want at most the ceiling, 30% by default
t.toml:24:8: class.name: got voice again, want each class once: it's on line 19
t.toml:25:11: class.ceiling: got "0%", want more than nothing
t.toml:26:12: class.priority: got 8, want a whole number from 0 to 7
t.toml:27:10: class.weight: got "${TIDEGATE_UNSET}", want a variable ${TIDEGATE_…} that is set
t.toml:30:8: class.name: got "control", want one of "voice", "gaming", "video", "web", "file", "background"; control is internal: what keeps the network alive is in it anyway
t.toml:31:1: class.mark: got an unknown key, want one of name, guarantee, ceiling, priority, weight, dscp
t.toml:34:21: rule.match.address: got "192.0.2.7/24", want no bits behind the prefix: "192.0.2.0/24" for the network, or "192.0.2.7" for the host
t.toml:34:64: rule.match.outside: got 10.0.0.0/8, want the IP version of inside: no frame has both
t.toml:34:85: rule.match.vlan: got 4095, want a whole number from 0 to 4094
t.toml:35:9: rule.class: got "vioce", want one of "voice", "gaming", "video", "web", "file", "background"
t.toml:38:17: rule.match.app: got "für alle", want an application of the port table, like "ssh"; docs/classification.md tells where it is
t.toml:38:36: rule.match.port: got "9-5", want the lower port first: "5-9"
t.toml:38:43: rule.match.ü: got an unknown key, want one of app, address, inside, outside, port, protocol, vlan, dscp
t.toml:38:59: rule.match.dscp: got "AF44", want EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63
t.toml:38:78: rule.match.protocol: got "smtp", want one of icmp, igmp, tcp, udp, dccp, gre, esp, ah, icmp6, ospf, pim, vrrp, l2tp, sctp, udplite, or a number from 0 to 255
t.toml:41:18: rule.match.port: got a port with protocol 1, want tcp, udp or another protocol that has ports, or no protocol
t.toml:41:47: rule.match.app: got "smpt", want smtp
t.toml:42:9: rule.class: got 5, want one of "voice", "gaming", "video", "web", "file", "background"
t.toml:45:9: rule.match: got nothing, want at least one key: an empty match would take every frame
t.toml:48:9: rule.match: got "everything", want a table
t.toml:49:9: rule.class: got "${HOME}", want a variable ${TIDEGATE_…} that is set
t.toml:52:10: api.listen: got "0.0.0.0:80", want an address of this machine only, like "127.0.0.1:8088": put a proxy with TLS before it for others
t.toml:54:2: forecast: got an unknown key, want one of wire, cores, api, class, rule, remark, subscriber
t.toml:56:10: wire.inside: got "a name that's too long", want the name of an interface: at most 15 bytes, without spaces, slashes and colons
t.toml:60:10: wire.inside: got "eth0" again, want an interface of its own: it's on line 3"#;
    let errors = read(text).unwrap_err();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn what_is_missing_is_reported_where_it_should_be() {
    for (text, expected) in [
        ("", "t.toml:1:1: wire: got nothing, want [[wire]]"),
        ("[[wire]]\noutside = 'b'", "t.toml:1:1: wire.inside: got nothing, want an interface like \"eth1\""),
        ("[wire]\ninside = 'a'\noutside = 'b'", "t.toml:1:1: wire: got a table, want [[wire]]"),
        ("wire = [1]", "t.toml:1:9: wire: got 1, want [[wire]]"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
    let errors = wire_and("[[class]]\n[[rule]]\n[[cores]]\n").unwrap_err();
    let expected = [
        "t.toml:4:1: class.name: got nothing, want a class like \"voice\"",
        "t.toml:5:1: rule.match: got nothing, want a table like { port = 53 }",
        "t.toml:5:1: rule.class: got nothing, want a class like \"gaming\"",
        "t.toml:6:1: cores: got a list, want a table",
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn guarantees_fit_the_link_and_ceilings_their_guarantees() {
    let class = |name: &str, keys: &str| format!("[[class]]\nname = \"{name}\"\n{keys}\n");
    let links = "download = \"100mbit\"\nupload = \"10mbit\"\n";
    let web = class("web", "guarantee = \"35%\"");
    assert!(wire_and(&web).is_ok());
    for (text, expected) in [
        (
            format!("{web}{}", class("file", "guarantee = \"10.01%\"")),
            "t.toml:9:13: class.guarantee: got 100.01% for all classes together, want at most 100%",
        ),
        (
            format!("{links}{}", class("web", "guarantee = \"4mbit\"")),
            "t.toml:8:13: class.guarantee: got 10500kbit for all classes together, want at most 10mbit, which is wire.upload",
        ),
        (
            format!("{links}{}", class("web", "ceiling = \"2mbit\"")),
            "t.toml:8:11: class.ceiling: got 2mbit, want at least the guarantee, 25%",
        ),
        (class("web", "ceiling = \"24%\""), "t.toml:6:11: class.ceiling: got 24%, want at least the guarantee, 25%"),
    ] {
        assert_eq!(wire_and(&text).unwrap_err(), expected, "{text}");
    }
    assert!(wire_and(&format!("{links}{}", class("web", "guarantee = \"3500kbit\""))).is_ok());
}

#[test]
fn one_mistake_makes_one_line() {
    let texts = [
        "[[class]]\nname = \"web\"\nguarantee = \"90\"\nceiling = \"5%\"",
        "[[class]]\nname = \"wep\"\nguarantee = \"90%\"",
        "[[rule]]\nmatch = { prot = 5 }\nclass = \"web\"",
        "[cores\ncontrol = 1",
        "[[rule]]\nmatch = { port = }\nclass = \"web\"",
        "mode = \"enforce\"\nmode = \"observe\"",
        "[cores]\nworkers = []",
        "[[wire]]\ninside = \"e\"\noutside = \"f\"\non_failure = 1",
        "[cores]\nworkers = [1, 1]",
    ];
    for text in texts {
        let errors = wire_and(text).unwrap_err();
        assert_eq!(errors.lines().count(), 1, "{text}\n{errors}");
    }
}

#[test]
fn variables_stand_for_values_and_parts_of_them() {
    let rule = |vlan: &str| wire_and(&format!("[[rule]]\nmatch = {{ vlan = {vlan} }}\nclass = \"web\"\n"));
    assert_eq!(rule("\"${TIDEGATE_VLAN}\"").unwrap().rules[0].matches.vlan, Some(100));
    assert_eq!(rule("\"${TIDEGATE_VLAN}5\"").unwrap().rules[0].matches.vlan, Some(1005));
    let unset = "want a variable ${TIDEGATE_…} that is set";
    for got in ["${TIDEGATE_VLAN", "${PATH}", "${}", "${TIDEGATE_X}"] {
        let errors = rule(&format!("\"1{got}\"")).unwrap_err();
        assert_eq!(errors, format!("t.toml:5:18: rule.match.vlan: got {got:?}, {unset}"));
    }
    let errors = wire_and("download = \"${TIDEGATE_BAD}\"").unwrap_err();
    assert_eq!(errors, "t.toml:4:12: wire.download: got \"20mb\", want a rate like \"20mbit\"");
}

#[test]
fn a_rule_on_a_vlan_sees_the_two_outermost_tags_and_never_the_lack_of_one() {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [192, 0, 2, 1], 64);
    packet.udp(40_000, 40_001).write(&mut frame, &[0; 24]).unwrap();
    let tagged = |ids: &[u16]| {
        let tags = ids.iter().flat_map(|id| [[0x81, 0x00], id.to_be_bytes()]).flatten();
        frame[..12].iter().copied().chain(tags).chain(frame[12..].iter().copied()).collect::<Vec<u8>>()
    };
    let matches = |vlan: u16, tags: &[u16]| {
        let config = wire_and(&format!("[[rule]]\nmatch = {{ vlan = {vlan} }}\nclass = 'gaming'\n")).unwrap();
        let (policy, frame) = (compile::policy(&config, &config.wires[0], 1), tagged(tags));
        policy.classifier.judge(&Packet::parse(&frame), &frame, Side::Inside).class == Class::Gaming
    };
    assert!(matches(100, &[100]) && matches(100, &[100, 7]) && matches(100, &[7, 100]));
    assert!(!matches(100, &[]) && !matches(100, &[7]) && !matches(100, &[7, 8, 100]));
    assert!(matches(0, &[0]) && matches(0, &[0, 7]) && matches(0, &[7, 0]));
    assert!(!matches(0, &[]) && !matches(0, &[7]) && !matches(0, &[7, 8, 0]));
    // The upper four bits of a tag are priority and drop eligibility.
    assert!(matches(100, &[0xf000 | 100]));
}

#[test]
fn there_are_no_more_rules_than_can_be_numbered() {
    let rules = |count| wire_and(&"[[rule]]\nmatch = {vlan=1}\nclass = 'web'\n".repeat(count));
    assert_eq!(rules(65_536).unwrap().rules.len(), 65_536);
    let line = 4 + 3 * 65_536;
    assert_eq!(rules(65_538).unwrap_err(), format!("t.toml:{line}:1: rule: got 65538 rules, want at most 65536"));
}

/// A table `[[subscriber]]` of three lines.
fn subscriber(name: &str, addresses: &str) -> String {
    format!("[[subscriber]]\nname = \"{name}\"\naddresses = {addresses}\n")
}

#[test]
fn subscribers_have_names_and_addresses_of_their_own() {
    let many = |count| format!("[{}]", (0..count).map(|n| format!("\"10.0.0.{n}\", ")).collect::<String>());
    let alice = subscriber("alice", "[\"192.0.2.0/24\", \"2001:db8::1\"]");
    for (addresses, expected) in [
        ("[]", "9:13: subscriber.addresses: got an empty list, want 1 to 64; a block of addresses is one".into()),
        (&many(65), "9:13: subscriber.addresses: got 65 prefixes, want 1 to 64; a block of addresses is one".into()),
        ("\"192.0.2.1\"", "9:13: subscriber.addresses: got \"192.0.2.1\", want a list".into()),
        (
            "[\"10.0.0.1\", \"192.0.2.1/24\"]",
            "9:26: subscriber.addresses: got \"192.0.2.1/24\", want no bits behind the prefix: \"192.0.2.0/24\" for the \
             network, or \"192.0.2.1\" for the host"
                .into(),
        ),
        (
            "[7]",
            "9:14: subscriber.addresses: got 7, want an address or prefix like \"192.0.2.0/24\" or \"2001:db8::/32\"".into(),
        ),
        (
            "[\"192.0.2.0/24\"]",
            "9:14: subscriber.addresses: got 192.0.2.0/24 again, want each prefix once: \"alice\" has it on line 6".into(),
        ),
        (
            "[\"::ffff:192.0.2.0/120\"]",
            "9:14: subscriber.addresses: got ::ffff:192.0.2.0/120 again, want each prefix once: \"alice\" has it on line 6"
                .into(),
        ),
        (
            "[\"10.0.0.1\", \"10.0.0.1/32\"]",
            String::from("9:26: subscriber.addresses: got 10.0.0.1/32 again, want each prefix once: \"bob\" has it on line 9"),
        ),
    ] {
        let errors = wire_and(&format!("{alice}{}", subscriber("bob", addresses))).unwrap_err();
        assert_eq!(errors, format!("t.toml:{expected}"), "{addresses}");
    }
    let twice = wire_and(&format!("{alice}{}", subscriber("alice", "[\"10.0.0.1\"]"))).unwrap_err();
    assert_eq!(twice, "t.toml:8:8: subscriber.name: got \"alice\" again, want each name once: it's on line 5");
    let within = wire_and(&format!("{alice}{}", subscriber("bob", &many(64).replace("10.0.0", "192.0.2")))).unwrap();
    assert_eq!(within.subscribers.iter().map(|of| of.addresses.len()).collect::<Vec<_>>(), [2, 64]);
}

#[test]
fn every_mistake_of_a_subscriber_shows() {
    let errors = wire_and(
        "[[subscriber]]\nmod = \"observe\"\n[[subscriber]]\nname = \" \"\nmode = \"watch\"\naddresses = [\"x\", 1.5]\n",
    );
    let expected = [
        "t.toml:4:1: subscriber.name: got nothing, want a name like \"alice\"",
        "t.toml:4:1: subscriber.addresses: got nothing, want a list of prefixes like [\"192.0.2.10\", \"2001:db8:1::/48\"]",
        "t.toml:5:1: subscriber.mod: got an unknown key, want mode",
        "t.toml:7:8: subscriber.name: got \" \", want a name of 1 to 64 characters on one line, no spaces around it",
        "t.toml:8:8: subscriber.mode: got \"watch\", want \"enforce\" or \"observe\"",
        "t.toml:9:14: subscriber.addresses: got \"x\", want an address or prefix like \"192.0.2.0/24\" or \"2001:db8::/32\"",
        "t.toml:9:19: subscriber.addresses: got 1.5, want an address or prefix like \"192.0.2.0/24\" or \"2001:db8::/32\"",
    ];
    assert_eq!(errors.unwrap_err().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn there_are_no_more_subscribers_than_can_be_numbered() {
    let subscribers = |count| {
        (0..count).map(|n: u32| subscriber(&n.to_string(), &format!("[\"{}\"]", Ipv4Addr::from(n)))).collect::<String>()
    };
    let config = wire_and(&subscribers(65_536)).unwrap();
    assert_eq!(config.subscribers.len(), 65_536);
    let policy = compile::policy(&config, &config.wires[0], 1);
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([0, 0, 255, 255], [192, 0, 2, 1], 64);
    packet.udp(40_000, 40_001).write(&mut frame, &[0; 24]).unwrap();
    assert!(!policy.classifier.judge(&Packet::parse(&frame), &frame, Side::Inside).observed);
    let line = 4 + 3 * 65_536;
    let errors = wire_and(&subscribers(65_538)).unwrap_err();
    assert_eq!(errors, format!("t.toml:{line}:1: subscriber: got 65538 subscribers, want at most 65536"));
}

#[test]
fn every_mistake_about_marks_shows() {
    let text = r#"wash = "inside"
[[class]]
name = "voice"
dscp = "EF,"
[[class]]
name = "web"
dscp = 64
[[remark]]
to = "LE"
[[remark]]
from = "CS1"
to = "keep"
[[remark]]
from = "CS1"
to = "LE"
direction = "upload"
[[remark]]
from = 8
to = "CS0"
direction = "download"
[[remark]]
from = 8
to = "CS0"
[[remark]]
from = 3
to = 4
[[remark]]
from = 3
to = 3
direction = "down"
"#;
    let expected = [
        "t.toml:4:8: wire.wash: got \"inside\", want one of \"none\", \"download\", \"upload\", \"both\"",
        "t.toml:7:8: class.dscp: got \"EF,\", want \"keep\", \"wash\", EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63",
        "t.toml:10:8: class.dscp: got 64, want \"keep\", \"wash\", EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63",
        "t.toml:11:1: remark.from: got nothing, want a DSCP like \"CS1\"",
        "t.toml:15:6: remark.to: got \"keep\", want EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63",
        "t.toml:25:8: remark.from: got \"CS1\" again, want each mark once in a direction: it's on line 17",
        "t.toml:31:8: remark.from: got 3 again, want each mark once in a direction: it's on line 28",
        "t.toml:33:13: remark.direction: got \"down\", want one of \"download\", \"upload\", \"both\"",
    ];
    let errors = wire_and(text).unwrap_err();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_worker_on_the_control_core_is_warned_of() {
    let config = wire_and("[cores]\nworkers = [0]\n").unwrap();
    assert_eq!(config.cores.workers, [0]);
    let warning = "5:12: cores.workers: got core 0, the control core, want a core of its own for each worker where there are enough";
    assert_eq!(config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [warning]);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_count_for_nothing() {
    let errors = read("\u{feff}[[wire]]\r\ninside = \"a\"\r\noutside = \"b\"\r\nmode = \"x\"\r\n").unwrap_err();
    assert_eq!(errors, "t.toml:4:8: wire.mode: got \"x\", want \"enforce\" or \"observe\"");
}

#[test]
fn files_that_hold_no_text_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        bytes.inspect(|bytes| std::fs::write(&path, bytes).unwrap());
        let errors = config::load(&path).unwrap_err().to_string();
        errors.strip_prefix(&format!("{}/", folder.path().display())).unwrap().to_string()
    };
    assert_eq!(load("missing", None), "missing: No such file or directory (os error 2)");
    assert_eq!(load(".", None), ".: Is a directory (os error 21)");
    assert_eq!(
        load("latin1", Some(b"#\n# \xfc")),
        "latin1:2: got bytes that aren't UTF-8, want a policy file in UTF-8"
    );
    let huge = vec![b'#'; config::FILE_BYTES_MAX as usize + 1];
    assert_eq!(load("huge", Some(&huge)), "huge: got more than 16 MiB, want a policy file");
    assert_eq!(load("full", Some(&huge[1..])), "full:1:1: wire: got nothing, want [[wire]]");
}

#[test]
fn a_file_is_loaded_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home.toml");
    std::fs::write(&path, HOME).unwrap();
    assert_eq!(config::load(&path).unwrap(), read(HOME).unwrap());
}

proptest! {
    /// Whatever is done to a policy, checking it ends, and a refusal says where.
    #[test]
    fn damaged_policies_are_judged_without_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..8usize, "[\\[\\]{}=\"'$.,#\nü0-9a-z]{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = ISP.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(text.len());
            text.splice(at..text.len().min(at + removed), inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = read(&text) {
            for error in errors.lines() {
                let place: Vec<usize> = error.split(':').skip(1).take(2).map(|number| number.parse().unwrap()).collect();
                let line = text.split('\n').nth(place[0] - 1);
                prop_assert!(line.is_some_and(|line| (1..=line.chars().count() + 1).contains(&place[1])), "{}", error);
            }
        }
    }
}
