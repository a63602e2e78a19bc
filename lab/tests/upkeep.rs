//! Does the bridge look after its ports? A port that goes and comes back, a lost link that the other side is to see, and two
//! wires in one process.

mod bed;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tidegate_lab::gate::{Gate, api};
use tidegate_lab::netns::Host;
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::{Lab, Layout, System};

/// How long anything here may take: the contract for a lost link, and far more than any other.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a port that came back may take to carry traffic again.
const RETURN_LIMIT: Duration = Duration::from_secs(5);
/// How often a port goes and comes back.
const CYCLES: u32 = 10;
/// Pings by which each wire's counters are told apart.
const PINGS: u32 = 20;

#[test]
fn a_port_that_disappears_is_taken_up_again_when_it_returns() {
    let policy = tidegate_policy(None, "") + &api();
    with_gate(&policy, |lab, gate| {
        up(lab, gate)?;
        let mut descriptors = Vec::new();
        for cycle in 0..CYCLES {
            lab.unplug_client()?;
            thread::sleep(Duration::from_millis(300));
            ensure!(gate.is_running()?, "Tidegate ended when its port disappeared");
            lab.plug_client()?;
            until(RETURN_LIMIT, || lab.client.ping(lab.server.ipv4, 1)).with_context(|| format!("return {cycle}"))?;
            // By itself, not through the kernel's bridge only.
            gate.await_forwarding(|| lab.client.ping(lab.server.ipv4, 1))?;
            descriptors.push(at_rest(gate)?);
        }
        bed::say(format_args!("  descriptors after each return: {descriptors:?}"));
        let (first, last) = (descriptors[0], descriptors[descriptors.len() - 1]);
        ensure!(last <= first, "descriptors grow from {first} to {last}: {descriptors:?}");
        ensure!(!gate.log().contains("stalled"), "a wire that was never asked counts as one that doesn't answer");
        gate.stop(Signal::TERM).map(|_| ())
    });
}

#[test]
fn halves_on_two_cores_answer_second_by_second() {
    let policy = tidegate_policy(None, "") + &api();
    with_gate(&policy.replace("workers = [1]", "workers = [0, 1]"), |lab, gate| {
        up(lab, gate)?;
        for second in 0..3 {
            let metrics = gate.metrics()?;
            let forwarding = metrics.sum("tidegate_wire_state", &[("state", "forwarding")]);
            ensure!(forwarding == 1.0, "not forwarding in second {second}");
        }
        ensure!(!gate.log().contains("stalled"), "one half's answer got lost");
        gate.stop(Signal::TERM).map(|_| ())
    });
}

#[test]
fn a_lost_link_is_carried_to_the_other_side_and_returns() {
    let plain = tidegate_policy(None, "") + &api();
    let policy = plain.replace("[[wire]]\n", "[[wire]]\nlink_loss = \"carry\"\n");
    assert!(policy != plain, "the policy has a wire");
    with_gate(&policy, |lab, gate| {
        up(lab, gate)?;
        for (near, far) in [(&lab.server, &lab.client), (&lab.client, &lab.server)] {
            near.switch(false)?;
            carrier(far, false)?;
            near.switch(true)?;
            carrier(far, true)?;
            // An interface that was off has lost its IPv6 address, but not the other.
            until(RETURN_LIMIT, || lab.client.ping(lab.server.ipv4, 1))?;
            // Within the moment in which the bridge has not yet seen its own port come back, a loss is not news to it.
            thread::sleep(Duration::from_millis(500));
        }
        gate.stop(Signal::TERM).map(|_| ())
    });
}

#[test]
fn two_wires_in_one_process_keep_apart_and_both_fail_open() {
    let second = "[[wire]]\ninside = \"in1\"\noutside = \"out1\"\noverhead = \"ethernet\"\n\n";
    let policy = second.to_owned() + &tidegate_policy(None, "") + &api();
    let Some(System::Tidegate { binary, policy }) = bed::tidegate(policy) else { return };
    let Some(mut lab) = bed::lab(Layout::Box) else { return };
    let [client, server] = lab.second_pair().unwrap_or_else(|error| panic!("{error:#}"));
    let mut gate = Gate::new(&lab, &binary, &policy).unwrap_or_else(|error| panic!("{error:#}"));
    let judged = two_wires(&lab, [&client, &server], &mut gate);
    judged.unwrap_or_else(|error| panic!("{error:#}\nTidegate printed:\n{}", gate.log()));
}

fn two_wires(lab: &Lab, [client, server]: [&Host; 2], gate: &mut Gate) -> Result<()> {
    let ping = |count| {
        lab.client.ping(lab.server.ipv4, count)?;
        client.ping(server.ipv4, count)
    };
    gate.start()?;
    gate.await_forwarding(|| ping(1))?;
    let received = |gate: &Gate| -> Result<Vec<f64>> {
        let metrics = gate.metrics()?;
        let wires = metrics.values_of("tidegate_received_frames_total", "wire");
        Ok(wires.iter().map(|wire| metrics.sum("tidegate_received_frames_total", &[("wire", wire)])).collect())
    };
    let before = received(gate)?;
    ensure!(before.len() == 2, "two wires have the counters of {}", before.len());
    // Only the first wire's counters move with the first wire's traffic, and only the second's with the second's.
    for pair in [[&lab.client, &lab.server], [client, server]] {
        let then = received(gate)?;
        pair[0].ping(pair[1].ipv4, PINGS)?;
        let grown: Vec<f64> = received(gate)?.iter().zip(&then).map(|(now, then)| now - then).collect();
        let (busy, quiet) = (grown[0].max(grown[1]), grown[0].min(grown[1]));
        // A request and an answer each; the hosts may ask for addresses besides.
        ensure!(busy >= f64::from(2 * PINGS) && quiet <= 4.0, "{PINGS} pings moved the wires' counters by {grown:?}");
    }
    gate.kill()?;
    until(RETURN_LIMIT, || ping(1)).context("after SIGKILL")?;
    // And taken up again, over what the killed one left.
    gate.start()?;
    gate.await_forwarding(|| ping(1))?;
    let account = gate.stop(Signal::TERM)?;
    let explained = account.matches("unexplained 0").count();
    ensure!(explained >= 2, "two wires have {explained} accounts without unexplained frames:\n{account}");
    Ok(())
}

fn with_gate(policy: &str, test: impl Fn(&Lab, &mut Gate) -> Result<()>) {
    let Some(System::Tidegate { binary, policy }) = bed::tidegate(policy.to_owned()) else { return };
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let mut gate = Gate::new(&lab, &binary, &policy).unwrap_or_else(|error| panic!("{error:#}"));
    let judged = test(&lab, &mut gate);
    judged.unwrap_or_else(|error| panic!("{error:#}\nTidegate printed:\n{}", gate.log()));
}

fn up(lab: &Lab, gate: &mut Gate) -> Result<()> {
    gate.start()?;
    gate.await_forwarding(|| lab.client.ping(lab.server.ipv4, 1))
}

/// The number of Tidegate's open descriptors, less those of answers that it is just giving: the least of some looks.
fn at_rest(gate: &Gate) -> Result<usize> {
    let mut least = usize::MAX;
    for _ in 0..10 {
        least = least.min(gate.process()?.descriptors()?);
        thread::sleep(Duration::from_millis(20));
    }
    Ok(least)
}

/// Waits until `host` sees a carrier, or none.
fn carrier(host: &Host, wanted: bool) -> Result<()> {
    let start = Instant::now();
    until(LIMIT, || {
        ensure!(
            host.has_carrier()? == wanted,
            "{} still {} a carrier",
            host.netns,
            if wanted { "lacks" } else { "has" }
        );
        Ok(())
    })?;
    bed::say(format_args!("  carrier {}: {:?}", if wanted { "back" } else { "gone" }, start.elapsed()));
    Ok(())
}

/// Repeats `attempt` until it succeeds or `limit` has passed; then its last error.
fn until(limit: Duration, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("waited {limit:?}: {error:#}"),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
