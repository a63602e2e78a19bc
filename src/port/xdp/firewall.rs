//! The firewall of IP on bridges (br_netfilter), which belongs to the network namespace: Docker's drops what it doesn't know.

use std::collections::BTreeMap;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::bridge;
use super::diagnosis::Error;
use super::rtnl::Rtnl;

/// What has the firewall look at frames that cross a bridge, each a 0 or 1 in net.bridge.
const SETTINGS: [&str; 3] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];

/// Which of the settings are on. Where there is no br_netfilter there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Firewalls(BTreeMap<String, bool>);

impl Firewalls {
    /// The settings of this thread's network namespace now.
    pub(super) fn now() -> Firewalls {
        Firewalls::read(|name| fs::read_to_string(path(name)).ok())
    }

    fn read(value: impl Fn(&str) -> Option<String>) -> Firewalls {
        let setting = |name: &str| Some((name.to_owned(), value(name)?.trim() != "0"));
        Firewalls(SETTINGS.into_iter().filter_map(setting).collect())
    }

    /// Whether every setting of `other` is among these, on or off.
    pub(super) fn cover(&self, other: &Firewalls) -> bool {
        other.0.keys().all(|name| self.0.contains_key(name))
    }

    /// Adds the settings of `other` that aren't among these.
    pub(super) fn complete(&mut self, other: Firewalls) {
        for (name, on) in other.0 {
            self.0.entry(name).or_insert(on);
        }
    }

    /// Switches those on that are on here, and returns their names; none that are on already.
    pub(super) fn restore(&self) -> io::Result<Vec<String>> {
        let now = Firewalls::now();
        let off = self.on().into_iter().filter(|name| now.0.get(*name) == Some(&false));
        off.map(|name| fs::write(path(name), "1").map(|()| name.to_owned())).collect()
    }

    fn on(&self) -> Vec<&'static str> {
        // Of the known names only: these may come from a file, and become paths.
        SETTINGS.into_iter().filter(|name| self.0.get(*name) == Some(&true)).collect()
    }

    fn cure(&self) -> String {
        format!("sysctl -w net.bridge.{}=0", self.on().join("=0 net.bridge."))
    }
}

/// Refuses a namespace whose firewall judges frames on bridges, if a bridge that isn't ours may depend on that.
pub(super) fn check(rtnl: &mut Rtnl) -> Result<(), Error> {
    let now = Firewalls::now();
    if now.on().is_empty() {
        return Ok(());
    }
    let refused = |error| Error::refused("looking for bridges", "this network namespace", error);
    match bridge::of_others(rtnl).map_err(refused)? {
        Some(bridge) => Err(Error::BridgeFirewall { bridge, cure: now.cure() }),
        None => Ok(()),
    }
}

/// Switches off what is on; what it was must have been written down.
pub(super) fn switch_off() -> Result<(), Error> {
    let now = Firewalls::now();
    let on = now.on();
    if on.is_empty() {
        return Ok(());
    }
    for name in &on {
        fs::write(path(name), "0").map_err(|source| Error::FirewallStays { source, cure: now.cure() })?;
    }
    tracing::info!(
        "the firewall of this network namespace no longer judges frames on bridges ({}); `tidegate detach` brings that back",
        on.join(", ")
    );
    Ok(())
}

/// Where a setting is, in the network namespace of the thread that looks.
fn path(name: &str) -> String {
    format!("/proc/sys/net/bridge/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_on_bridges_is_noticed_where_it_exists() {
        assert_eq!(Firewalls::read(|_| None), Firewalls::default());
        assert!(Firewalls::read(|_| Some("0\n".to_owned())).on().is_empty());
        assert_eq!(Firewalls::read(|_| Some("1\n".to_owned())).on(), SETTINGS);
        let two = Firewalls::read(|name| Some(if name.ends_with("-iptables") { "0\n" } else { "1\n" }.to_owned()));
        assert_eq!(two.cure(), "sysctl -w net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0");
    }

    #[test]
    fn what_is_known_already_is_not_overwritten() {
        let mut known = Firewalls::read(|name| name.ends_with("-iptables").then(|| "1".to_owned()));
        let now = Firewalls::read(|_| Some("0".to_owned()));
        assert!(!known.cover(&now) && known.cover(&Firewalls::default()));
        known.complete(now.clone());
        assert!(known.cover(&now));
        assert_eq!(known.on(), ["bridge-nf-call-iptables"]);
    }

    #[test]
    fn a_name_that_is_none_of_ours_leads_nowhere() {
        let firewalls: Firewalls = serde_json::from_str(r#"{"../../kernel/panic": true}"#).unwrap();
        assert!(firewalls.on().is_empty());
    }
}
