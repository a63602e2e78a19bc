//! What a half tells about itself, exact at the boundary of a turn, and how it is asked.
//!
//! Control asks; the worker looks once per turn whether it is asked, fills in the empty report that came with the question,
//! and gives it back. One report goes round for each half: the worker neither allocates nor waits, and its histograms change
//! places with the report's empty ones.

use super::counters::{CLASSES, EgressCounts, IngressCounts, PerClass, Volume};
use super::sojourn::Sojourn;
use super::stages::Stages;
use super::{egress, ingress};
use crate::port::RxLosses;
use crate::units::Nanos;

/// What an ingress half tells about itself.
#[derive(Debug)]
pub struct IngressReport {
    /// The time of the turn.
    pub at: Nanos,
    /// A copy of the half's counters.
    pub counts: IngressCounts,
    /// What the ports on each side lost before the half saw it.
    pub losses: [RxLosses; 2],
    /// The frames of the half's home.
    pub frames: u64,
    /// Of these, those that are free or lent to the ports.
    pub idle_frames: u64,
    /// Flows in the table.
    pub flows: u64,
    /// What the stages cost since the last report.
    pub stages: Stages,
}

/// What an egress half tells about itself.
#[derive(Debug)]
pub struct EgressReport {
    /// The time of the turn.
    pub at: Nanos,
    /// A copy of the half's counters.
    pub counts: EgressCounts,
    /// What is queued, by class and the side at which it came in.
    pub queued: PerClass<Volume>,
    /// Frames in the ports, by the side at which they leave.
    pub in_transmit: [u64; 2],
    /// How long the frames stayed that left since the last report.
    pub sojourn: Sojourn,
    /// What the stages cost since the last report.
    pub stages: Stages,
}

impl Default for IngressReport {
    fn default() -> IngressReport {
        IngressReport {
            at: Nanos::ZERO,
            counts: IngressCounts::default(),
            losses: Default::default(),
            frames: 0,
            idle_frames: 0,
            flows: 0,
            stages: Stages::new(ingress::STAGES),
        }
    }
}

impl Default for EgressReport {
    fn default() -> EgressReport {
        EgressReport {
            at: Nanos::ZERO,
            counts: EgressCounts::default(),
            queued: [[Volume::default(); CLASSES]; 2],
            in_transmit: [0; 2],
            sojourn: Sojourn::default(),
            stages: Stages::new(egress::STAGES),
        }
    }
}

/// A report that goes round between control and a half.
pub trait Report: Default {
    /// Empties the histograms, for the half to take: what they hold has been read.
    fn clear(&mut self);
}

impl Report for IngressReport {
    fn clear(&mut self) {
        self.stages.clear();
    }
}

impl Report for EgressReport {
    fn clear(&mut self) {
        self.sojourn.clear();
        self.stages.clear();
    }
}

/// Control's end: asks, and reads the answers.
#[derive(Debug)]
pub struct Asker<T> {
    /// The report, while nobody fills it in or reads it.
    blank: Option<Box<T>>,
    questions: rtrb::Producer<Box<T>>,
    answers: rtrb::Consumer<Box<T>>,
}

/// A half's end: is asked, and answers.
#[derive(Debug)]
pub struct Desk<T> {
    questions: rtrb::Consumer<Box<T>>,
    answers: rtrb::Producer<Box<T>>,
}

/// Makes the two ends, with the one report that goes round between them.
pub fn desk<T: Report>() -> (Asker<T>, Desk<T>) {
    let (asking, questions) = rtrb::RingBuffer::new(1);
    let (answering, answers) = rtrb::RingBuffer::new(1);
    (Asker { blank: Some(Box::default()), questions: asking, answers }, Desk { questions, answers: answering })
}

impl<T: Report> Asker<T> {
    /// Asks for a report; false, and nothing, if the last one was not yet given or not given back.
    pub fn ask(&mut self) -> bool {
        let asked = self.blank.take().map(|blank| self.questions.push(blank));
        asked.is_some_and(|pushed| pushed.is_ok())
    }

    /// The answer, if it is there.
    pub fn answer(&mut self) -> Option<Box<T>> {
        self.answers.pop().ok()
    }

    /// Gives a report back that has been read, for the next question; its histograms are emptied.
    pub fn give_back(&mut self, mut report: Box<T>) {
        report.clear();
        self.blank = Some(report);
    }
}

impl<T> Desk<T> {
    /// The report to fill in, if the half is asked: one load if it isn't.
    #[inline]
    pub(super) fn question(&mut self) -> Option<Box<T>> {
        if self.questions.is_empty() { None } else { self.questions.pop().ok() }
    }

    /// Gives the answer.
    pub(super) fn answer(&mut self, report: Box<T>) {
        let answered = self.answers.push(report);
        debug_assert!(answered.is_ok(), "there is room for the one report that goes round");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_report_goes_round() {
        let (mut asker, mut desk) = desk::<EgressReport>();
        assert!(desk.question().is_none() && asker.answer().is_none());
        assert!(asker.ask());
        assert!(!asker.ask(), "not before the answer");
        let mut report = desk.question().unwrap();
        assert!(desk.question().is_none());
        report.at = Nanos(7);
        report.sojourn.record(1, Nanos(100));
        desk.answer(report);
        let report = asker.answer().unwrap();
        assert_eq!((report.at, report.sojourn.class(1).len()), (Nanos(7), 1));
        assert!(!asker.ask(), "not before it is given back");
        asker.give_back(report);
        assert!(asker.ask());
        assert_eq!(desk.question().unwrap().sojourn.class(1).len(), 0);
    }
}
