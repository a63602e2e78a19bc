//! The policy, changed while flows are known.

use std::sync::Arc;

use etherparse::PacketBuilder;
use tidegate::classify::Class;
use tidegate::frame::Side;
use tidegate::units::Nanos;

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{Talk, VOICE};

/// The class in which each of `frames` leaves, coming in outside.
fn classes(bridge: &mut Bridge, frames: &[Vec<u8>]) -> Vec<Class> {
    let start = bridge.now;
    for (n, frame) in (1..).zip(frames) {
        assert!(bridge.cables_in[Side::Outside as usize].push(start + Nanos(n), frame));
    }
    let mut classes = Vec::new();
    bridge.run([&mut std::iter::empty(), &mut std::iter::empty()], Nanos::MAX, |_, frame| {
        let class = frame.origin.and_then(|origin| Class::from_slot(origin.class));
        classes.push(class.expect("it went through the bridge"));
    });
    classes
}

const RULE: &str = "[[rule]]\nmatch = { port = 5060 }\nclass = \"file\"\n";

#[test]
fn flows_that_are_known_are_judged_again_under_a_new_policy() {
    let mut bridge = Bridge::new(policy(""), &Size::default(), free_line);
    let frame = || vec![Talk::to(VOICE).frame(Side::Outside, 100, 0); 3];
    assert_eq!(classes(&mut bridge, &frame()), [Class::Voice; 3]);
    let mut changed = policy(RULE);
    changed.epoch = 2;
    bridge.ingress.judge().adopt(Arc::new(changed));
    assert_eq!(classes(&mut bridge, &frame()), [Class::File; 3]);
    let mut back = policy("");
    back.epoch = 3;
    bridge.ingress.judge().adopt(Arc::new(back));
    assert_eq!(classes(&mut bridge, &frame()), [Class::Voice; 3]);
    let account = bridge.settled();
    assert_eq!((account.flow_misses, account.flow_hits), (3, 6), "once for each policy");
}

#[test]
fn a_rule_on_the_marking_sees_the_marking_of_every_frame() {
    let marked = |dscp| Talk { dscp, ..Talk::to(40_000) }.frame(Side::Outside, 100, 0);
    let frames: Vec<_> = [0, 46, 46, 0, 46].map(marked).into();
    let mut bridge = Bridge::new(policy(""), &Size::default(), free_line);
    assert_eq!(classes(&mut bridge, &frames), [Class::Web; 5]);
    let account = bridge.settled();
    assert_eq!((account.flow_misses, account.flow_hits), (1, 4), "no rule looks at it");

    let rule = "[[rule]]\nmatch = { dscp = 46 }\nclass = \"voice\"\n";
    let mut bridge = Bridge::new(policy(rule), &Size::default(), free_line);
    let (web, voice) = (Class::Web, Class::Voice);
    assert_eq!(classes(&mut bridge, &frames), [web, voice, voice, web, voice]);
}

#[test]
fn what_keeps_the_network_alive_is_control_whatever_the_rules_say() {
    let macs = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let build = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frame.resize(frame.len().max(60), 0);
        frame
    };
    let ethernet =
        |destination: [u8; 6], ethertype: [u8; 2]| [&destination[..], &macs.0, &ethertype, &[0; 46]].concat();
    let hosts = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (near, far) = ([0xfe; 16], [0xfd; 16]);
    let frames = [
        ethernet([0xff; 6], [0x08, 0x06]),
        ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], [0x88, 0xcc]),
        build(&|frame| {
            let neighbour = PacketBuilder::ethernet2(macs.0, macs.1).ipv6(near, far, 255).icmpv6_raw(135, 0, [0; 4]);
            neighbour.write(frame, &[0; 16]).unwrap();
        }),
        build(&|frame| {
            let bgp = PacketBuilder::ethernet2(macs.0, macs.1).ipv4(hosts.0, hosts.1, 1).tcp(40_000, 179, 1, 1_024);
            bgp.write(frame, &[0; 19]).unwrap();
        }),
    ];
    let everything = "[[rule]]\nmatch = { address = \"0.0.0.0/0\" }\nclass = \"background\"\n[[rule]]\nmatch = { address = \"::/0\" }\nclass = \"background\"\n";
    let mut bridge = Bridge::new(policy(everything), &Size::default(), free_line);
    assert_eq!(classes(&mut bridge, &frames), [Class::Control; 4]);
    assert_eq!(classes(&mut bridge, &[Talk::to(VOICE).frame(Side::Outside, 100, 0)]), [Class::Background]);
}
