//! Which core is whose.

use std::thread;

use core_affinity::CoreId;

use super::supervisor::Error;
use crate::config::Cores;

/// The cores that the policy means, as far as this process may use them.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) control: CoreId,
    pub(super) workers: Vec<CoreId>,
}

impl Placement {
    pub(super) fn of(cores: &Cores) -> Result<Placement, Error> {
        let available = core_affinity::get_core_ids().unwrap_or_default();
        // What this process inherited is where it starts, not where it may go: whoever names a core means it.
        let find = |wanted: usize| {
            let core = CoreId { id: wanted };
            let trial = thread::spawn(move || core_affinity::set_for_current(core));
            if trial.join().unwrap_or(false) {
                return Ok(core);
            }
            Err(Error::NoSuchCore { wanted, available: available.iter().map(|core| core.id).collect() })
        };
        let workers = cores.workers_of(available.len()).into_iter().map(find).collect::<Result<_, _>>()?;
        Ok(Placement { control: find(cores.control)?, workers })
    }
}
