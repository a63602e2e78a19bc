//! What leaves, measured against the rates of the policy.

use tidegate::frame::Side;
use tidegate::units::{Nanos, Rate};

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{BACKGROUND, FILE, Offer, Talk, VIDEO, VOICE, WEB, together};

const SPAN: Nanos = Nanos(30_000_000_000);

/// What a frame of `len` bytes costs on Ethernet.
fn cost(len: usize) -> u64 {
    len.max(60) as u64 + 24
}

/// More than `rate`, of several classes and sizes.
fn offers(side: Side, rate: Rate) -> impl Iterator<Item = Offer> {
    let part = |percent| Rate(rate.0 * percent / 100);
    let stream = |port, len, percent| Box::new(Talk::to(port).stream(side, len, part(percent))) as Box<_>;
    let streams = vec![
        stream(VOICE, 200, 2),
        stream(VIDEO, 1_200, 25),
        stream(WEB, 1_514, 47),
        stream(FILE, 1_514, 50),
        stream(BACKGROUND, 64, 1),
    ];
    together(streams, SPAN)
}

/// For thirty seconds both directions are offered a quarter more than they may carry. At every departure since the start,
/// what has left is at most rate × time, one burst and one frame; and never less than rate × time.
fn assert_exact(megabits: u64) {
    let rate = Rate(megabits * 1_000_000);
    let policy = policy(&format!("download = \"{rate}\"\nupload = \"{rate}\""));
    let burst = u64::from(policy.trees[0].burst);
    let mut bridge = Bridge::new(policy, &Size::default(), free_line);
    let [mut inside, mut outside] = Side::BOTH.map(|side| offers(side, rate));
    let mut sent = [0; 2];
    bridge.run([&mut inside, &mut outside], SPAN, |side, frame| {
        let sent = &mut sent[side as usize];
        let due = rate.bytes_in(frame.at);
        assert!(*sent >= due, "{sent} bytes had left by {} at {rate}, {due} were due", frame.at);
        *sent += cost(frame.bytes.len());
        assert!(*sent <= due + burst + cost(1_514), "{sent} bytes have left by {} at {rate}, {due} were due", frame.at);
    });
    for sent in sent {
        let ratio = sent as f64 / rate.bytes_in(SPAN) as f64;
        println!("{rate}: {sent} bytes in {SPAN}, {ratio:.6} of the rate; burst {burst}");
        assert!(sent >= rate.bytes_in(SPAN));
    }
}

#[test]
fn ten_megabits_leave_exactly() {
    assert_exact(10);
}

#[test]
fn a_hundred_megabits_leave_exactly() {
    assert_exact(100);
}

#[test]
fn five_hundred_megabits_leave_exactly() {
    assert_exact(500);
}
