//! Link-loss carry-forward: when one port of a wire loses its link, the other is taken down, so that whoever is behind it
//! sees the loss.

use crate::frame::Side;
use crate::port::xdp::Condition;
use crate::units::Nanos;

/// How long a port that was brought up again may take to find its link: negotiation takes seconds on copper.
const GRACE: Nanos = Nanos::from_millis(10_000);

/// What is to be done to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Take it down.
    Cut(Side),
    /// Bring it up.
    Mend(Side),
}

/// What was carried on one wire.
#[derive(Debug, Default)]
pub(super) struct Carry {
    cut: Option<Side>,
    /// The port that was brought up last, and until when it may be without a link.
    mended: Option<(Side, Nanos)>,
}

impl Carry {
    /// The port that is down because the other lost its link.
    pub(super) fn cut(&self) -> Option<Side> {
        self.cut
    }

    /// What follows from the ports' conditions at `now`, by side.
    pub(super) fn decide(&mut self, conditions: [Condition; 2], now: Nanos) -> Option<Order> {
        let is_up = |side: Side| conditions[side as usize] == Condition::Up;
        if let Some(cut) = self.cut {
            if !is_up(cut.opposite()) {
                return None;
            }
            self.cut = None;
            self.mended = Some((cut, now + GRACE));
            return Some(Order::Mend(cut));
        }
        if let Some((side, until)) = self.mended
            && (is_up(side) || now > until)
        {
            self.mended = None;
        }
        let excused = |side: Side| self.mended.is_some_and(|(mended, _)| mended == side);
        let lost = |side: Side| conditions[side as usize] == Condition::NoCarrier && !excused(side);
        let side = Side::BOTH.into_iter().find(|side| lost(*side) && is_up(side.opposite()))?;
        self.cut = Some(side.opposite());
        Some(Order::Cut(side.opposite()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Down, NoCarrier, Up};

    const SECOND: Nanos = Nanos::from_millis(1_000);

    #[test]
    fn a_loss_is_carried_and_taken_back() {
        let mut carry = Carry::default();
        assert_eq!(carry.decide([Up, Up], Nanos(0)), None);
        assert_eq!(carry.decide([Up, NoCarrier], Nanos(1)), Some(Order::Cut(Side::Inside)));
        assert_eq!(carry.decide([Down, NoCarrier], SECOND), None);
        assert_eq!(carry.decide([Down, Up], SECOND), Some(Order::Mend(Side::Inside)));
        assert_eq!(carry.cut(), None);
    }

    #[test]
    fn a_port_that_was_just_brought_up_is_given_time_to_find_its_link() {
        let mut carry = Carry::default();
        carry.decide([NoCarrier, Up], Nanos(1));
        assert_eq!(carry.decide([Up, Down], SECOND), Some(Order::Mend(Side::Outside)));
        assert_eq!(carry.decide([Up, NoCarrier], SECOND + SECOND), None, "no cable is found in no time");
        let late = SECOND + GRACE + SECOND;
        assert_eq!(carry.decide([Up, NoCarrier], late), Some(Order::Cut(Side::Inside)), "it doesn't come back");
    }

    #[test]
    fn a_port_that_found_its_link_and_loses_it_again_has_no_excuse() {
        let mut carry = Carry::default();
        carry.decide([NoCarrier, Up], Nanos(1));
        carry.decide([Up, Down], SECOND);
        assert_eq!(carry.decide([Up, Up], SECOND), None);
        assert_eq!(carry.decide([Up, NoCarrier], SECOND), Some(Order::Cut(Side::Inside)));
    }

    #[test]
    fn what_an_operator_took_down_and_what_both_lost_is_nobodys_to_carry() {
        let mut carry = Carry::default();
        for conditions in [[Up, Down], [NoCarrier, NoCarrier], [Condition::Gone, Up]] {
            assert_eq!(carry.decide(conditions, SECOND), None, "{conditions:?}");
        }
    }
}
