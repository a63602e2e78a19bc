//! The frames that the kernel dropped on the bed's wires: a run whose loss is not explained by them or by the box is void.

use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// The kernel's drops at the ends of the wires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops(pub Vec<EndDrops>);

/// The frames that the kernel dropped at one end of a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndDrops {
    /// Which end: the namespace's role and the interface.
    pub end: String,
    /// Frames dropped on receipt.
    pub received: u64,
    /// Frames dropped on the way out, a full ring at the far end included.
    pub sent: u64,
    /// Frames dropped by the end's own queue.
    pub queued: u64,
}

impl EndDrops {
    /// Reads the counters of interface `name` in namespace `netns`, whose role is the last part of its name.
    pub(crate) fn read(netns: &str, name: &str) -> Result<EndDrops> {
        let statistics = statistics(netns, name)?;
        let queues: Vec<QueueReport> = json(&format!("tc -n {netns} -s -j qdisc show dev {name}"))?;
        let role = netns.rsplit('-').next().unwrap_or_default();
        Ok(EndDrops {
            end: format!("{role} {name}"),
            received: statistics.rx.dropped + statistics.rx.errors,
            sent: statistics.tx.dropped + statistics.tx.errors,
            // Leaves of a classful queue report their drops to their root too.
            queued: queues.iter().filter(|queue| queue.root).map(|queue| queue.drops).sum(),
        })
    }
}

/// The bytes that have come in by interface `name` in namespace `netns`.
pub(crate) fn received_bytes(netns: &str, name: &str) -> Result<u64> {
    Ok(statistics(netns, name)?.rx.bytes)
}

impl Drops {
    /// What was added since `earlier`, an account of the same lab.
    pub fn since(&self, earlier: &Drops) -> Drops {
        let ends = self.0.iter().zip(&earlier.0).map(|(now, then)| EndDrops {
            end: now.end.clone(),
            received: now.received - then.received,
            sent: now.sent - then.sent,
            queued: now.queued.saturating_sub(then.queued),
        });
        Drops(ends.collect())
    }

    /// All drops of the ends whose name begins with `role` (`client`, `server`, `box`; all for the empty text).
    pub fn total(&self, role: &str) -> u64 {
        let ends = self.0.iter().filter(|end| end.end.starts_with(role));
        ends.map(|end| end.received + end.sent + end.queued).sum()
    }
}

impl fmt::Display for Drops {
    /// One line: `client eth0 0/0/0, …` with receive, send and queue drops of each end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, end) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}/{}/{}", end.end, end.received, end.sent, end.queued)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct LinkReport {
    stats64: LinkStatistics,
}

#[derive(Clone, Copy, Deserialize)]
struct LinkStatistics {
    rx: Counters,
    tx: Counters,
}

#[derive(Clone, Copy, Deserialize)]
struct Counters {
    bytes: u64,
    dropped: u64,
    errors: u64,
}

#[derive(Deserialize)]
struct QueueReport {
    #[serde(default)]
    root: bool,
    #[serde(default)]
    drops: u64,
}

fn statistics(netns: &str, name: &str) -> Result<LinkStatistics> {
    let links: Vec<LinkReport> = json(&format!("ip -n {netns} -s -j link show dev {name}"))?;
    Ok(links.first().with_context(|| format!("ip shows no {name} in {netns}"))?.stats64)
}

fn json<T: for<'a> Deserialize<'a>>(line: &str) -> Result<T> {
    serde_json::from_str(&command::run(line)?).with_context(|| format!("`{line}` printed unexpected JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(client: u64, middle: u64) -> Drops {
        let end = |end: &str, queued| EndDrops { end: end.into(), received: 1, sent: 2, queued };
        Drops(vec![end("client eth0", client), end("box in0", middle)])
    }

    #[test]
    fn drops_are_told_by_role() {
        let since = account(5, 9).since(&account(5, 2));
        assert_eq!((since.total(""), since.total("client"), since.total("box")), (7, 0, 7));
        assert_eq!(since.to_string(), "client eth0 0/0/0, box in0 0/0/7");
    }
}
