//! From what the operator wrote to what the datapath does.

use super::{Config, IpNet, Mode, Percent, Share};
use crate::classify::{Apps, Class, Classifier, Prefix, Rule, Rules};
use crate::datapath::Policy;
use crate::datapath::counters::CLASSES;
use crate::qos::{LeafSpec, TreeSpec};
use crate::units::{Nanos, Rate};

/// The bytes of a full frame on Ethernet: what one turn is worth among equals of weight 1.
const FULL_FRAME: u32 = 1_538;

/// How long a link's bucket may save up: covers the time that a worker comes late.
const BURST: Nanos = Nanos::from_millis(1);

/// The most frames that the queues of one direction hold.
const QUEUED_FRAMES: u32 = 8_192;

/// The most bytes that they hold: as many full frames.
const QUEUED_BYTES: u64 = QUEUED_FRAMES as u64 * 1_514;

/// The least that a leaf may hold, so that a slow link still carries a burst.
const LEAF_BYTES_MIN: u64 = 32 * 1_514;

/// Control traffic's own promise and cap: it keeps the network alive and must not be a way around the plan.
const CONTROL_GUARANTEE: Share = Share::Percent(Percent(200));
const CONTROL_CEILING: Share = Share::Percent(Percent(1_000));

/// The policy that `config` means, as number `epoch`.
pub fn policy(config: &Config, epoch: u32) -> Policy {
    let apps = Apps::builtin();
    let rules = config.rules.iter().map(|rule| rule_of(rule, &apps)).collect();
    let classifier = Classifier::new(Rules::new(rules), apps);
    match config.wire.mode {
        Mode::Enforce => Policy {
            epoch,
            classifier,
            leaves: std::array::from_fn(|slot| slot as u16),
            bands: Class::ALL.map(Class::band),
            // What leaves by the inside port is the download.
            trees: [tree(config, config.wire.download), tree(config, config.wire.upload)],
        },
        // Everything in one band and one leaf without a rate: nothing overtakes and nothing waits.
        Mode::Observe => Policy {
            epoch,
            classifier,
            leaves: [0; CLASSES],
            bands: [0; CLASSES],
            trees: [observing(config), observing(config)],
        },
    }
}

fn tree(config: &Config, link: Option<Rate>) -> TreeSpec {
    let limit = link.map_or(QUEUED_BYTES, |rate| rate.bytes_in(config.wire.queue).max(LEAF_BYTES_MIN));
    let leaf = |class: Class, priority, weight, guarantee: Share, ceiling: Share| LeafSpec {
        guarantee: share_of(guarantee, link),
        // A ceiling at the link's own rate says nothing that the link doesn't.
        ceiling: share_of(ceiling, link).filter(|rate| link.is_none_or(|link| *rate < link)),
        burst: link.map_or(0, burst_at),
        priority,
        quantum: weight * FULL_FRAME,
        limit,
        band: class.band(),
    };
    let mut leaves = vec![leaf(Class::Control, 0, 1, CONTROL_GUARANTEE, CONTROL_CEILING)];
    leaves.extend(
        config
            .classes
            .iter()
            .map(|class| leaf(class.class, class.priority + 1, class.weight, class.guarantee, class.ceiling)),
    );
    TreeSpec {
        link,
        burst: link.map_or(0, burst_at),
        overhead: config.wire.overhead,
        leaves,
        max_frames: QUEUED_FRAMES,
        max_bytes: QUEUED_BYTES,
    }
}

fn observing(config: &Config) -> TreeSpec {
    TreeSpec {
        link: None,
        burst: 0,
        overhead: config.wire.overhead,
        leaves: vec![LeafSpec {
            guarantee: None,
            ceiling: None,
            burst: 0,
            priority: 0,
            quantum: FULL_FRAME,
            limit: QUEUED_BYTES,
            band: 0,
        }],
        max_frames: QUEUED_FRAMES,
        max_bytes: QUEUED_BYTES,
    }
}

/// A share in bits per second; a percentage of a link without a rate is none.
fn share_of(share: Share, link: Option<Rate>) -> Option<Rate> {
    let rate = match (share, link) {
        (Share::Rate(rate), _) => rate,
        (Share::Percent(_), Some(link)) => share.of(link),
        (Share::Percent(_), None) => return None,
    };
    (rate.0 > 0).then_some(rate)
}

/// What may leave at once after a pause: two full frames at least.
fn burst_at(rate: Rate) -> u32 {
    u32::try_from(rate.bytes_in(BURST)).unwrap_or(u32::MAX).clamp(2 * FULL_FRAME, crate::qos::bucket::MAX_BURST)
}

fn rule_of(rule: &super::Rule, apps: &Apps) -> Rule {
    let matches = &rule.matches;
    let prefix =
        |net: IpNet| Prefix::new(net.addr(), net.prefix_len()).expect("a checked prefix is no longer than its address");
    Rule {
        address: matches.address.map(prefix),
        inside: matches.inside.map(prefix),
        outside: matches.outside.map(prefix),
        ports: matches.port.iter().cloned().collect(),
        protocol: matches.protocol,
        vlan: matches.vlan,
        dscp: matches.dscp,
        app: matches.app.as_deref().and_then(|name| apps.id(name)),
        class: rule.class,
    }
}
