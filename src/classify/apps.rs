//! Well-known ports and protocols: from a readable table to two arrays that answer with one look.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::Class;
use crate::wire::{Packet, protocol};

/// An application, numbered from 1 in the order of class and name; the number has meaning within one table only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AppId(u16);

impl AppId {
    /// No application is known.
    pub const UNKNOWN: AppId = AppId(0);
}

/// Which application and class a port or IP protocol means.
#[derive(Clone)]
pub struct Apps {
    /// By [`AppId`]; the first stands for the unknown.
    apps: Vec<(String, Option<Class>)>,
    tcp: Box<[AppId; 65536]>,
    udp: Box<[AppId; 65536]>,
    protocols: Box<[AppId; 256]>,
}

/// Why a table of applications can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// It isn't TOML of the right shape.
    #[error("table of applications: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A section that is no class of the operator's.
    #[error("table of applications: [{0}] is no class; name the section voice, gaming, video, web, file or background")]
    Class(String),
    /// Two applications want the same port or protocol.
    #[error("table of applications: {first} and {second} both want {what} {number}; give it to one of them")]
    Clash {
        /// Who had it.
        first: String,
        /// Who wants it too.
        second: String,
        /// `tcp`, `udp` or `protocol`.
        what: &'static str,
        /// The port or protocol number.
        number: u16,
    },
    /// A name stands in two sections.
    #[error("table of applications: {0} stands in two classes; split it into two names")]
    Twice(String),
}

/// What the table says of one application.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    #[serde(default)]
    tcp: Vec<Range>,
    #[serde(default)]
    udp: Vec<Range>,
    #[serde(default)]
    protocol: Vec<u8>,
}

/// `443` or `"6881-6889"`.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
struct Range(RangeInclusive<u16>);

impl TryFrom<toml::Value> for Range {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Range, String> {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let range = match &value {
            toml::Value::Integer(number) => u16::try_from(*number).ok().map(|port| port..=port),
            toml::Value::String(text) => text.split_once('-').and_then(|(low, high)| Some(port(low)?..=port(high)?)),
            _ => None,
        };
        match range {
            Some(range) if !range.is_empty() => Ok(Range(range)),
            _ => Err(format!("got {value}, want a port like 443 or a range like \"6881-6889\"")),
        }
    }
}

impl Apps {
    /// The table that comes with the program, `apps.toml`.
    pub fn builtin() -> Apps {
        Apps::parse(include_str!("apps.toml")).expect("a test reads the table that comes with the program")
    }

    /// Reads a table: one TOML section per class, in it `name = { tcp = […], udp = […], protocol = […] }`.
    pub fn parse(text: &str) -> Result<Apps, AppsError> {
        let sections: BTreeMap<String, BTreeMap<String, Numbers>> = toml::from_str(text)?;
        let mut apps = Apps {
            apps: vec![("unknown".to_owned(), None)],
            tcp: Box::new([AppId::UNKNOWN; 65536]),
            udp: Box::new([AppId::UNKNOWN; 65536]),
            protocols: Box::new([AppId::UNKNOWN; 256]),
        };
        for (section, members) in sections {
            let class = Class::from_name(&section).filter(|class| Class::OPERATORS.contains(class));
            let class = class.ok_or(AppsError::Class(section))?;
            for (name, numbers) in members {
                apps.add(name, class, numbers)?;
            }
        }
        Ok(apps)
    }

    fn add(&mut self, name: String, class: Class, numbers: Numbers) -> Result<(), AppsError> {
        if self.id(&name).is_some() {
            return Err(AppsError::Twice(name));
        }
        let app = AppId(self.apps.len() as u16);
        self.apps.push((name, Some(class)));
        let names = &self.apps;
        let claim = |slot: &mut AppId, what, number| match std::mem::replace(slot, app) {
            AppId::UNKNOWN => Ok(()),
            AppId(other) if other == app.0 => Ok(()),
            AppId(other) => {
                let name = |index: u16| names[usize::from(index)].0.clone();
                Err(AppsError::Clash { first: name(other), second: name(app.0), what, number })
            }
        };
        for port in numbers.tcp.into_iter().flat_map(|range| range.0) {
            claim(&mut self.tcp[usize::from(port)], "tcp", port)?;
        }
        for port in numbers.udp.into_iter().flat_map(|range| range.0) {
            claim(&mut self.udp[usize::from(port)], "udp", port)?;
        }
        for number in numbers.protocol {
            claim(&mut self.protocols[usize::from(number)], "protocol", number.into())?;
        }
        Ok(())
    }

    /// The application and class of `packet`: of the port of either end, the lower if both are known, so that both
    /// directions agree; of the IP protocol where there are no known ports.
    #[inline]
    pub fn of(&self, packet: &Packet) -> (AppId, Option<Class>) {
        let by_port = match packet.protocol {
            protocol::TCP => self.of_ports(&self.tcp, packet),
            protocol::UDP | protocol::UDP_LITE => self.of_ports(&self.udp, packet),
            _ => AppId::UNKNOWN,
        };
        let app = if by_port == AppId::UNKNOWN { self.protocols[usize::from(packet.protocol)] } else { by_port };
        (app, self.apps[usize::from(app.0)].1)
    }

    fn of_ports(&self, table: &[AppId; 65536], packet: &Packet) -> AppId {
        let (low, high) = if packet.source_port <= packet.destination_port {
            (packet.source_port, packet.destination_port)
        } else {
            (packet.destination_port, packet.source_port)
        };
        match table[usize::from(low)] {
            AppId::UNKNOWN => table[usize::from(high)],
            app => app,
        }
    }

    /// The name of `app`; `unknown` for [`AppId::UNKNOWN`] and for numbers of other tables.
    pub fn name(&self, app: AppId) -> &str {
        self.apps.get(usize::from(app.0)).map_or("unknown", |(name, _)| name)
    }

    /// The names of all applications, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.apps.iter().skip(1).map(|(name, _)| name.as_str())
    }

    /// The application called `name`.
    pub fn id(&self, name: &str) -> Option<AppId> {
        let index = self.names().position(|known| known == name)?;
        Some(AppId(index as u16 + 1))
    }
}

impl fmt::Debug for Apps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apps").field("apps", &(self.apps.len() - 1)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames;
    use super::*;

    fn app(apps: &Apps, frame: &[u8]) -> (String, Option<Class>) {
        let (app, class) = apps.of(&Packet::parse(frame));
        (apps.name(app).to_owned(), class)
    }

    #[test]
    fn the_table_that_comes_with_the_program_knows_the_usual() {
        let apps = Apps::builtin();
        for (frame, name, class) in [
            (frames::tcp(40000, 443), "https", Class::Web),
            (frames::tcp(443, 40000), "https", Class::Web),
            (frames::udp(40000, 5060), "sip", Class::Voice),
            (frames::udp(27016, 60000), "source-engine", Class::Gaming),
            (frames::tcp(40000, 1935), "rtmp", Class::Video),
            (frames::tcp(40000, 6885), "bittorrent", Class::File),
            (frames::udp(40000, 53), "dns", Class::Background),
            (frames::icmpv6(128), "icmpv6", Class::Background),
            (frames::ip(50), "esp", Class::Web),
        ] {
            assert_eq!(app(&apps, &frame), (name.to_owned(), Some(class)));
        }
        assert_eq!(app(&apps, &frames::udp(40000, 40001)), ("unknown".to_owned(), None));
        assert_eq!(app(&apps, &[0; 60]), ("unknown".to_owned(), None));
    }

    #[test]
    fn of_two_known_ports_the_lower_decides() {
        let apps = Apps::builtin();
        assert_eq!(app(&apps, &frames::udp(5060, 53)).0, "dns");
        assert_eq!(app(&apps, &frames::udp(53, 5060)).0, "dns");
    }

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        let apps = Apps::builtin();
        for name in ["agora", "zabbix", "quic"] {
            assert!(apps.names().any(|known| known == name));
        }
        assert!(apps.names().all(|name| apps.name(apps.id(name).unwrap()) == name));
        assert_eq!((apps.id("unknown"), apps.id("https "), apps.name(AppId::UNKNOWN)), (None, None, "unknown"));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for (text, complaint) in [
            ("[voice]\na = { tcp = [1] }\n[web]\nb = { tcp = ['1-3'] }", "a and b both want tcp 1"),
            ("[voice]\na = { tcp = [1] }\n[web]\na = { tcp = [2] }", "a stands in two classes"),
            ("[control]\na = { tcp = [1] }", "[control] is no class"),
            ("[voice]\na = { tcp = ['3-1'] }", "got \"3-1\", want a port"),
            ("[voice]\na = { tcp = [65536] }", "got 65536, want a port"),
            ("[voice]\na = { sctp = [1] }", "unknown field `sctp`"),
        ] {
            let error = Apps::parse(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
