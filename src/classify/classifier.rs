//! The order in which the judges are asked.

use super::{AppId, Apps, Class, Facts, Reason, Rules, Verdict, control};
use crate::frame::Side;
use crate::wire::Packet;

/// Nine of ten verdicts by port are right on labelled captures of single applications.
const PORT_CONFIDENCE: u8 = 90;

/// Everything by which packets are judged; part of the policy, and as such never changed but replaced.
#[derive(Clone, Debug)]
pub struct Classifier {
    rules: Rules,
    apps: Apps,
}

impl Classifier {
    /// A classifier of the operator's `rules` and the table of `apps`.
    pub fn new(rules: Rules, apps: Apps) -> Classifier {
        Classifier { rules, apps }
    }

    /// Judges a packet that came in at `side`: control protocols, then rules, then ports, then the default.
    ///
    /// Meant for the first packet of a flow, and for each frame that belongs to none.
    pub fn judge(&self, packet: &Packet, frame: &[u8], side: Side) -> Verdict {
        let (app, class) = self.apps.of(packet);
        if control::is_control(packet, frame) {
            return Verdict { class: Class::Control, confidence: 100, app, reason: Reason::Control };
        }
        if !self.rules.is_empty() {
            let facts = Facts::of(packet, frame, side, app);
            if let Some((index, class)) = self.rules.judge(&facts) {
                return Verdict { class, confidence: 100, app, reason: Reason::Rule(index) };
            }
        }
        match class {
            Some(class) => Verdict { class, confidence: PORT_CONFIDENCE, app, reason: Reason::Port },
            None => Verdict::default(),
        }
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

    use super::super::{Rule, frames};
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
        assert_eq!((ruled.class, ruled.reason), (Class::File, Reason::Rule(0)));
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
        assert_eq!(judge(rule(), &frames::udp(53, 40000), Side::Outside).reason, Reason::Rule(0));
        assert_eq!(judge(rule(), &frames::udp(5353, 5353), Side::Outside).reason, Reason::Port);
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
