//! The order in which the judges are asked.

use super::{AppId, Apps, Class, Facts, Reason, Rules, Subscribers, Verdict, control};
use crate::frame::Side;
use crate::wire::Packet;

/// Nine of ten verdicts by port are right on labelled captures of single applications.
const PORT_CONFIDENCE: u8 = 90;

/// Everything by which packets are judged; part of the policy, and as such never changed but replaced.
#[derive(Clone, Debug)]
pub struct Classifier {
    rules: Rules,
    apps: Apps,
    subscribers: Subscribers,
}

impl Classifier {
    /// A classifier of the operator's `rules` and the table of `apps`, without subscribers.
    pub fn new(rules: Rules, apps: Apps) -> Classifier {
        Classifier { rules, apps, subscribers: Subscribers::default() }
    }

    /// The same, with `subscribers`.
    pub fn with_subscribers(self, subscribers: Subscribers) -> Classifier {
        Classifier { subscribers, ..self }
    }

    /// Judges a packet that came in at `side`: control protocols, then rules, then ports, then the default; and whose it is.
    ///
    /// Meant for the first packet of a flow, and for each frame that belongs to none.
    pub fn judge(&self, packet: &Packet, frame: &[u8], side: Side) -> Verdict {
        let verdict = self.class_of(packet, frame, side);
        Verdict { observed: self.is_observed(packet, frame, side), ..verdict }
    }

    fn class_of(&self, packet: &Packet, frame: &[u8], side: Side) -> Verdict {
        let (app, class) = self.apps.of(packet);
        let decided = |class, confidence, reason| Verdict { class, confidence, app, reason, ..Verdict::default() };
        if control::is_control(packet, frame) {
            return decided(Class::Control, 100, Reason::Control);
        }
        if !self.rules.is_empty() {
            let facts = Facts::of(packet, frame, side, app);
            if let Some((index, class)) = self.rules.judge(&facts) {
                return decided(class, 100, Reason::Rule(index.into()));
            }
        }
        match class {
            Some(class) => decided(class, PORT_CONFIDENCE, Reason::Port),
            None => Verdict::default(),
        }
    }

    /// Whether the address on the inside is that of a subscriber who is only observed.
    fn is_observed(&self, packet: &Packet, frame: &[u8], side: Side) -> bool {
        !self.subscribers.is_empty()
            && super::ends(packet, frame, side)
                .and_then(|(inside, _)| self.subscribers.of(inside))
                .is_some_and(|subscriber| subscriber.observed)
    }

    /// The place among the subscribers of the one whose packet this is, if it is anyone's.
    pub fn subscriber_of(&self, packet: &Packet, frame: &[u8], side: Side) -> Option<u16> {
        let (inside, _) = super::ends(packet, frame, side)?;
        self.subscribers.index_of(inside)
    }

    /// Whether verdicts depend on the DSCP of the frame.
    pub fn uses_dscp(&self) -> bool {
        self.rules.uses_dscp()
    }

    /// The name of `app`.
    pub fn app_name(&self, app: AppId) -> &str {
        self.apps.name(app)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Prefix, Rule, Subscriber, frames};
    use super::*;

    fn judge(rules: Vec<Rule>, frame: &[u8], side: Side) -> Verdict {
        Classifier::new(Rules::new(rules), Apps::builtin()).judge(&Packet::parse(frame), frame, side)
    }

    #[test]
    fn control_comes_before_rules_and_rules_before_ports() {
        let all_file = || vec![Rule::all(Class::File)];
        let bgp = judge(all_file(), &frames::tcp(40000, 179), Side::Inside);
        assert_eq!((bgp.class, bgp.reason), (Class::Control, Reason::Control));
        let ruled = judge(all_file(), &frames::udp(40000, 5060), Side::Inside);
        assert_eq!((ruled.class, ruled.reason), (Class::File, Reason::Rule(0.into())));
        let port = judge(vec![], &frames::udp(40000, 5060), Side::Inside);
        assert_eq!((port.class, port.reason), (Class::Voice, Reason::Port));
        assert_eq!(ruled.app, port.app, "a rule takes nothing from what is known");
        assert_eq!(judge(vec![], &frames::udp(40000, 40001), Side::Inside), Verdict::default());
    }

    #[test]
    fn a_rule_may_name_an_application() {
        let classifier = Classifier::new(Rules::default(), Apps::builtin());
        let dns = classifier.judge(&Packet::parse(&frames::udp(40000, 53)), &frames::udp(40000, 53), Side::Inside).app;
        assert_eq!(classifier.app_name(dns), "dns");
        let rule = || vec![Rule { app: Some(dns), ..Rule::all(Class::Web) }];
        assert_eq!(judge(rule(), &frames::udp(53, 40000), Side::Outside).reason, Reason::Rule(0.into()));
        assert_eq!(judge(rule(), &frames::udp(5353, 5353), Side::Outside).reason, Reason::Port);
    }

    #[test]
    fn whose_a_packet_is_depends_on_the_address_inside_and_on_nothing_else() {
        let prefixes = vec![Prefix::new([10, 0, 0, 1].into(), 32).unwrap()];
        let subscribers = Subscribers::new(vec![Subscriber { prefixes, observed: true }]);
        let rules = Rules::new(vec![Rule::all(Class::File)]);
        let classifier = Classifier::new(rules, Apps::builtin()).with_subscribers(subscribers);
        let observed = |frame: &[u8], side| classifier.judge(&Packet::parse(frame), frame, side).observed;
        // From 10.0.0.1.
        for frame in [frames::udp(1, 2), frames::tcp(40000, 179), frames::tagged(&[7], &frames::tcp(1, 2))] {
            assert!(observed(&frame, Side::Inside) && !observed(&frame, Side::Outside));
        }
        assert!(!observed(&frames::icmpv6(128), Side::Inside), "another address");
        assert!(!observed(&[0; 60], Side::Inside), "no address");
    }

    proptest! {
        #[test]
        fn both_directions_get_one_verdict(source: u16, destination: u16, tcp: bool) {
            // Control protocols on high ports look at the destination only, and reply to that port, not from it.
            let frame = if tcp { frames::tcp } else { frames::udp };
            let (there, back) = (frame(source, destination), frame(destination, source));
            let (there, back) = (judge(vec![], &there, Side::Inside), judge(vec![], &back, Side::Outside));
            prop_assume!(there.class != Class::Control && back.class != Class::Control);
            prop_assert_eq!(there, back);
        }

        #[test]
        fn any_bytes_get_a_verdict(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let rule = Rule { ports: vec![0..=65535], vlan: Some(1), ..Rule::all(Class::File) };
            judge(vec![rule], &frame, Side::Outside);
        }
    }
}
