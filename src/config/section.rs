//! One table of the file, read key by key.
//!
//! Reading through serde would stop at the first error; here every reader reports what it dislikes and goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{File, quoted, shortened};
use super::key;
use crate::units::Wanted;

/// One table of the file; a reader that reports something gives `None`, as for a key that isn't there.
///
/// What reads a text must refuse the empty one, and its complaint is also the answer to a value of the wrong type.
#[derive(Clone, Copy)]
pub(super) struct Section<'f> {
    /// The file that holds it.
    pub(super) file: &'f File<'f>,
    /// Where it begins.
    pub(super) at: usize,
    name: &'static str,
    table: &'f DeTable<'f>,
}

impl<'f> Section<'f> {
    /// The table of tables.
    pub(super) fn root(file: &'f File<'f>, table: &'f DeTable<'f>) -> Section<'f> {
        Section { file, at: 0, name: "", table }
    }

    /// The key with the table's name in front.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    /// Where the value of `key` begins, if the key is there.
    pub(super) fn place_of(&self, key: &str) -> Option<usize> {
        self.value(key).map(|value| value.span().start)
    }

    /// Whether the table holds no key at all.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Reports that the value of `key`, which begins at `at`, isn't as it should be.
    pub(super) fn report(&self, at: usize, key: &str, got: impl Display, want: impl Display) {
        self.file.report(at, self.path(key), got, want);
    }

    /// Reports the keys that no table of this name has.
    pub(super) fn refuse_unknown(&self) {
        let known = key::names(self.name);
        for written in self.table.keys().filter(|written| !known.contains(&written.get_ref().as_ref())) {
            let want = match key::nearest(written.get_ref(), &known) {
                Some(name) => name.to_string(),
                None => format!("one of {}", known.join(", ")),
            };
            self.report(written.span().start, &shortened(written.get_ref()), "an unknown key", want);
        }
    }

    /// Reports `key` if it's missing; unless the file isn't TOML, because the key may stand in the broken part.
    pub(super) fn require(&self, key: &str) {
        if self.value(key).is_none() && !self.file.is_broken() {
            let known = key::KEYS.iter().find(|known| known.table == self.name && known.name == key);
            let want = known.map_or(format!("[[{key}]]"), |known| format!("{} like {}", known.kind, known.example));
            self.report(self.at, key, "nothing", want);
        }
    }

    /// The text of `key`, read by `read`.
    pub(super) fn text<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, Wanted>) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Integer(_) => self.wrong_type(key, value, read("").err()?.what()),
            _ => self.scalar(key, value, read),
        }
    }

    /// The text or whole number of `key`, read by `read`.
    pub(super) fn text_or_number<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, Wanted>) -> Option<Spanned<T>> {
        self.scalar(key, self.value(key)?, read)
    }

    /// The whole number of `key`, within `range`; in quotes it may hold a variable.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<u32>) -> Option<Spanned<u32>> {
        self.text_or_number(key, |text| within(text, &range))
    }

    /// The list of whole numbers of `key`, each within `range`.
    pub(super) fn numbers(&self, key: &str, range: RangeInclusive<u32>) -> Option<Spanned<Vec<Spanned<u32>>>> {
        self.list(key, |text| within(text, &range))
    }

    /// The list of `key`, each text or whole number in it read by `read`.
    pub(super) fn list<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        let value = self.value(key)?;
        let DeValue::Array(list) = value.get_ref() else { return self.wrong_type(key, value, "a list") };
        // Two steps, so that the first bad item doesn't hide the others.
        let items: Vec<_> = list.iter().map(|value| self.scalar(key, value, &read)).collect();
        Some(Spanned::new(value.span(), items.into_iter().collect::<Option<_>>()?))
    }

    /// The table `key`, whose keys are known under `name`.
    pub(super) fn section(&self, key: &str, name: &'static str) -> Option<Section<'f>> {
        self.table_at(key, self.value(key)?, name, "a table")
    }

    /// The tables that stand under `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'f>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let want = format!("[[{key}]]");
        match value.get_ref() {
            DeValue::Array(list) => list.iter().filter_map(|value| self.table_at(key, value, key, &want)).collect(),
            _ => self.wrong_type(key, value, &want).into_iter().collect(),
        }
    }

    fn value(&self, key: &str) -> Option<&'f Spanned<DeValue<'f>>> {
        debug_assert!(key::names(self.name).contains(&key), "{} is missing from the list of keys", self.path(key));
        self.table.get(key)
    }

    fn table_at(
        &self,
        key: &str,
        value: &'f Spanned<DeValue<'f>>,
        name: &'static str,
        want: &str,
    ) -> Option<Section<'f>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Section { file: self.file, at: value.span().start, name, table }),
            _ => self.wrong_type(key, value, want),
        }
    }

    fn scalar<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Option<Spanned<T>> {
        let (text, got) = match value.get_ref() {
            DeValue::String(text) => {
                let text = self.file.expand(value.span().start, &self.path(key), text)?;
                let got = quoted(&text);
                (text, got)
            }
            DeValue::Integer(number) => (number.to_string(), written(value)),
            _ => (String::new(), written(value)),
        };
        match read(&text) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(wanted) => {
                self.report(value.span().start, key, got, wanted.what());
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, want: &str) -> Option<T> {
        self.report(value.span().start, key, written(value), want);
        None
    }
}

fn within(text: &str, range: &RangeInclusive<u32>) -> Result<u32, Wanted> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Wanted::new(format!("a whole number from {} to {}", range.start(), range.end())))
}

/// A value as messages repeat it.
fn written(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => shortened(&number.to_string()),
        DeValue::Float(number) => shortened(&number.to_string()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
