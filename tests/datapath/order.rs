//! Frames of a flow leave as they came.

use std::collections::HashMap;

use proptest::prelude::*;
use tidegate::frame::Side;
use tidegate::units::Nanos;

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{BACKGROUND, FILE, GAMING, Offer, Talk, VIDEO, VOICE, WEB, id};

fn talk() -> impl Strategy<Value = Talk> {
    let port = prop::sample::select(vec![VOICE, GAMING, VIDEO, WEB, FILE, BACKGROUND, 179, 40_000]);
    let vlan = prop::option::weighted(0.3, 1u16..4);
    (0u16..3, port, vlan).prop_map(|(client, server_port, vlan)| Talk { client, server_port, dscp: 0, vlan })
}

proptest! {
    /// Whatever comes when: frames of one flow and direction leave in the order in which they came, with the bytes with
    /// which they came, and only drops that are counted are missing.
    #[test]
    fn frames_of_a_flow_leave_in_order_and_unchanged(
        sends in prop::collection::vec((0u64..300_000, any::<bool>(), talk(), 64usize..1_515), 1..600),
        megabits in prop::sample::select(vec![1, 10, 100]),
        limited in any::<bool>(),
        observed in any::<bool>(),
    ) {
        let text = if limited { format!("download = \"{megabits}mbit\"\nupload = \"2mbit\"\n") } else { String::new() };
        // One of the three clients.
        let subscriber = "[[subscriber]]\nname = \"o\"\naddresses = [\"10.0.0.1\"]\nmode = \"observe\"\n";
        let text = if observed { text + subscriber } else { text };
        let mut bridge = Bridge::new(policy(&text), &Size::default(), free_line);
        let mut offers = [Vec::new(), Vec::new()];
        let (mut now, mut expected) = (0, HashMap::new());
        for (number, (gap, up, talk, len)) in sends.into_iter().enumerate() {
            now += gap;
            let side = if up { Side::Inside } else { Side::Outside };
            let bytes = talk.frame(side, len, number as u64);
            expected.insert(number as u64, (side, talk, bytes.clone()));
            offers[side as usize].push(Offer { at: Nanos(now), bytes });
        }
        let [inside, outside] = offers;
        let (mut last, mut left) = (HashMap::new(), Vec::new());
        bridge.run([&mut inside.into_iter(), &mut outside.into_iter()], Nanos::MAX, |side, frame| left.push((side, frame)));
        for (side, frame) in &left {
            let number = id(&frame.bytes);
            let (from, talk, bytes) = expected.remove(&number).expect("a frame leaves once");
            prop_assert_eq!((from.opposite(), &bytes), (*side, &frame.bytes));
            let before = last.insert((from, talk), number);
            prop_assert!(before.is_none_or(|before| before < number), "{number} left after {before:?} of {talk:?}");
        }
        let account = bridge.settled();
        prop_assert_eq!((account.balance.completed, account.balance.dropped), (left.len() as u64, expected.len() as u64));
        prop_assert!(limited || expected.is_empty(), "without a limit nothing is dropped");
    }
}
