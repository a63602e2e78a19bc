//! Whose traffic it is, by the address on the inside.

use super::Prefix;

/// What the policy says of one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The subscriber's addresses.
    pub prefixes: Vec<Prefix>,
    /// Whether its traffic is only classified and counted.
    pub observed: bool,
}

/// All subscribers, and which of them has an address: the one with the longest prefix that holds it.
///
/// Prefixes lie within one another or apart, so together they cut the addresses into blocks that follow one another, each
/// with one owner or none; a search among the blocks' first addresses finds the owner without looking at prefixes again.
#[derive(Clone, Debug, Default)]
pub struct Subscribers {
    subscribers: Vec<Subscriber>,
    /// In the order of their addresses; what lies before the first is nobody's.
    blocks: Vec<Block>,
}

/// The addresses from `first` up to the next block, and the index of the subscriber who has them.
#[derive(Clone, Copy, Debug)]
struct Block {
    first: u128,
    owner: Option<u16>,
}

impl Subscribers {
    /// The most subscribers that there may be.
    pub const MAX: usize = u16::MAX as usize + 1;

    /// Takes the subscribers; of those that have the very same prefix, the last has it.
    ///
    /// # Panics
    ///
    /// If there are more than [`Subscribers::MAX`].
    pub fn new(subscribers: Vec<Subscriber>) -> Subscribers {
        let count = subscribers.len();
        assert!(count <= Subscribers::MAX, "{count} subscribers, at most {} can be numbered", Subscribers::MAX);
        let prefixes = (0..=u16::MAX).zip(&subscribers).flat_map(|(owner, subscriber)| {
            subscriber.prefixes.iter().map(move |prefix| (prefix.first(), prefix.last(), owner))
        });
        let blocks = blocks(prefixes.collect());
        Subscribers { subscribers, blocks }
    }

    /// Who has `address`, a number with IPv4 mapped; the time it takes grows with the logarithm of the number of prefixes.
    pub fn of(&self, address: u128) -> Option<&Subscriber> {
        self.subscribers.get(usize::from(self.index_of(address)?))
    }

    /// The place of who has `address` among the subscribers, from 0; as fast.
    pub fn index_of(&self, address: u128) -> Option<u16> {
        let behind = self.blocks.partition_point(|block| block.first <= address);
        self.blocks.get(behind.checked_sub(1)?)?.owner
    }

    /// Whether there is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }
}

/// Cuts the addresses into blocks by prefixes given as (first address, last address, owner).
fn blocks(mut prefixes: Vec<(u128, u128, u16)>) -> Vec<Block> {
    // What holds others comes before them.
    prefixes.sort_by_key(|&(first, last, _)| (first, !last));
    let mut blocks: Vec<Block> = Vec::new();
    let mut begin = |first, owner| {
        // A block that was begun at the same address was empty.
        blocks.pop_if(|block| block.first == first);
        blocks.push(Block { first, owner });
    };
    // The prefixes that hold the place reached so far, the longest last.
    let mut around: Vec<(u128, u16)> = Vec::new();
    for (first, last, owner) in prefixes {
        end(&mut around, Some(first), &mut begin);
        begin(first, Some(owner));
        around.push((last, owner));
    }
    end(&mut around, None, &mut begin);
    blocks
}

/// Ends the prefixes that reach no further than to `before`, or all; behind each begins a block of the one around it.
fn end(around: &mut Vec<(u128, u16)>, before: Option<u128>, begin: &mut impl FnMut(u128, Option<u16>)) {
    while let Some((last, _)) = around.pop_if(|(last, _)| before.is_none_or(|before| *last < before)) {
        // Nothing begins behind the last address of all.
        if let Some(next) = last.checked_add(1) {
            begin(next, around.last().map(|&(_, owner)| owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn bits(text: &str) -> u128 {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn subscriber(prefixes: &[(&str, u8)], observed: bool) -> Subscriber {
        let prefixes = prefixes.iter().map(|(address, length)| Prefix::new(address.parse().unwrap(), *length).unwrap());
        Subscriber { prefixes: prefixes.collect(), observed }
    }

    #[test]
    fn the_longest_prefix_decides_and_what_is_behind_it_is_the_outer_ones_again() {
        let subscribers = [
            subscriber(&[("192.0.2.0", 24), ("2001:db8:1::", 48)], false),
            subscriber(&[("192.0.2.10", 32), ("2001:db8:1:2::", 64)], true),
        ];
        let subscribers = Subscribers::new(subscribers.into());
        for (address, observed) in [
            ("192.0.1.255", None),
            ("192.0.2.0", Some(false)),
            ("192.0.2.9", Some(false)),
            ("192.0.2.10", Some(true)),
            ("192.0.2.11", Some(false)),
            ("192.0.2.255", Some(false)),
            ("192.0.3.0", None),
            ("2001:db8:1:1:ffff:ffff:ffff:ffff", Some(false)),
            ("2001:db8:1:2::", Some(true)),
            ("2001:db8:1:3::", Some(false)),
            ("2001:db8:2::", None),
            ("::", None),
        ] {
            let of = subscribers.of(bits(address));
            assert_eq!(of.map(|subscriber| subscriber.observed), observed, "{address}");
        }
    }

    #[test]
    fn a_prefix_may_reach_to_the_end_of_all_addresses() {
        let subscribers = Subscribers::new(vec![subscriber(&[("::", 0)], false), subscriber(&[("ff00::", 8)], true)]);
        assert_eq!(subscribers.of(u128::MAX), Some(&subscribers.subscribers[1]));
        assert_eq!(subscribers.of(0), Some(&subscribers.subscribers[0]));
        assert_eq!(Subscribers::default().of(0), None);
    }

    proptest! {
        /// Among few addresses, so that prefixes meet, hold one another and stand side by side: the same owner as by
        /// looking at every prefix.
        #[test]
        fn the_owner_is_the_one_that_a_look_at_every_prefix_finds(
            prefixes in prop::collection::vec((0u128..64, 120u8..=128, any::<bool>()), 0..24),
            base in prop::sample::select(vec![0, 0xffu128 << 120, u128::MAX - 255]),
        ) {
            let subscribers = prefixes.into_iter().map(|(address, length, observed)| {
                let prefix = Prefix::new(Ipv6Addr::from_bits(base + address).into(), length).unwrap();
                Subscriber { prefixes: vec![prefix], observed }
            });
            let subscribers = Subscribers::new(subscribers.collect());
            for address in 0..256 {
                let holding = subscribers.subscribers.iter().filter(|of| of.prefixes[0].contains(base + address));
                // Of equally long ones the last.
                let expected = holding.max_by_key(|of| !(of.prefixes[0].last() - of.prefixes[0].first()));
                let found = subscribers.of(base + address);
                prop_assert_eq!(found.map(std::ptr::from_ref), expected.map(std::ptr::from_ref), "{}", base + address);
            }
            prop_assert!(base == 0 || subscribers.of(base - 1).is_none());
        }
    }
}
