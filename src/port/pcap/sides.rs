//! Which side a captured frame came in by, when nobody says.

use std::collections::BTreeMap;

use crate::frame::Side;

/// The most pairs that are remembered.
const MAX_PAIRS: usize = 65_536;

/// The rule that the first sender of a MAC pair is inside.
///
/// Beyond 65,536 pairs the lower address of a new pair is inside; so is a frame too short for addresses.
#[derive(Debug, Default)]
pub struct MacPairs {
    /// For each pair, lower address first, whether the lower one is inside.
    pairs: BTreeMap<([u8; 6], [u8; 6]), bool>,
}

impl MacPairs {
    /// The side by which the Ethernet frame `frame` came in.
    pub fn side_of(&mut self, frame: &[u8]) -> Side {
        let (Some(&destination), Some(&source)) =
            (frame.first_chunk(), frame.get(6..).and_then(<[u8]>::first_chunk::<6>))
        else {
            return Side::Inside;
        };
        let from_lower = source <= destination;
        let pair = if from_lower { (source, destination) } else { (destination, source) };
        let lower_inside = match self.pairs.get(&pair) {
            Some(known) => *known,
            None if self.pairs.len() < MAX_PAIRS => *self.pairs.entry(pair).or_insert(from_lower),
            None => true,
        };
        if from_lower == lower_inside { Side::Inside } else { Side::Outside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(destination: u32, source: u32) -> Vec<u8> {
        let address = |n: u32| [&[2, 0][..], &n.to_be_bytes()].concat();
        [address(destination), address(source), vec![8, 0]].concat()
    }

    #[test]
    fn the_first_sender_is_inside_and_stays_there() {
        let mut pairs = MacPairs::default();
        assert_eq!(pairs.side_of(&frame(1, 9)), Side::Inside);
        assert_eq!(pairs.side_of(&frame(9, 1)), Side::Outside);
        assert_eq!(pairs.side_of(&frame(1, 9)), Side::Inside);
        assert_eq!(pairs.side_of(&frame(9, 8)), Side::Inside);
        assert_eq!(pairs.side_of(&[0; 11]), Side::Inside);
        assert_eq!(pairs.side_of(&frame(5, 5)), Side::Inside);
    }

    #[test]
    fn beyond_the_limit_the_order_of_addresses_decides() {
        let mut pairs = MacPairs::default();
        for n in 1..=MAX_PAIRS as u32 {
            assert_eq!(pairs.side_of(&frame(0, n)), Side::Inside);
        }
        assert_eq!(pairs.side_of(&frame(0, 1_000_000)), Side::Outside);
        assert_eq!(pairs.side_of(&frame(1_000_000, 0)), Side::Inside);
        assert_eq!(pairs.side_of(&frame(0, 7)), Side::Inside);
        assert_eq!(pairs.pairs.len(), MAX_PAIRS);
    }
}
