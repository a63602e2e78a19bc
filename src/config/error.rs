//! What is wrong with a policy, and where.

use std::{fmt, io};

use super::FILE_BYTES_MAX;

/// Everything that is wrong with a policy; printed, one line each: `file:line:column: key: got …, want …`.
#[derive(Debug, thiserror::Error)]
pub enum Errors {
    /// The file can't be opened or read.
    #[error("{name}: {cause}")]
    Unreadable {
        /// The file.
        name: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is longer than a policy may be.
    #[error("{name}: got more than {} MiB, want a policy file", FILE_BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        name: String,
    },
    /// The file isn't text.
    #[error("{name}:{line}: got bytes that aren't UTF-8, want a policy file in UTF-8")]
    NotUtf8 {
        /// The file.
        name: String,
        /// The line of the first such byte, from 1.
        line: usize,
    },
    /// The file is text, but not a policy.
    #[error("{}", problems.iter().map(|problem| format!("{name}:{problem}")).collect::<Vec<_>>().join("\n"))]
    Policy {
        /// The file.
        name: String,
        /// What is wrong, sorted by position; at least one.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong at one place of a policy; printed as `line:column: key: got …, want …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The key with its tables, `wire.download`; `syntax` where the file isn't TOML.
    pub key: String,
    /// What the file says there.
    pub got: String,
    /// What it should say.
    pub want: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, column, key, got, want } = self;
        write!(f, "{line}:{column}: {key}: got {got}, want {want}")
    }
}
