//! What the operator says.

use std::ops::RangeInclusive;

use super::{AppId, Class, Prefix};
use crate::frame::Side;
use crate::wire::Packet;

/// One of the operator's rules: it matches what all of its given fields match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The address of either end.
    pub address: Option<Prefix>,
    /// The address of the end on the inside.
    pub inside: Option<Prefix>,
    /// The address of the end on the outside.
    pub outside: Option<Prefix>,
    /// The port of either end is in one of these; empty for any port, or none at all.
    pub ports: Vec<RangeInclusive<u16>>,
    /// The IP protocol number.
    pub protocol: Option<u8>,
    /// One of the two outer VLAN tags.
    pub vlan: Option<u16>,
    /// The DSCP with which the frame came.
    pub dscp: Option<u8>,
    /// The application that ports or protocol tell.
    pub app: Option<AppId>,
    /// The class that it puts in.
    pub class: Class,
}

impl Rule {
    /// A rule that puts everything in `class`; fields are to be added.
    pub const fn all(class: Class) -> Rule {
        Rule {
            address: None,
            inside: None,
            outside: None,
            ports: Vec::new(),
            protocol: None,
            vlan: None,
            dscp: None,
            app: None,
            class,
        }
    }

    fn matches(&self, facts: &Facts) -> bool {
        given(self.app, |app| app == facts.app)
            && given(self.protocol, |protocol| facts.ip.as_ref().is_some_and(|ip| ip.protocol == protocol))
            && given(self.dscp, |dscp| facts.ip.as_ref().is_some_and(|ip| ip.dscp == dscp))
            && given(self.vlan, |vlan| facts.vlans.contains(&Some(vlan)))
            && given(self.inside, |block| facts.ip.as_ref().is_some_and(|ip| block.contains(ip.inside)))
            && given(self.outside, |block| facts.ip.as_ref().is_some_and(|ip| block.contains(ip.outside)))
            && given(self.address, |block| {
                facts.ip.as_ref().is_some_and(|ip| block.contains(ip.inside) || block.contains(ip.outside))
            })
            && (self.ports.is_empty()
                || facts
                    .ports
                    .is_some_and(|ends| self.ports.iter().any(|range| ends.iter().any(|port| range.contains(port)))))
    }
}

/// Whether `field` is absent or `matches`.
fn given<T>(field: Option<T>, matches: impl FnOnce(T) -> bool) -> bool {
    field.is_none_or(matches)
}

/// What rules look at in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    ip: Option<Ip>,
    ports: Option<[u16; 2]>,
    vlans: [Option<u16>; 2],
    app: AppId,
}

#[derive(Clone, Copy, Debug)]
struct Ip {
    inside: u128,
    outside: u128,
    protocol: u8,
    dscp: u8,
}

impl Facts {
    /// The facts of a packet that came in at `side` and whose ports tell `app`.
    pub fn of(packet: &Packet, frame: &[u8], side: Side, app: AppId) -> Facts {
        let ip = super::ends(packet, frame, side).map(|(inside, outside)| Ip {
            inside,
            outside,
            protocol: packet.protocol,
            dscp: packet.ds_field >> 2,
        });
        Facts {
            ip,
            ports: super::ports(packet),
            vlans: [
                (packet.vlan_tags >= 1).then_some(packet.vlan[0]),
                (packet.vlan_tags >= 2).then_some(packet.vlan[1]),
            ],
            app,
        }
    }
}

/// The operator's rules in order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    uses_dscp: bool,
}

impl Rules {
    /// The most rules that there may be.
    pub const MAX: usize = u16::MAX as usize + 1;

    /// Takes the rules in their order.
    ///
    /// # Panics
    ///
    /// If there are more than [`Rules::MAX`].
    pub fn new(rules: Vec<Rule>) -> Rules {
        assert!(rules.len() <= Rules::MAX, "{} rules, at most {} can be numbered", rules.len(), Rules::MAX);
        let uses_dscp = rules.iter().any(|rule| rule.dscp.is_some());
        Rules { rules, uses_dscp }
    }

    /// The index and class of the first rule that matches; the time it takes grows with the number of rules.
    pub fn judge(&self, facts: &Facts) -> Option<(u16, Class)> {
        let index = self.rules.iter().position(|rule| rule.matches(facts))?;
        Some((index as u16, self.rules[index].class))
    }

    /// Whether a verdict depends on the DSCP of the frame, so that it holds only for frames of the same DSCP.
    pub fn uses_dscp(&self) -> bool {
        self.uses_dscp
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::frames;
    use super::*;

    fn prefix(text: &str, length: u8) -> Option<Prefix> {
        Some(Prefix::new(text.parse::<IpAddr>().unwrap(), length).unwrap())
    }

    /// Whether `rule` matches a frame that came in on the inside.
    fn matches(rule: &Rule, frame: &[u8]) -> bool {
        rule.matches(&Facts::of(&Packet::parse(frame), frame, Side::Inside, AppId::UNKNOWN))
    }

    #[test]
    fn the_first_match_wins() {
        let rules = Rules::new(vec![
            Rule { protocol: Some(17), ..Rule::all(Class::Gaming) },
            Rule { ports: vec![443..=443], ..Rule::all(Class::Video) },
            Rule::all(Class::Background),
        ]);
        let judge = |frame: &[u8]| rules.judge(&Facts::of(&Packet::parse(frame), frame, Side::Inside, AppId::UNKNOWN));
        assert_eq!(judge(&frames::udp(5, 443)), Some((0, Class::Gaming)));
        assert_eq!(judge(&frames::tcp(443, 5)), Some((1, Class::Video)));
        assert_eq!(judge(&frames::tcp(5, 6)), Some((2, Class::Background)));
        assert_eq!(Rules::default().judge(&Facts::of(&Packet::parse(&[]), &[], Side::Inside, AppId::UNKNOWN)), None);
    }

    #[test]
    fn all_given_fields_must_match() {
        let rule = Rule {
            address: prefix("10.0.0.0", 8),
            inside: prefix("10.0.0.1", 32),
            outside: prefix("192.0.2.0", 24),
            ports: vec![1000..=2000, 5060..=5060],
            protocol: Some(17),
            ..Rule::all(Class::Voice)
        };
        assert!(matches(&rule, &frames::udp(5060, 9)) && matches(&rule, &frames::udp(9, 2000)));
        assert!(!matches(&rule, &frames::udp(2001, 9)) && !matches(&rule, &frames::tcp(5060, 9)));
        assert!(!matches(&Rule { outside: prefix("192.0.3.0", 24), ..rule.clone() }, &frames::udp(5060, 9)));
        assert!(!matches(&Rule { dscp: Some(46), ..rule }, &frames::udp(5060, 9)));
    }

    #[test]
    fn inside_is_where_the_frame_says_from_where_it_comes() {
        let rule = Rule { inside: prefix("10.0.0.1", 32), ..Rule::all(Class::Voice) };
        let frame = frames::udp(1, 2);
        let from = |side| rule.matches(&Facts::of(&Packet::parse(&frame), &frame, side, AppId::UNKNOWN));
        assert!(from(Side::Inside) && !from(Side::Outside));
    }

    #[test]
    fn icmp_has_no_ports_and_what_is_not_ip_has_no_addresses() {
        let any_port = Rule { ports: vec![0..=65535], ..Rule::all(Class::Voice) };
        assert!(matches(&any_port, &frames::udp(1, 2)) && !matches(&any_port, &frames::icmpv6(128)));
        let any_address = Rule { address: prefix("::", 0), ..Rule::all(Class::Voice) };
        assert!(matches(&any_address, &frames::udp(1, 2)) && !matches(&any_address, &[0; 60]));
        assert!(matches(&Rule::all(Class::Voice), &[0; 60]));
    }

    #[test]
    fn the_absent_tag_is_not_vlan_zero() {
        let vlan = |id| Rule { vlan: Some(id), ..Rule::all(Class::Voice) };
        let tagged = frames::tagged(&[100, 7], &frames::udp(1, 2));
        assert!(matches(&vlan(100), &tagged) && matches(&vlan(7), &tagged) && !matches(&vlan(0), &tagged));
        assert!(!matches(&vlan(0), &frames::udp(1, 2)) && matches(&vlan(0), &frames::tagged(&[0], &frames::udp(1, 2))));
    }

    #[test]
    fn only_rules_with_a_dscp_use_it() {
        assert!(!Rules::new(vec![Rule::all(Class::Web)]).uses_dscp());
        let rule = Rule { dscp: Some(46), ..Rule::all(Class::Voice) };
        let mut frame = frames::udp(1, 2);
        assert!(!matches(&rule, &frame));
        frame[15] = 46 << 2 | 1;
        assert!(matches(&rule, &frame));
        assert!(Rules::new(vec![rule]).uses_dscp());
    }
}
