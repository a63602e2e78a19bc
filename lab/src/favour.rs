//! The lab before what else the machine does. `nice` alone does not do it: where the scheduler groups programs by session
//! (sched_autogroup, sched(7)), it only counts within the session, and the session has a nice value of its own.

use std::fs;

/// The scheduling group of this session, Linux's name for which is "autogroup".
const GROUP: &str = "/proc/self/autogroup";
/// Three shares where others have one. More would starve the kernel's own threads, which belong to no session: a lab at -20
/// that spins on both cores leaves them 1 %, and then a program that ends waits for seconds to be gone.
const FIRST: &str = "-5";

/// The session's programs go before those of other sessions until this is dropped.
#[derive(Debug)]
pub(crate) struct Favour {
    previous: String,
}

impl Favour {
    /// Asks for it; nothing where the kernel has no such groups or refuses, which costs only precision.
    pub(crate) fn ask() -> Option<Favour> {
        // The lab's programs run so; the thread that waits for them must not wait behind them.
        let _ = rustix::process::setpriority_process(None, -20);
        let text = fs::read_to_string(GROUP).ok()?;
        let previous = nice(&text)?.to_owned();
        fs::write(GROUP, FIRST).ok()?;
        Some(Favour { previous })
    }
}

impl Drop for Favour {
    fn drop(&mut self) {
        // It was accepted before.
        let _ = fs::write(GROUP, &self.previous);
    }
}

/// The nice value in `/autogroup-9 nice 0`.
fn nice(text: &str) -> Option<&str> {
    text.trim().rsplit_once("nice ").map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_last_word() {
        assert_eq!(nice("/autogroup-9 nice 0\n"), Some("0"));
        assert_eq!(nice("/autogroup-512 nice -20\n"), Some("-20"));
        assert_eq!(nice(""), None);
    }
}
