//! One look at everything.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::account::Account;

/// Where the last snapshot is to be found by whoever shows it.
pub type Published = Arc<ArcSwap<Snapshot>>;

/// The accounts of all wires at one time, under one number.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Counts the snapshots since the start: answers with the same number are of the same moment.
    #[serde(rename = "snapshot_seq")]
    pub seq: u64,
    /// The seconds since the start.
    pub seconds: f64,
    /// Every wire, in the order of the policy.
    pub wires: Vec<Account>,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, account) in self.wires.iter().enumerate() {
            if self.wires.len() > 1 {
                let line = if index > 0 { "\n\n" } else { "" };
                writeln!(f, "{line}wire {}", account.wire)?;
            }
            write!(f, "{account}")?;
        }
        Ok(())
    }
}
