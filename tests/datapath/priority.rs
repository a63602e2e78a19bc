//! Who goes first, and who still goes.

use tidegate::classify::Class;
use tidegate::frame::{BURST, Side};
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{BACKGROUND, FILE, Offer, Talk, VIDEO, VOICE, WEB, together};

const SPAN: Nanos = Nanos(5_000_000_000);

/// A full frame with what Ethernet adds to it.
const FULL_FRAME: u64 = 1_538;

fn stream(port: u16, len: usize, rate: Rate) -> Box<dyn Iterator<Item = Offer>> {
    Box::new(Talk::to(port).stream(Side::Outside, len, rate))
}

/// Runs `streams` down a link under `text`; returns the bytes of each class, overhead included, and the longest stay of any voice frame.
fn run_down(text: &str, streams: Vec<Box<dyn Iterator<Item = Offer>>>) -> ([u64; Class::ALL.len()], Nanos) {
    let mut bridge = Bridge::new(policy(text), &Size::default(), free_line);
    let (mut bytes, mut longest) = ([0; Class::ALL.len()], Nanos::ZERO);
    bridge.run([&mut std::iter::empty(), &mut together(streams, SPAN)], SPAN, |side, frame| {
        assert_eq!(side, Side::Inside);
        let origin = frame.origin.expect("it went through the bridge");
        bytes[usize::from(origin.class)] += frame.bytes.len().max(60) as u64 + 24;
        if origin.class == Class::Voice.slot() {
            longest = longest.max(frame.at.since(origin.arrived));
        }
    });
    (bytes, longest)
}

#[test]
fn a_voice_frame_waits_for_one_frame_at_most_however_full_the_link_is() {
    for (megabits, per_second) in [(10, 100), (100, 1_000)] {
        let rate = Rate(megabits * 1_000_000);
        let voice = stream(VOICE, 200, Rate(224 * 8 * per_second));
        let bulk = [VIDEO, WEB, FILE, BACKGROUND].map(|port| stream(port, 1_514, rate));
        let (bytes, longest) = run_down(&format!("download = \"{rate}\""), bulk.into_iter().chain([voice]).collect());
        println!("{rate}: voice waited {longest} at most, a full frame takes {}", rate.time_for(FULL_FRAME));
        assert!(bytes.iter().sum::<u64>() >= rate.bytes_in(SPAN), "the link is full");
        assert!(bytes[usize::from(Class::Voice.slot())] + 224 >= 224 * per_second * 5, "every voice frame left");
        assert!(longest <= rate.time_for(FULL_FRAME), "voice waited {longest} at {rate}");
    }
}

#[test]
fn a_flood_marked_voice_gets_its_ceiling_and_the_others_the_rest() {
    let rate = Rate(100_000_000);
    let text = format!("download = \"{rate}\"\n[[rule]]\nmatch = {{ dscp = 46 }}\nclass = \"voice\"\n");
    let marked = Talk { dscp: 46, ..Talk::to(8000) }.stream(Side::Outside, 1_514, rate);
    let streams = vec![Box::new(marked) as Box<_>, stream(FILE, 1_514, rate)];
    let (bytes, _) = run_down(&text, streams);
    let of = |class: Class| bytes[usize::from(class.slot())];
    let ceiling = Rate(30_000_000).bytes_in(SPAN);
    let burst = 12_500;
    assert!(of(Class::Voice) >= ceiling && of(Class::Voice) <= ceiling + burst + FULL_FRAME, "{bytes:?}");
    assert!(of(Class::File) >= rate.bytes_in(SPAN) - ceiling - burst - FULL_FRAME, "{bytes:?}");
}

/// Small frames fill the budget of frames long before their class's queue is full of bytes.
#[test]
fn a_flood_of_the_smallest_frames_pays_for_the_memory_that_it_takes() {
    let rate = Rate(100_000_000);
    let streams = vec![stream(VOICE, 64, rate), stream(FILE, 1_514, rate)];
    let (bytes, _) = run_down(&format!("download = \"{rate}\""), streams);
    let file = bytes[usize::from(Class::File.slot())];
    assert!(file >= Rate(69_000_000).bytes_in(SPAN), "{bytes:?}");
}

#[test]
fn background_gets_its_guarantee_while_all_others_want_everything() {
    let rate = Rate(20_000_000);
    let ports = [VOICE, VIDEO, WEB, FILE, BACKGROUND];
    let streams = ports.map(|port| stream(port, 1_514, rate)).into_iter().collect();
    let (bytes, _) = run_down(&format!("download = \"{rate}\""), streams);
    let background = bytes[usize::from(Class::Background.slot())];
    assert!(background + FULL_FRAME >= Rate(1_000_000).bytes_in(SPAN), "{bytes:?}");
}

/// While egress was away the rings filled; it takes a burst of the last band in its very next turn, and every band in order.
#[test]
fn the_last_band_gets_a_burst_of_every_turn() {
    let size = Size { fill: 2_048, ring: 1_024, ..Size::default() };
    let mut bridge = Bridge::new(policy(""), &size, free_line);
    let talks = [VOICE, BACKGROUND].map(Talk::to);
    for n in 0..2_000 {
        let talk = talks[n as usize % 2];
        bridge.cables_in[Side::Inside as usize].push(Nanos(n), &talk.frame(Side::Inside, 100, n));
    }
    bridge.now = Nanos(2_000);
    while bridge.ingress.turn(bridge.now, &bridge.now) > 0 {}
    let sent = |bridge: &Bridge, class: Class| {
        let counts = bridge.egress.counts();
        counts.submitted[Side::Inside as usize][usize::from(class.slot())].read().frames
    };
    bridge.egress.turn(bridge.now, &bridge.now);
    let (voice, background) = (sent(&bridge, Class::Voice), sent(&bridge, Class::Background));
    assert_eq!(bridge.egress.counts().frames_popped(), voice + background);
    assert_eq!(background, BURST as u64, "and {voice} of voice");
    assert!(voice > 4 * background, "{voice}, {background}");
    bridge.run([&mut std::iter::empty(), &mut std::iter::empty()], Nanos::MAX, |_, _| ());
    assert_eq!(bridge.settled().balance.completed, 2_000);
}
