//! What is changed on the interfaces, and that it is undone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tidegate::port::xdp::{Error, Mode, Options, Wire, detach};

use crate::forwarder::{Forwarder, small};
use crate::lab::{in_lab, run, wait_until};

/// Everything that a port changes on an interface, as the system's own tools show it.
pub(crate) fn settings(interface: &str) -> String {
    let sysctls = run("sysctl", &format!("-a -r net.ipv[46].conf.{interface}\\."));
    let ethtool = run("ethtool", &format!("-k {interface}")) + &run("ethtool", &format!("-l {interface}"));
    run("ip", &format!("-d link show {interface}")) + &ethtool + &sysctls
}

pub(crate) fn state_file(interface: &str) -> PathBuf {
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

#[test]
fn ipv6_comes_back_with_the_address_that_the_kernel_made() {
    in_lab(1, || {
        run("ip", "link set port0 addrgenmode eui64");
        // The kernel makes the address when the interface comes up.
        run("ip", "link set port0 down");
        run("ip", "link set port0 up");
        let address = || run("ip", "-6 -brief address show dev port0");
        wait_until("address", || address().contains("fe80::"));
        let before = [address(), settings("port0")];
        drop(Forwarder::open(&small()));
        assert!(!address().contains("fe80::"), "{}", address());
        let undone = detach(&[]).unwrap();
        assert_eq!([undone[0].voice, undone[1].voice], [true, true]);
        wait_until("address", || address() == before[0]);
        assert_eq!(settings("port0"), before[1]);
    });
}

#[test]
fn too_many_receive_channels_are_reduced_and_come_back() {
    in_lab(16, || {
        // A veth takes a native program only with as many receive queues as its peer has transmit queues.
        run("ethtool", "-L peer0 tx 8");
        run("ethtool", "-L peer1 tx 8");
        let before = [settings("port0"), settings("port1")];
        let forwarder = Forwarder::open(&small());
        assert_eq!(forwarder.mode, Mode::NativeCopy);
        assert_eq!(forwarder.rx.each_ref().map(Vec::len), [8, 8]);
        drop(forwarder);
        drop(Forwarder::open(&small()));

        // Someone raises them, and the veth doesn't let go of them while the program is attached: so all are bound.
        run("ethtool", "-L port0 rx 16");
        run("ethtool", "-L peer0 tx 16");
        assert_eq!(Forwarder::open(&small()).rx.each_ref().map(Vec::len), [16, 8]);
        run("ethtool", "-L peer0 tx 8");

        let undone = detach(&[]).unwrap();
        assert_eq!([undone[0].channels, undone[1].channels], [None, Some(16)]);
        assert!(undone[1].to_string().contains("16 receive channels again"), "{}", undone[1]);
        assert_eq!([settings("port0"), settings("port1")], before);
    });
}

#[test]
fn detach_undoes_a_state_that_was_only_half_made_or_half_undone() {
    in_lab(1, || {
        let before = [settings("port0"), settings("port1")];
        let damages: [(&str, &[&str]); 4] = [
            ("the bridge is gone", &["link del BRIDGE"]),
            ("a port is out of it", &["link set port0 nomaster"]),
            ("a program is gone", &["link set dev port1 xdp off"]),
            ("nothing was done yet", &["link set dev port0 xdp off", "link set dev port1 xdp off", "link del BRIDGE"]),
        ];
        for (what, commands) in damages {
            let bridge = Wire::open("port0", "port1", &small()).unwrap().bridge;
            commands.iter().for_each(|command| drop(run("ip", &command.replace("BRIDGE", &bridge))));
            detach(&[]).unwrap();
            assert_eq!([settings("port0"), settings("port1")], before, "{what}");
        }
        // One port at a time: the bridge goes with the last.
        drop(Wire::open("port0", "port1", &small()).unwrap());
        for (port, bridges) in [("port1", 1), ("port0", 0)] {
            detach(&[port.to_owned()]).unwrap();
            let left = run("ip", "-br link show type bridge");
            assert_eq!(left.lines().count(), bridges, "{left}");
        }
        assert_eq!([settings("port0"), settings("port1")], before);
    });
}

#[test]
fn what_an_earlier_version_left_is_taken_over_and_undone() {
    in_lab(1, || {
        run("ip", "link set port1 promisc on");
        let before = [settings("port0"), settings("port1")];
        drop(Wire::open("port0", "port1", &small()).unwrap());
        // What it wrote: no bridge, no ARP and IPv6, no channels, no firewalls.
        for port in ["port0", "port1"] {
            let mut state: serde_json::Value = serde_json::from_slice(&fs::read(state_file(port)).unwrap()).unwrap();
            let fields = ["bridge", "voice", "channels", "cut", "firewalls"];
            fields.iter().for_each(|field| drop(state.as_object_mut().unwrap().remove(*field).expect("a field")));
            fs::write(state_file(port), state.to_string()).unwrap();
            run("ip", &format!("link set {port} nomaster arp on"));
            fs::write(format!("/proc/sys/net/ipv6/conf/{port}/disable_ipv6"), "0").unwrap();
        }
        let states = fs::read(state_file("port0")).unwrap();
        run("ip", "link del BRIDGE".replace("BRIDGE", &bridge()).as_str());
        drop(Wire::open("port0", "port1", &small()).unwrap());
        assert_ne!(fs::read(state_file("port0")).unwrap(), states, "completed");
        detach(&[]).unwrap();
        assert_eq!([settings("port0"), settings("port1")], before);
    });
}

/// The name of the one bridge.
fn bridge() -> String {
    let bridges = run("ip", "-br link show type bridge");
    bridges.split_whitespace().next().expect("a bridge").to_owned()
}
