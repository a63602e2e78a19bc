//! Which core does what.

use std::str::FromStr;

use super::word;
use crate::units::Wanted;

/// The cores that Tidegate's threads are bound to, by the kernel's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// The core of everything that never touches a frame.
    pub control: usize,
    /// The cores of the frame path; none lets [`Cores::workers_of`] choose.
    pub workers: Vec<usize>,
    /// What a worker without work does.
    pub idle: Idle,
}

impl Cores {
    /// The workers on a machine with the cores `0..count`: those of the file, or one on the last core that isn't the control core's.
    pub fn workers_of(&self, count: usize) -> Vec<usize> {
        if !self.workers.is_empty() {
            return self.workers.clone();
        }
        vec![(0..count).rev().find(|&core| core != self.control).unwrap_or(self.control)]
    }
}

/// Which of `workers` has the two halves of wire number `wire` among `wires`.
///
/// With two workers for every wire each half has its own; with fewer, both halves of a wire are on one, wires in turn.
pub fn halves_of(wire: usize, wires: usize, workers: usize) -> Halves {
    if workers >= 2 * wires {
        Halves { ingress: 2 * wire, egress: 2 * wire + 1 }
    } else {
        Halves { ingress: wire % workers, egress: wire % workers }
    }
}

/// The workers of a wire, by their place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halves {
    /// Who receives and classifies.
    pub ingress: usize,
    /// Who queues and sends.
    pub egress: usize,
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
        let workers = |control, count| Cores { control, ..Cores::default() }.workers_of(count);
        assert_eq!((workers(0, 1), workers(0, 4), workers(3, 4)), (vec![0], vec![3], vec![2]));
        assert_eq!(Cores { workers: vec![1, 2], ..Cores::default() }.workers_of(8), [1, 2]);
    }

    #[test]
    fn wires_are_dealt_to_workers_and_split_where_there_are_enough() {
        let dealt = |wires, workers| -> Vec<_> {
            (0..wires)
                .map(|wire| halves_of(wire, wires, workers))
                .map(|Halves { ingress, egress }| (ingress, egress))
                .collect()
        };
        assert_eq!(dealt(1, 1), [(0, 0)]);
        assert_eq!(dealt(1, 2), [(0, 1)]);
        assert_eq!(dealt(3, 2), [(0, 0), (1, 1), (0, 0)]);
        assert_eq!(dealt(2, 3), [(0, 0), (1, 1)]);
        assert_eq!(dealt(2, 4), [(0, 1), (2, 3)]);
    }
}
