//! What is changed on the interfaces, and that it is undone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tidegate::port::xdp::{Error, Mode, Options, Wire, detach};

use crate::forwarder::{Forwarder, small};
use crate::lab::{in_lab, run};

/// Everything that a port changes on an interface, as the system's own tools show it.
fn settings(interface: &str) -> String {
    run("ip", &format!("-d link show {interface}")) + &run("ethtool", &format!("-k {interface}"))
}

fn state_file(interface: &str) -> PathBuf {
    let namespace = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    PathBuf::from(format!("/run/tidegate/{namespace}-{interface}.json"))
}

fn is_on(interface: &str, feature: &str) -> bool {
    run("ethtool", &format!("-k {interface}")).contains(&format!("{feature}: on"))
}

#[test]
fn detach_undoes_what_open_did_and_twice_is_harmless() {
    in_lab(1, || {
        // One setting of its own, so that "off" must come back as well.
        run("ethtool", "-K port1 rx-vlan-stag-hw-parse off tx-tcp-mangleid-segmentation off");
        run("ip", "link set port1 promisc on");
        let before = [settings("port0"), settings("port1")];

        let forwarder = Forwarder::open(&small());
        for port in ["port0", "port1"] {
            let link = run("ip", &format!("-d link show {port}"));
            assert!(link.contains("PROMISC") && link.contains("prog/xdp") && link.contains("name tidegate"), "{link}");
            for feature in ["tx-vlan-stag-hw-insert", "rx-vlan-offload", "tcp-segmentation-offload"] {
                assert!(!is_on(port, feature), "{port}: {feature}");
            }
            assert!(state_file(port).exists());
        }
        drop(forwarder);
        assert!(run("ip", "-d link show port0").contains("prog/xdp"), "the program outlives the sockets");

        let undone = detach(&[]).unwrap();
        assert_eq!(undone.iter().map(|port| &*port.interface).collect::<Vec<_>>(), ["port0", "port1"]);
        assert!(undone.iter().all(|port| port.program && !port.gone && !port.features.is_empty()));
        assert_eq!([undone[0].promiscuous, undone[1].promiscuous], [true, false]);
        assert_eq!([settings("port0"), settings("port1")], before);
        assert!(!state_file("port0").exists() && !state_file("port1").exists());

        assert_eq!(detach(&[]).unwrap(), []);
        let again = detach(&["port0".to_owned(), "port1".to_owned()]).unwrap();
        assert!(again.iter().all(|port| !port.program && !port.promiscuous && port.features.is_empty()), "{again:?}");
        assert_eq!([settings("port0"), settings("port1")], before);
    });
}

#[test]
fn a_restart_keeps_the_original_settings_and_replaces_the_program() {
    in_lab(1, || {
        let before = settings("port0");
        drop(Forwarder::open(&small()));
        let (state, first) = (fs::read(state_file("port0")).unwrap(), run("ip", "-d link show port0"));
        drop(Forwarder::open(&small()));
        assert_eq!(fs::read(state_file("port0")).unwrap(), state);
        assert_ne!(run("ip", "-d link show port0"), first, "another program has taken its place");
        // The other mode can't replace it, but follows it.
        drop(Forwarder::open(&Options { mode: Some(Mode::Generic), ..small() }));
        assert!(run("ip", "-d link show port0").contains("xdpgeneric"));
        detach(&[]).unwrap();
        assert_eq!(settings("port0"), before);
    });
}

#[test]
fn an_opening_that_fails_leaves_nothing_behind() {
    in_lab(1, || {
        // A veth takes a native program only while its peer's frames fit a page, which shows only when it is attached.
        run("ip", "link set peer1 mtu 9000");
        let before = [settings("port0"), settings("port1")];
        let options = Options { mode: Some(Mode::NativeCopy), ..small() };
        let error = Wire::open("port0", "port1", &options).unwrap_err();
        assert!(matches!(&error, Error::Mode { interface, .. } if interface == "port1"), "{error}");
        assert_eq!([settings("port0"), settings("port1")], before);
        assert!(run("ip", "-d link show type bridge").is_empty());
        for port in ["port0", "port1"] {
            assert!(!state_file(port).exists() && !state_file(port).with_extension("lock").exists());
        }
    });
}

#[test]
fn the_state_of_an_interface_that_is_gone_is_not_applied_to_another() {
    in_lab(1, || {
        drop(Forwarder::open(&small()));
        run("ip", "link del port0");
        run("ip", "link add port0 type veth peer name peer0");
        run("ip", "link set port0 addrgenmode none promisc on up");
        let before = settings("port0");
        let undone = detach(&[]).unwrap();
        assert_eq!([undone[0].gone, undone[1].gone], [true, false]);
        assert_eq!(settings("port0"), before);
        assert!(!state_file("port0").exists());
    });
}

#[test]
fn a_damaged_state_file_stops_everything_and_stays() {
    in_lab(1, || {
        fs::create_dir_all("/run/tidegate").unwrap();
        let file = state_file("port1");
        fs::write(&file, "{\"interface\":").unwrap();
        let before = [settings("port0"), settings("port1")];
        let opened = Wire::open("port0", "port1", &small()).unwrap_err().to_string();
        let detached = detach(&[]).unwrap_err().to_string();
        let after = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(after, b"{\"interface\":");
        for error in [opened, detached] {
            assert!(error.contains("damaged") && error.contains(&*file.to_string_lossy()), "{error}");
        }
        assert_eq!([settings("port0"), settings("port1")], before);
        assert!(!state_file("port0").exists());
    });
}
