//! The classes and their priority bands.

use std::fmt;

/// The number of priority bands; 0 is served first.
pub const BANDS: usize = 4;

/// A class of traffic; its number is its slot, which is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Protocols that keep the network itself alive; internal, not the operator's.
    Control = 0,
    /// Conversation: speech and video calls with their signalling.
    Voice = 1,
    /// Play in real time.
    Gaming = 2,
    /// Playback of video and audio, live or not.
    Video = 3,
    /// What a person waits for, and everything unknown.
    Web = 4,
    /// Transfers whose end counts, not their packets.
    File = 5,
    /// What machines do among themselves.
    Background = 6,
}

impl Class {
    /// All classes, by slot.
    pub const ALL: [Class; 7] =
        [Class::Control, Class::Voice, Class::Gaming, Class::Video, Class::Web, Class::File, Class::Background];

    /// The six that the operator names, by slot: all but control.
    pub const OPERATORS: [Class; 6] =
        [Class::Voice, Class::Gaming, Class::Video, Class::Web, Class::File, Class::Background];

    /// The slot of the class.
    pub const fn slot(self) -> u8 {
        self as u8
    }

    /// The class in `slot`.
    pub fn from_slot(slot: u8) -> Option<Class> {
        Class::ALL.get(usize::from(slot)).copied()
    }

    /// The name for configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Control => "control",
            Class::Voice => "voice",
            Class::Gaming => "gaming",
            Class::Video => "video",
            Class::Web => "web",
            Class::File => "file",
            Class::Background => "background",
        }
    }

    /// The class called `name`.
    pub fn from_name(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The priority band, below [`BANDS`].
    pub const fn band(self) -> u8 {
        match self {
            Class::Control => 0,
            Class::Voice | Class::Gaming => 1,
            Class::Video | Class::Web => 2,
            Class::File | Class::Background => 3,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_names_and_bands_agree() {
        for (slot, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(class.slot()), slot);
            assert_eq!(Class::from_slot(class.slot()), Some(class));
            assert_eq!(Class::from_name(class.name()), Some(class));
            assert!(usize::from(class.band()) < BANDS);
        }
        assert_eq!(Class::ALL[1..], Class::OPERATORS);
        assert_eq!(Class::from_slot(7), None);
        assert_eq!(Class::from_name("Voice"), None);
    }
}
