//! Which core does what.

use std::str::FromStr;

use super::word;
use crate::units::Wanted;

/// The cores that Tidegate's threads are bound to, by the kernel's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// The core of everything that never touches a frame.
    pub control: usize,
    /// The cores of the frame path; `None` lets [`Cores::workers_of`] choose.
    pub workers: Option<Workers>,
    /// What a worker without work does.
    pub idle: Idle,
}

impl Cores {
    /// The workers on a machine with the cores `0..count`: those of the file, or one on the last core that isn't the control core's.
    pub fn workers_of(&self, count: usize) -> Workers {
        let last_free = || (0..count).rev().find(|&core| core != self.control).unwrap_or(self.control);
        self.workers.unwrap_or_else(|| Workers::One(last_free()))
    }
}

/// How the frame path is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One core does everything.
    One(usize),
    /// One core receives and classifies, another queues and sends.
    Split {
        /// The core that receives.
        ingress: usize,
        /// The core that sends.
        egress: usize,
    },
}

/// What a worker without work does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// It sleeps until a frame or a deadline wakes it.
    #[default]
    Sleep,
    /// It keeps looking, for the last microseconds of latency at the price of a core.
    Spin,
}

impl FromStr for Idle {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Idle, Wanted> {
        word(text, &[("sleep", Idle::Sleep), ("spin", Idle::Spin)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_avoids_the_control_core_if_it_can() {
        let cores = |control, workers| Cores { control, workers, idle: Idle::Sleep };
        assert_eq!(cores(0, None).workers_of(1), Workers::One(0));
        assert_eq!(cores(0, None).workers_of(4), Workers::One(3));
        assert_eq!(cores(3, None).workers_of(4), Workers::One(2));
        let split = Workers::Split { ingress: 1, egress: 2 };
        assert_eq!(cores(0, Some(split)).workers_of(4), split);
    }
}
