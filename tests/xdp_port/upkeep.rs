//! Links that come and go while the bridge runs.

use std::fs;

use tidegate::frame::Side;
use tidegate::port::xdp::{Condition, Error, Watch, Wire, detach};

use crate::forwarder::{Forwarder, small};
use crate::lab::{in_lab, run, wait_until};
use crate::settings::{settings, state_file};

fn expect(watch: &mut Watch, side: Side, condition: Condition) {
    wait_until(&format!("{condition:?}"), || watch.look(side) == condition);
}

fn is_up(interface: &str) -> bool {
    run("ip", &format!("link show {interface}")).contains(",UP")
}

#[test]
fn a_watch_sees_what_becomes_of_a_port() {
    in_lab(1, || {
        let mut watch = Watch::new("port0", "port1").unwrap();
        expect(&mut watch, Side::Inside, Condition::Up);
        run("ip", "link set peer0 down");
        expect(&mut watch, Side::Inside, Condition::NoCarrier);
        expect(&mut watch, Side::Outside, Condition::Up);
        run("ip", "link set port0 down");
        expect(&mut watch, Side::Inside, Condition::Down);
        run("ip", "link set peer0 up");
        run("ip", "link set port0 up");
        expect(&mut watch, Side::Inside, Condition::Up);

        run("ip", "link set port0 down");
        run("ip", "link set port0 name other up");
        expect(&mut watch, Side::Inside, Condition::Gone);
        run("ip", "link set other down");
        run("ip", "link set other name port0 up");
        expect(&mut watch, Side::Inside, Condition::Up);

        run("ip", "link del port1");
        expect(&mut watch, Side::Outside, Condition::Gone);
        run("ip", "link add port1 type veth peer name peer1");
        run("ip", "link set port1 addrgenmode none up");
        expect(&mut watch, Side::Outside, Condition::Gone);
        run("ip", "link set peer1 addrgenmode none up");
        expect(&mut Watch::new("port0", "port1").unwrap(), Side::Outside, Condition::Up);
        assert!(matches!(Watch::new("port0", "nowhere"), Err(Error::NoInterface { .. })));
    });
}

#[test]
fn a_loss_of_link_is_carried_and_mended() {
    in_lab(1, || {
        let mut watch = Watch::new("port0", "port1").unwrap();
        // Without a wire nobody would know later who brought the interface down.
        assert!(matches!(watch.cut(Side::Outside), Err(Error::StateFile { .. })));
        assert!(is_up("port1"));

        let _forwarder = Forwarder::open(&small());
        let state = fs::read(state_file("port1")).unwrap();
        watch.cut(Side::Outside).unwrap();
        assert_eq!(watch.look(Side::Outside), Condition::Down);
        wait_until("loss at the far end", || run("ip", "link show peer1").contains("NO-CARRIER"));
        watch.cut(Side::Outside).unwrap();
        watch.mend(Side::Outside).unwrap();
        expect(&mut watch, Side::Outside, Condition::Up);
        assert_eq!(fs::read(state_file("port1")).unwrap(), state);
    });
}

#[test]
fn a_port_that_an_earlier_run_cut_is_brought_up_again() {
    in_lab(1, || {
        let before = settings("port1");
        let cut = || {
            drop(Wire::open("port0", "port1", &small()).unwrap());
            Watch::new("port0", "port1").unwrap().cut(Side::Outside).unwrap();
            assert!(!is_up("port1"));
        };
        cut();
        drop(Wire::open("port0", "port1", &small()).unwrap());
        assert!(is_up("port1"));
        // Now it is down by another hand, which has its reasons.
        run("ip", "link set port1 down");
        assert!(matches!(Wire::open("port0", "port1", &small()), Err(Error::Down(_))));
        run("ip", "link set port1 up");

        cut();
        let undone = detach(&[]).unwrap();
        assert_eq!([undone[0].up, undone[1].up], [false, true]);
        assert!(undone[1].to_string().contains("up again"), "{}", undone[1]);
        wait_until("carrier", || settings("port1") == before);
    });
}
