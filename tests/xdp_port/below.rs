//! The kernel bridge below the ports: what it is, what it carries, and that it is left alone when it is right.

use serde_json::Value;
use tidegate::frame::Side;
use tidegate::port::xdp::{Wire, detach};

use crate::forwarder::{Forwarder, small};
use crate::lab::{Peer, mac};
use crate::lab::{Tcpdump, in_lab, run, wait_until};

/// All interfaces as `ip` shows them, without what changes by itself or with every program.
pub(crate) fn links() -> Vec<Value> {
    let Value::Array(mut links) = serde_json::from_str(&run("ip", "-d -j link show")).unwrap() else { panic!() };
    links.iter_mut().for_each(strip);
    links
}

fn strip(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|key, _| !key.ends_with("_timer") && key != "xdp");
        map.values_mut().for_each(strip);
    }
}

fn link(name: &str) -> Value {
    let found = links().into_iter().find(|link| link["ifname"] == name);
    found.unwrap_or_else(|| panic!("no interface {name}"))
}

fn has_flag(link: &Value, flag: &str) -> bool {
    link["flags"].as_array().unwrap().iter().any(|has| has == flag)
}

/// The bridge, as DESIGN has it.
fn check_bridge(name: &str) {
    let bridge = link(name);
    let settings = &bridge["linkinfo"]["info_data"];
    assert_eq!((&settings["stp_state"], &settings["mcast_snooping"]), (&0.into(), &0.into()));
    assert!(settings["vlan_filtering"].as_u64().unwrap_or(0) == 0);
    assert!(has_flag(&bridge, "UP"), "{bridge}");
    assert_eq!(bridge["ifalias"], "tidegate: port0 - port1");
    for port in ["port0", "port1"] {
        let port = link(port);
        assert_eq!(port["master"], name);
        let settings = &port["linkinfo"]["info_slave_data"];
        assert_eq!(settings["group_fwd_mask"], "0xfffd");
        for (setting, value) in [("learning", false), ("flood", true), ("mcast_flood", true), ("bcast_flood", true)] {
            assert_eq!(settings[setting], value, "{setting}");
        }
        assert_eq!(settings["state"], "forwarding");
    }
    for interface in [name, "port0", "port1"] {
        let link = link(interface);
        assert!(has_flag(&link, "NOARP"), "{link}");
        assert_eq!(link["inet6_addr_gen_mode"], "none");
        assert!(run("sysctl", &format!("-n net.ipv6.conf.{interface}.disable_ipv6")).trim() == "1");
    }
    let entries = run("bridge", &format!("fdb show br {name}"));
    assert!(!entries.lines().any(|entry| entry.contains("master")), "it keeps frames to itself:\n{entries}");
}

/// Frames of every kind that a bridge might keep, change or drop, with a source on either side in turn.
fn delicate(bridge: &str) -> Vec<Vec<u8>> {
    let to = |address: [u8; 6], rest: &[u8]| [&address, &[2, 0, 0, 0, 0, 9][..], rest, &[0xa5; 50]].concat();
    let group = |last| [0x01, 0x80, 0xc2, 0, 0, last];
    let mut frames = vec![
        to(group(0x0e), &[0x88, 0xcc]),                                           // LLDP
        to(group(0x00), &[0x00, 0x26, 0x42, 0x42, 0x03]),                         // a BPDU
        to(group(0x02), &[0x88, 0x09, 0x01]),                                     // LACP
        to(group(0x03), &[0x88, 0x8e]),                                           // EAPOL
        to([0xff; 6], &[0x08, 0x06]),                                             // ARP
        to([0x01, 0, 0x5e, 0, 0, 251], &[0x08, 0x00]),                            // multicast that nobody joined
        to([2, 0, 0, 0, 0, 1], &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 0x88, 0xb5]), // QinQ
        to([2, 0, 0, 0, 0, 9], &[0x88, 0xb5]), // to the address that is also the source
    ];
    frames.extend(["port0", "port1", bridge].map(|name| to(mac(name), &[0x88, 0xb5])));
    // The longest that a veth takes with both tags in its bytes.
    let mut long = to([2, 0, 0, 0, 0, 1], &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 0x88, 0xb5]);
    long.resize(14 + 1500, 0x5a);
    frames.push(long);
    frames
}

/// Sends the delicate frames from one peer, then from the other, and checks what arrives.
fn check_passage(bridge: &str) {
    for (from, to) in [("peer0", "peer1"), ("peer1", "peer0")] {
        let frames = delicate(bridge);
        let mut tcpdump = Tcpdump::start(to, frames.len());
        let peer = Peer::new(from);
        frames.iter().for_each(|frame| peer.send(frame));
        wait_until("capture", || tcpdump.is_done());
        for (arrived, sent) in tcpdump.frames().iter().zip(&frames) {
            assert_eq!(arrived, sent, "from {from}");
        }
    }
}

fn bridge_of(port: &str) -> String {
    link(port)["master"].as_str().expect("a master").to_owned()
}

#[test]
fn everything_passes_both_ways_when_nobody_takes_the_frames() {
    in_lab(1, || {
        let wire = Wire::open("port0", "port1", &small()).unwrap();
        let bridge = wire.bridge.clone();
        assert_eq!((&*bridge_of("port0"), &*bridge_of("port1")), (&*bridge, &*bridge));
        assert_eq!(wire.drivers, ["veth", "veth"]);
        drop(wire);
        check_bridge(&bridge);
        check_passage(&bridge);
        // Also without the program.
        for port in ["port0", "port1"] {
            run("ip", &format!("link set dev {port} xdp off"));
        }
        check_passage(&bridge);
    });
}

#[test]
fn the_longest_frame_with_two_tags_passes() {
    in_lab(1, || {
        drop(Wire::open("port0", "port1", &small()).unwrap());
        // A veth wants room for the tags on its way in, where hardware has it; the port by which it leaves stays as it is.
        for end in ["peer0", "port0", "peer1"] {
            run("ip", &format!("link set {end} mtu 1504"));
        }
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 0x88, 0xb5];
        frame.resize(14 + 2 * 4 + 1500, 0x5a);
        let (mut tcpdump, peer) = (Tcpdump::start("peer1", 1), Peer::new("peer0"));
        // A link whose MTU changes may lose a frame.
        wait_until("capture", || {
            peer.send(&frame);
            tcpdump.is_done()
        });
        assert!(tcpdump.frames() == [frame]);
    });
}

#[test]
fn the_bridge_stays_out_of_the_way_of_a_bridge_that_runs() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        let frames = delicate(&bridge_of("port0"));
        let mut tcpdump = Tcpdump::start("peer1", frames.len());
        let peer = Peer::new("peer0");
        frames.iter().for_each(|frame| peer.send(frame));
        forwarder.turn_until("capture", |_| tcpdump.is_done());
        assert!(tcpdump.frames() == frames);
        // Each came by the sockets, and none a second time by the bridge.
        assert_eq!(forwarder.received[Side::Inside as usize][0], frames.len() as u64);
        assert!(Peer::new("peer1").receive().is_none());
    });
}

#[test]
fn opening_again_touches_nothing_that_is_right() {
    in_lab(1, || {
        drop(Forwarder::open(&small()));
        // The kernel says so in its own time.
        wait_until("carrier", || !has_flag(&link(&bridge_of("port0")), "NO-CARRIER"));
        let before = links();
        let entries = run("bridge", "fdb show");
        drop(Forwarder::open(&small()));
        assert_eq!(links(), before);
        assert_eq!(run("bridge", "fdb show"), entries);
        // Nor does it matter which port is called the inside.
        drop(Wire::open("port1", "port0", &small()).unwrap());
        assert_eq!(bridge_of("port0"), before.last().unwrap()["ifname"].as_str().unwrap());
    });
}

#[test]
fn opening_again_repairs_the_bridge() {
    in_lab(1, || {
        drop(Forwarder::open(&small()));
        let (before, bridge) = (links(), bridge_of("port0"));
        run("ip", &format!("link set {bridge} down type bridge stp_state 1 mcast_snooping 1 nf_call_iptables 1"));
        run("ip", &format!("link set {bridge} arp on alias other"));
        run("bridge", "link set dev port0 learning on flood off isolated on");
        run("ip", "link set port1 nomaster arp on");
        std::fs::write("/proc/sys/net/ipv6/conf/port1/disable_ipv6", "0").unwrap();
        drop(Forwarder::open(&small()));
        check_bridge(&bridge);
        check_passage(&bridge);
        let ports = |links: &[Value]| links.iter().map(|link| link["master"].clone()).collect::<Vec<_>>();
        assert_eq!(ports(&links()), ports(&before));
        // And one that somebody removed is made again.
        run("ip", &format!("link del {bridge}"));
        drop(Forwarder::open(&small()));
        check_bridge(&bridge);
    });
}

#[test]
fn a_port_that_was_exchanged_joins_the_same_bridge() {
    in_lab(1, || {
        drop(Forwarder::open(&small()));
        let bridge = bridge_of("port1");
        run("ip", "link del port0");
        run("ip", "link add port0 type veth peer name peer0");
        run("ip", "link set port0 addrgenmode none up");
        run("ip", "link set peer0 addrgenmode none up");
        drop(Forwarder::open(&small()));
        check_bridge(&bridge);
        check_passage(&bridge);
        let undone = detach(&[]).unwrap();
        assert!(undone.iter().all(|port| port.bridge.as_ref() == Some(&bridge)), "{undone:?}");
        assert!(run("ip", "link show type bridge").is_empty());
    });
}
