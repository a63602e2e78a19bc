//! The file as a tree whose values know where they stand, and what was found wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use toml::de::DeTable;

use super::error::Problem;
use super::section::Section;

/// The most characters of a value that a message repeats.
const GOT_CHARS_MAX: usize = 60;

/// A policy file as a tree, and what was found about it so far.
pub(super) struct File<'f> {
    text: &'f str,
    root: DeTable<'f>,
    variables: &'f dyn Fn(&str) -> Option<String>,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
    /// The lines that aren't TOML: what the parser guessed there is not judged again.
    broken_lines: BTreeSet<u32>,
}

/// A [`Problem`] whose place is still a byte of the text.
struct Finding {
    at: usize,
    key: String,
    got: String,
    want: String,
}

impl<'f> File<'f> {
    /// Parses `text`, reporting every line that isn't TOML; what could be made of the rest can be read nevertheless.
    pub(super) fn parse(text: &'f str, variables: &'f dyn Fn(&str) -> Option<String>) -> File<'f> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut file = File {
            text,
            root: root.into_inner(),
            variables,
            line_starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            broken_lines: BTreeSet::new(),
        };
        for error in errors {
            let span = error.span().unwrap_or_default();
            if !file.broken_lines.contains(&file.line(span.start)) {
                let got = file.got_at(span.clone());
                file.report(span.start, "syntax", got, format!("TOML: {}", error.message()));
                file.broken_lines.insert(file.line(span.start));
            }
        }
        if file.has_broken_header() {
            // The keys under it seem to belong to the table before: they can't be judged.
            file.root.clear();
        }
        file
    }

    fn has_broken_header(&self) -> bool {
        let mut lines = self.broken_lines.iter().map(|&line| &self.text[self.line_starts[line as usize - 1]..]);
        lines.any(|line| line.trim_start_matches([' ', '\t']).starts_with('['))
    }

    /// The words that a syntax error is about.
    fn got_at(&self, span: Range<usize>) -> String {
        match self.text[span.start..].chars().next() {
            None => "the end of the file".into(),
            Some('\n' | '\r') => "the end of the line".into(),
            Some(next) if span.is_empty() => quoted(next.encode_utf8(&mut [0; 4])),
            Some(_) => quoted(&self.text[span]),
        }
    }

    /// How much was found wrong so far.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// What was found wrong, sorted by position.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.placed(self.problems.take())
    }

    /// What was found allowed but hardly meant, sorted by position.
    pub(super) fn warnings(&self) -> Vec<Problem> {
        self.placed(self.warnings.take())
    }

    /// Counts lines and columns; no byte twice, however many findings share a line.
    fn placed(&self, mut findings: Vec<Finding>) -> Vec<Problem> {
        findings.sort_by_key(|finding| finding.at);
        let (mut from, mut before) = (0, 0);
        let place = |Finding { at, key, got, want }: Finding| {
            let line = self.line(at);
            let start = self.line_starts[line as usize - 1];
            if from < start {
                (from, before) = (start, 0);
            }
            before += self.text[from..at].chars().count() as u32;
            from = at;
            Problem { line, column: before + 1, key, got, want }
        };
        findings.into_iter().map(place).collect()
    }

    /// The line, from 1, that holds the byte `at`.
    pub(super) fn line(&self, at: usize) -> u32 {
        self.line_starts.partition_point(|&start| start <= at) as u32
    }

    /// Reports that the byte `at` begins something that isn't as it should be.
    pub(super) fn report(&self, at: usize, key: impl Into<String>, got: impl Display, want: impl Display) {
        if !self.broken_lines.contains(&self.line(at)) {
            let finding = Finding { at, key: key.into(), got: got.to_string(), want: want.to_string() };
            self.problems.borrow_mut().push(finding);
        }
    }

    /// Reports that the byte `at` begins something that is allowed but hardly meant.
    pub(super) fn warn(&self, at: usize, key: impl Into<String>, got: impl Display, want: impl Display) {
        let finding = Finding { at, key: key.into(), got: got.to_string(), want: want.to_string() };
        self.warnings.borrow_mut().push(finding);
    }

    /// The top of the file, whose keys are the tables.
    pub(super) fn root(&self) -> Section<'_> {
        Section::root(self, &self.root)
    }

    /// Whether some line isn't TOML, so that what should be there may be missing from the tree.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    /// Replaces each `${TIDEGATE_…}` in `text` by the variable's value; reports the first that can't be.
    pub(super) fn expand(&self, at: usize, key: &str, text: &str) -> Option<String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            let variable = behind.split_once('}').filter(|(name, _)| name.starts_with("TIDEGATE_"));
            let value = variable.and_then(|(name, after)| Some(((self.variables)(name)?, after)));
            let Some((value, after)) = value else {
                let got = &rest[before.len()..];
                let got = &got[..got.find('}').map_or(got.len(), |end| end + 1)];
                self.report(at, key, quoted(got), "a variable ${TIDEGATE_…} that is set");
                return None;
            };
            expanded += before;
            expanded += &value;
            rest = after;
        }
        expanded += rest;
        Some(expanded)
    }
}

/// Text in quotes and on one line, however it was written.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// Text cut to the length that a message can bear.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(GOT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
