//! What is dropped by intent, and how it is told.

use tidegate::classify::Class;
use tidegate::datapath::DropReason;
use tidegate::frame::Side;
use tidegate::units::Nanos;

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{Offer, Talk, VOICE};

#[test]
fn a_frame_longer_than_its_way_out_can_carry_is_dropped_and_counted() {
    let size = Size { max_frame: [1_514, 1_000], ..Size::default() };
    let mut bridge = Bridge::new(policy(""), &size, free_line);
    let talk = Talk::to(VOICE);
    // By the length that each side's way out carries, and one more.
    let offers = |side, lengths: [usize; 4]| {
        (1..).zip(lengths).map(move |(at, len)| Offer { at: Nanos(at), bytes: talk.frame(side, len, at) })
    };
    let mut left = Vec::new();
    bridge.run(
        [&mut offers(Side::Inside, [999, 1_000, 1_001, 1_514]), &mut offers(Side::Outside, [1_000, 1_514, 1_515, 60])],
        Nanos::MAX,
        |side, frame| left.push((side, frame.bytes.len())),
    );
    left.sort_unstable();
    let (inside, outside) = (Side::Inside, Side::Outside);
    assert_eq!(left, [(inside, 60), (inside, 1_000), (inside, 1_514), (outside, 999), (outside, 1_000)]);
    let dropped = |side| bridge.egress.counts().dropped.read(side, Class::Voice.slot().into(), DropReason::TooLong);
    assert_eq!((dropped(inside), dropped(outside)), (2, 1));
    assert_eq!(bridge.settled().balance.dropped, 3);
}

#[test]
fn the_documentation_lists_every_reason_and_no_other() {
    let text = include_str!("../../docs/datapath.md");
    let table = text.split("| reason | meaning |").nth(1).expect("docs/datapath.md has the table of reasons");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(listed, DropReason::ALL.map(DropReason::name));
}
