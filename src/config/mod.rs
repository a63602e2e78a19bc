//! The policy file, from text to types.
//!
//! Text becomes a tree in which every value knows where it stands (`file`); the tree becomes a [`Config`] whose types
//! can't hold nonsense (`check`). Whatever is wrong on the way is collected, so that all of it shows at once.
//! `docs/policy.md` explains every key to the operator; [`KEYS`] is the list that holds the two together.

// The keys that a policy file may hold.
mod key;
// What is wrong with a policy, and where.
mod error;
// The file as a tree whose values know where they stand.
mod file;
// One table of the file, read key by key.
mod section;
// The tree judged and turned into types.
mod check;
// The pair of ports and what their link can carry.
mod wire;
// Which core does what.
mod cores;
// Where programs and people reach the running bridge.
mod api;
// Parts of the link.
mod share;
// What each of the six classes may have of the link.
mod class;
// Which frames belong to which class.
mod rule;
// What becomes of the marks with which frames come.
mod mark;
// Whose traffic it is, and what becomes of it.
mod subscriber;
// What all of it means to the datapath.
pub mod compile;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use api::Api;
pub use class::ClassSpec;
pub use cores::{Cores, Halves, Idle, halves_of};
pub use error::{Errors, Problem};
pub use ipnet::IpNet;
pub use key::{Absent, KEYS, Key};
pub use mark::{Directions, Remark};
pub use rule::{Match, Rule};
pub use share::{MIN_RATE, Percent, Share};
pub use subscriber::Subscriber;
pub use wire::{LinkLoss, Mode, OnFailure, Wire};

use crate::classify::Class;
use crate::units::Wanted;

/// The most bytes that a policy file may have.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// A whole policy, checked: what the file says, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The wires that the box stands in, at least one.
    pub wires: Vec<Wire>,
    /// Which core does what.
    pub cores: Cores,
    /// Where programs and people reach the running bridge.
    pub api: Api,
    /// The six classes, in the order of [`Class::OPERATORS`].
    pub classes: [ClassSpec; Class::OPERATORS.len()],
    /// The rules, in the order of the file: the first match wins.
    pub rules: Vec<Rule>,
    /// The marks that leave as others, on every wire.
    pub remarks: Vec<Remark>,
    /// The subscribers, in the order of the file.
    pub subscribers: Vec<Subscriber>,
    /// What is allowed but hardly meant; for whoever loads the policy to show.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// The policy without a file: no limit on the wire, the six classes as they come, no rules.
    pub fn default_policy() -> Config {
        Config {
            wires: vec![Wire::between("inside".into(), "outside".into())],
            cores: Cores::default(),
            api: Api::default(),
            classes: ClassSpec::DEFAULTS,
            rules: Vec::new(),
            remarks: Vec::new(),
            subscribers: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Reads and checks the policy file at `path`, with the process's environment behind its `${TIDEGATE_…}` variables.
pub fn load(path: impl AsRef<Path>) -> Result<Config, Errors> {
    let name = path.as_ref().display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(cause) => Err(Errors::Unreadable { name, cause }),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(Errors::TooLarge { name }),
        Ok(_) => match std::str::from_utf8(&bytes) {
            Ok(text) => from_str(&name, text),
            Err(cause) => {
                Err(Errors::NotUtf8 { name, line: bytes[..cause.valid_up_to()].split(|&b| b == b'\n').count() })
            }
        },
    }
}

/// Checks a policy given as text; `name` stands for the file in messages.
pub fn from_str(name: &str, text: &str) -> Result<Config, Errors> {
    with_variables(name, text, &|variable| std::env::var(variable).ok())
}

/// Like [`from_str`], with the variables given by a function instead of the process's environment.
pub fn with_variables(name: &str, text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<Config, Errors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = file::File::parse(text, variables);
    match check::config(&tree) {
        Some(config) if tree.problem_count() == 0 => Ok(Config { warnings: tree.warnings(), ..config }),
        _ => Err(Errors::Policy { name: name.into(), problems: tree.problems() }),
    }
}

/// Reads one of a few fixed words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wanted> {
    words.iter().find(|(word, _)| *word == text).map(|&(_, meaning)| meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        Wanted::new(if words.len() > 2 { format!("one of {}", words.join(", ")) } else { words.join(" or ") })
    })
}
