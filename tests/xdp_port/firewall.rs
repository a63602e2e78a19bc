//! The firewall on bridges, which a new network namespace has where the kernel has br_netfilter built in.

use std::fs;

use nix::mount::{MsFlags, mount};
use tidegate::port::xdp::{Error, Mode, Options, Wire, detach};

use crate::forwarder::small;
use crate::lab::{in_lab, run};
use crate::settings::{settings, state_file};

const ON: [bool; 3] = [true; 3];
const OFF: [bool; 3] = [false; 3];

fn path(table: &str) -> String {
    format!("/proc/sys/net/bridge/bridge-nf-call-{table}")
}

/// Which settings are on: of IPv4, of IPv6, of ARP; none where the kernel has no such firewall.
pub(crate) fn firewalls() -> Option<[bool; 3]> {
    let on = |table| Some(fs::read_to_string(path(table)).ok()?.trim() == "1");
    Some([on("iptables")?, on("ip6tables")?, on("arptables")?])
}

/// Runs `body` in a lab where every setting is on.
fn in_lab_with_firewalls(body: impl FnOnce() + Send) {
    in_lab(1, || {
        if firewalls().is_none() {
            eprintln!("SKIPPED: this kernel has no br_netfilter");
            return;
        }
        set("1");
        body();
    });
}

fn set(value: &str) {
    ["iptables", "ip6tables", "arptables"].iter().for_each(|table| fs::write(path(table), value).unwrap());
}

fn open(inside: &str, outside: &str) -> Wire {
    Wire::open(inside, outside, &small()).unwrap()
}

#[test]
fn it_is_off_while_there_is_a_wire_and_as_it_was_afterwards() {
    in_lab_with_firewalls(|| {
        // One is off by itself, and stays so.
        fs::write(path("ip6tables"), "0").unwrap();
        let before = firewalls();
        drop(open("port0", "port1"));
        assert_eq!(firewalls(), Some(OFF));
        let undone = detach(&[]).unwrap();
        assert_eq!(firewalls(), before);
        // It is the namespace's, so it comes back with the last port.
        assert!(undone[0].firewalls.is_empty());
        assert_eq!(undone[1].firewalls, ["bridge-nf-call-iptables", "bridge-nf-call-arptables"]);
        assert!(undone[1].to_string().contains("firewall on bridges again: bridge-nf-call-iptables"), "{}", undone[1]);

        // Someone switches all on; the next run switches them off again, and they are as before the first.
        drop(open("port0", "port1"));
        set("1");
        drop(open("port0", "port1"));
        assert_eq!(firewalls(), Some(OFF));
        for (port, expected) in [("port0", Some(OFF)), ("port1", before)] {
            detach(&[port.to_owned()]).unwrap();
            assert_eq!(firewalls(), expected, "after {port}");
        }
    });
}

#[test]
fn the_first_wire_to_go_does_not_bring_it_back_under_the_second() {
    in_lab_with_firewalls(|| {
        for port in [2, 3] {
            run("ip", &format!("link add port{port} type veth peer name peer{port}"));
            ["port", "peer"]
                .iter()
                .for_each(|end| drop(run("ip", &format!("link set {end}{port} addrgenmode none up"))));
        }
        let wires = [["port0", "port1"], ["port2", "port3"]];
        for first in [0, 1] {
            let running = wires.map(|[inside, outside]| open(inside, outside));
            assert_eq!(firewalls(), Some(OFF));
            let [one, other] = [first, 1 - first].map(|wire| wires[wire].map(str::to_owned));
            let mut running = running.into_iter().enumerate().collect::<Vec<_>>();
            running.retain(|(wire, _)| *wire != first);
            detach(&one).unwrap();
            assert_eq!(firewalls(), Some(OFF));
            // A wire that is opened when it is off by our doing knows how it was.
            drop(open(&one[0], &one[1]));
            detach(&one).unwrap();
            assert_eq!(firewalls(), Some(OFF));
            drop(running);
            detach(&other).unwrap();
            assert_eq!(firewalls(), Some(ON));
        }
    });
}

#[test]
fn a_wire_over_a_port_that_is_gone_brings_it_back_too() {
    in_lab_with_firewalls(|| {
        drop(open("port0", "port1"));
        run("ip", "link del port1");
        let undone = detach(&[]).unwrap();
        assert!(undone[1].gone && undone[1].firewalls.len() == 3, "{undone:?}");
        assert_eq!(firewalls(), Some(ON));
    });
}

#[test]
fn it_is_left_to_a_bridge_that_is_not_ours() {
    in_lab_with_firewalls(|| {
        let before = [settings("port0"), settings("port1")];
        // A name like ours is not enough.
        for stranger in ["docker0", "tidegate7"] {
            run("ip", &format!("link add {stranger} type bridge"));
            let error = Wire::open("port0", "port1", &small()).unwrap_err();
            assert!(matches!(&error, Error::BridgeFirewall { bridge, .. } if bridge == stranger), "{error}");
            let cure = "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 \
                        net.bridge.bridge-nf-call-arptables=0";
            assert!(error.to_string().contains(stranger) && error.to_string().contains(cure), "{error}");
            assert_eq!(firewalls(), Some(ON));
            assert_eq!([settings("port0"), settings("port1")], before);
            for port in ["port0", "port1"] {
                assert!(!state_file(port).exists() && !state_file(port).with_extension("lock").exists());
            }
            run("ip", &format!("link del {stranger}"));
        }
        // One that comes later is its owner's business, and so is one that lives without.
        drop(open("port0", "port1"));
        run("ip", "link add docker0 type bridge");
        drop(open("port0", "port1"));
        detach(&[]).unwrap();
        assert_eq!(firewalls(), Some(ON));
        set("0");
        drop(open("port0", "port1"));
        detach(&[]).unwrap();
        assert_eq!(firewalls(), Some(OFF));
    });
}

#[test]
fn an_opening_that_fails_brings_it_back() {
    in_lab_with_firewalls(|| {
        // A veth takes a native program only while its peer's frames fit a page, which shows only when it is attached.
        run("ip", "link set peer1 mtu 9000");
        let options = Options { mode: Some(Mode::NativeCopy), ..small() };
        let error = Wire::open("port0", "port1", &options).unwrap_err();
        assert!(matches!(error, Error::Mode { .. }), "{error}");
        assert_eq!(firewalls(), Some(ON));
    });
}

#[test]
fn a_setting_that_cannot_be_changed_is_told_with_the_cure() {
    in_lab_with_firewalls(|| {
        let before = [settings("port0"), settings("port1")];
        let (sysctls, none) = ("/proc/sys", None::<&str>);
        mount(Some(sysctls), sysctls, none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, sysctls, none, read_only, none).unwrap();
        let error = Wire::open("port0", "port1", &small()).unwrap_err().to_string();
        for wanted in ["/proc/sys", "writable", "sysctl -w net.bridge.bridge-nf-call-iptables=0 "] {
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(firewalls(), Some(ON));
        assert_eq!([settings("port0"), settings("port1")], before);
        assert!(!state_file("port0").exists() && !state_file("port1").exists());
    });
}

#[test]
fn a_state_file_of_an_earlier_version_learns_of_it() {
    in_lab_with_firewalls(|| {
        // An earlier version opened nothing before they were off.
        set("0");
        drop(open("port0", "port1"));
        for port in ["port0", "port1"] {
            let mut state: serde_json::Value = serde_json::from_slice(&fs::read(state_file(port)).unwrap()).unwrap();
            state.as_object_mut().unwrap().remove("firewalls").expect("a field");
            fs::write(state_file(port), state.to_string()).unwrap();
        }
        set("1");
        drop(open("port0", "port1"));
        assert_eq!(firewalls(), Some(OFF));
        detach(&[]).unwrap();
        assert_eq!(firewalls(), Some(ON));
    });
}
