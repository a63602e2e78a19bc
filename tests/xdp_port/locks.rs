//! One process per port, and what a process that is killed leaves behind.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate::port::xdp::{Error, Wire, detach};

use crate::below::links;
use crate::firewall::firewalls;
use crate::forwarder::small;
use crate::lab::{in_lab, run};
use crate::settings::{settings, state_file};

/// Run by the others in a process of its own: opens the wire, says so, and holds it until it is killed.
#[test]
fn hold_as_the_child_of_another_test() {
    if env::var_os("TIDEGATE_TEST_CHILD").is_some() {
        let wire = Wire::open("port0", "port1", &small());
        println!("answer: {}", wire.as_ref().map_or_else(Error::to_string, |_| "open".to_owned()));
        std::io::stdout().flush().unwrap();
        std::io::stdin().lines().for_each(drop);
    }
}

fn holder() -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "locks::hold_as_the_child_of_another_test", "--nocapture"])
        .env("TIDEGATE_TEST_CHILD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn answer(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    lines.find_map(|line| Some(line.unwrap().split_once("answer: ")?.1.to_owned())).expect("an answer")
}

fn refusal(inside: &str, outside: &str) -> String {
    let error = Wire::open(inside, outside, &small()).expect_err("refused");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_port_belongs_to_one_wire_of_a_process() {
    in_lab(1, || {
        let wire = Wire::open("port0", "port1", &small()).unwrap();
        let before = links();
        for (inside, outside, shared) in [("port0", "port1", "port0"), ("peer0", "port1", "port1")] {
            let error = refusal(inside, outside);
            assert!(error.contains(&format!("port {shared} is in use by another wire of this process")), "{error}");
        }
        assert!(matches!(detach(&[]), Err(Error::InUse { .. })));
        assert_eq!(links(), before);
        assert!(!state_file("peer0").exists());
        // It is the memory that holds the ports, in whoever's hands.
        let Wire { table, rx, tx, .. } = wire;
        drop((rx, tx));
        refusal("port0", "port1");
        drop(table);
        drop(Wire::open("port0", "port1", &small()).unwrap());
    });
}

#[test]
fn another_process_is_named_and_its_death_frees_the_ports() {
    in_lab(1, || {
        let before = [settings("port0"), settings("port1")];
        let mut child = holder();
        assert_eq!(answer(&mut child), "open");
        let running = links();
        let error = refusal("port0", "port1");
        let pid = child.id();
        assert!(error.contains(&format!("process {pid} (")) && error.ends_with(&format!("kill {pid}")), "{error}");
        for interfaces in [vec![], vec!["port1".to_owned()]] {
            let error = detach(&interfaces).unwrap_err();
            assert!(error.to_string().contains(&format!("process {pid} (")), "{error}");
        }
        assert_eq!(links(), running);
        // A second process is told the same.
        let mut second = holder();
        assert!(answer(&mut second).contains(&format!("kill {pid}")));
        second.kill().unwrap();
        second.wait().unwrap();

        child.kill().unwrap();
        child.wait().unwrap();
        drop(Wire::open("port0", "port1", &small()).unwrap());
        detach(&[]).unwrap();
        assert_eq!([settings("port0"), settings("port1")], before);
        assert!(!state_file("port0").with_extension("lock").exists());
    });
}

#[test]
fn detach_undoes_whatever_a_killed_opening_left() {
    // Any moment of an opening, which takes some tens of milliseconds.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed: {seed}");
    let delays = (0..20u64).map(|i| Duration::from_micros(seed.wrapping_mul(2 * i + 1) / 7 % 5_000 + i * 4_000));
    in_lab(1, || {
        let (before, judged) = ([settings("port0"), settings("port1")], firewalls());
        for delay in delays {
            let mut child = holder();
            std::thread::sleep(delay);
            child.kill().unwrap();
            child.wait().unwrap();
            detach(&[]).unwrap();
            assert_eq!([settings("port0"), settings("port1")], before, "killed after {delay:?}");
            assert_eq!(firewalls(), judged, "killed after {delay:?}");
            assert!(run("ip", "link show type bridge").is_empty());
            assert!(!state_file("port0").exists() && !state_file("port1").exists());
        }
        drop(Wire::open("port0", "port1", &small()).unwrap());
    });
}
