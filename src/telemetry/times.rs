//! How long frames stayed and stages took, since the start: what every report brings is added up here.

use crate::datapath::report::{EgressReport, IngressReport};
use crate::datapath::sojourn::Sojourn;
use crate::datapath::stages::Stages;

/// The times of one wire.
#[derive(Clone, Debug)]
pub struct Times {
    /// From receipt to transmission, by class.
    pub sojourn: Sojourn,
    /// What the stages of a turn took, by half: ingress, egress.
    pub stages: [Stages; 2],
}

impl Default for Times {
    fn default() -> Times {
        let (ingress, egress) = (IngressReport::default(), EgressReport::default());
        Times { sojourn: egress.sojourn, stages: [ingress.stages, egress.stages] }
    }
}

impl Times {
    /// Adds what an ingress half has measured since its last report.
    pub fn add_ingress(&mut self, report: &IngressReport) {
        self.stages[0].merge(&report.stages);
    }

    /// Adds what an egress half has measured since its last report.
    pub fn add_egress(&mut self, report: &EgressReport) {
        self.sojourn.merge(&report.sojourn);
        self.stages[1].merge(&report.stages);
    }
}
