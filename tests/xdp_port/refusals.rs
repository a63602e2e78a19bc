//! What is refused, and with which words.

use std::env;
use std::process::Command;

use tidegate::port::xdp::{Error, Options, OptionsError, QUEUES_MAX, Wire, detach};

use crate::forwarder::small;
use crate::lab::{in_lab, run};
use crate::settings::{settings, state_file};

fn refusal(inside: &str, outside: &str, options: &Options) -> Error {
    match Wire::open(inside, outside, options) {
        Ok(_) => panic!("{inside} and {outside} were opened"),
        Err(error) => error,
    }
}

#[test]
fn interfaces_that_cannot_be_ports() {
    in_lab(1, || {
        let error = refusal("port0", "nowhere", &small());
        assert!(matches!(error, Error::NoInterface { .. }));
        for name in ["nowhere", "port0", "port1", "peer0", "peer1", "lo"] {
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(matches!(detach(&["nowhere".to_owned()]), Err(Error::NoInterface { .. })));

        assert!(matches!(refusal("port0", "port0", &small()), Error::SameInterface { .. }));
        run("ip", "link property add dev port0 altname uplink");
        assert!(matches!(refusal("port0", "uplink", &small()), Error::SameInterface { .. }));

        run("ip", "link set port1 down");
        let error = refusal("port0", "port1", &small());
        assert!(error.to_string().ends_with("ip link set port1 up"), "{error}");
    });
}

/// Refuses to open `port0` and `port1` with words that have all of `wanted` in them, and changes nothing.
fn check_refusal(wanted: &[&str]) {
    let before = [settings("port0"), settings("port1")];
    let error = refusal("port0", "port1", &small()).to_string();
    assert!(wanted.iter().all(|wanted| error.contains(wanted)), "{error}");
    assert_eq!([settings("port0"), settings("port1")], before);
    for port in ["port0", "port1"] {
        assert!(!state_file(port).exists() && !state_file(port).with_extension("lock").exists());
    }
}

#[test]
fn interfaces_that_the_machine_itself_uses() {
    in_lab(1, || {
        run("ip", "address add 192.0.2.1/24 dev port0");
        run("ip", "address add 2001:db8::1/64 dev port0 nodad");
        check_refusal(&["port0 has the address 192.0.2.1/24, 2001:db8::1/64;", "ip address flush dev port0"]);
        run("ip", "address flush dev port0");
        run("ip", "address add fe80::1/64 dev port1 nodad");
        check_refusal(&["port1 has the address fe80::1/64;"]);
        run("ip", "address flush dev port1");

        run("ip", "route add 203.0.113.0/24 dev port1");
        check_refusal(&["the route to 203.0.113.0/24 leaves by interface port1", "ip route flush dev port1"]);
        run("ip", "route flush dev port1");
        run("ip", "-6 route add default dev port0");
        check_refusal(&["the route to default leaves by interface port0", "ip -6 route flush dev port0"]);
        run("ip", "-6 route flush dev port0");
        drop(Wire::open("port0", "port1", &small()).unwrap());
    });
}

#[test]
fn interfaces_that_belong_to_something_else() {
    in_lab(1, || {
        run("ip", "link add lan type bridge");
        run("ip", "link set port1 master lan");
        check_refusal(&["port1 belongs to the bridge lan;", "ip link set port1 nomaster"]);
        run("ip", "link del lan");

        let bridge = Wire::open("port0", "port1", &small()).unwrap().bridge;
        run("ip", "link add third type veth");
        run("ip", &format!("link set third master {bridge}"));
        let error = refusal("port0", "port1", &small()).to_string();
        assert!(error.contains(&format!("{bridge} also holds third")) && error.contains("detach third"), "{error}");
        run("ip", "link del third");
        // A wire over one of the ports and another interface would leave the other in the bridge.
        let error = refusal("port0", "peer1", &small()).to_string();
        assert!(error.contains("tidegate detach port1"), "{error}");
        detach(&[]).unwrap();

        run("ip", &format!("link add {bridge} type veth"));
        check_refusal(&[&bridge, "ip link set"]);
    });
}

#[test]
fn an_mtu_whose_frames_do_not_fit_a_chunk() {
    in_lab(1, || {
        let half = Options { chunk: 2048, ..small() };
        run("ip", "link set port1 mtu 1771");
        let error = refusal("port0", "port1", &half).to_string();
        assert!(error.contains("ip link set port1 mtu 1770, or set chunk to 4096"), "{error}");
        drop(Wire::open("port0", "port1", &small()).unwrap());
        run("ip", "link set port1 mtu 1770");
        drop(Wire::open("port0", "port1", &half).unwrap());
        run("ip", "link set port1 mtu 3819");
        let error = refusal("port0", "port1", &small()).to_string();
        assert!(error.ends_with("ip link set port1 mtu 3818"), "{error}");
    });
}

#[test]
fn more_receive_queues_than_a_program_tells_apart() {
    in_lab(1, || {
        // A bridge has queues whose number its driver can't change.
        run("ip", &format!("link add many0 numrxqueues {} type bridge", QUEUES_MAX + 1));
        run("ip", "link set many0 addrgenmode none up");
        let error = refusal("many0", "port1", &small());
        assert!(matches!(error, Error::Queues { queues: 65, .. }), "{error}");
        assert!(error.to_string().contains("ethtool -L many0 combined 64"), "{error}");
    });
}

#[test]
fn a_port_with_the_program_of_someone_else() {
    in_lab(1, || {
        let directory = tempfile::tempdir().unwrap();
        let (source, object) = (directory.path().join("other.c"), directory.path().join("other.o"));
        std::fs::write(&source, "__attribute__((section(\"xdp\"), used)) int other(void *frame) { return 2; }")
            .unwrap();
        let paths = format!("-target bpf -O2 -g -c {} -o {}", source.display(), object.display());
        run(&env::var("CLANG").unwrap_or_else(|_| "clang".to_owned()), &paths);
        run("ip", &format!("link set dev port1 xdp obj {} sec xdp", object.display()));
        let error = refusal("port0", "port1", &small()).to_string();
        assert!(error.contains("\"other\"") && error.contains("ip link set dev port1 xdp off"), "{error}");
        assert!(!run("ip", "-d link show port0").contains("PROMISC"), "nothing was changed before it was noticed");
        detach(&["port1".to_owned()]).unwrap();
        assert!(run("ip", "-d link show port1").contains("name other"), "detach removes only ours");
    });
}

#[test]
fn options_that_cannot_be() {
    let check = |options: Options| options.frames(2).unwrap_err();
    let default = Options::default;
    assert_eq!(default().frames(2), Ok(2 * 4096 + 2 * 64 + 6 * 32 + 8192));
    assert_eq!(check(Options { rx_ring: 1000, ..default() }), OptionsError::Ring { option: "rx_ring", got: 1000 });
    assert_eq!(check(Options { tx_ring: 16, ..default() }), OptionsError::Ring { option: "tx_ring", got: 16 });
    assert_eq!(check(Options { chunk: 3000, ..default() }), OptionsError::Chunk(3000));
    let full = Options { max_in_flight: 129, completion_ring: 128, ..default() };
    assert_eq!(check(full), OptionsError::InFlight { got: 129, max: 128 });
    assert!(matches!(check(Options { egress_frames: u32::MAX, ..default() }), OptionsError::Memory { .. }));
}

/// Run by the next test in a process that may lock little memory; does nothing otherwise.
#[test]
fn open_twice_as_the_child_of_another_test() {
    if env::var_os("TIDEGATE_TEST_CHILD").is_some() {
        for _ in 0..2 {
            drop(Wire::open("port0", "port1", &small()).unwrap_or_else(|error| panic!("{error}")));
        }
        println!("answer: opened");
    }
}

#[test]
fn memory_to_lock_for_one_wire_is_enough_to_try_its_modes_and_to_open_it_again() {
    in_lab(1, || {
        // Native mode is refused here once everything has been opened.
        run("ip", "link set peer1 mtu 9000");
        let bytes = small().frames(2).unwrap() * small().chunk;
        let output = Command::new("prlimit")
            .args([&format!("--memlock={}", bytes + bytes / 4), "setpriv", "--bounding-set", "-ipc_lock"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "refusals::open_twice_as_the_child_of_another_test", "--nocapture"])
            .env("TIDEGATE_TEST_CHILD", "1")
            .output()
            .expect("prlimit");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("answer: opened"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// Run by the next test in a process with fewer privileges; does nothing otherwise.
#[test]
fn open_as_the_child_of_another_test() {
    if env::var_os("TIDEGATE_TEST_CHILD").is_some() {
        println!("answer: {}", refusal("port0", "port1", &small()));
    }
}

#[test]
fn a_place_for_state_files_that_cannot_be_used() {
    in_lab(1, || {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "refusals::open_as_the_child_of_another_test", "--nocapture"])
            .envs([("TIDEGATE_TEST_CHILD", "1"), ("TIDEGATE_STATE_DIR", "/dev/null/state")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("/dev/null/state/") && text.contains("TIDEGATE_STATE_DIR"), "{text}");
    });
}

#[test]
fn a_process_without_privileges_is_told_what_is_missing() {
    in_lab(1, || {
        let answer = |bounding: &str| {
            let output = Command::new("setpriv")
                .args(["--bounding-set", bounding])
                .arg(env::current_exe().unwrap())
                .args(["--exact", "refusals::open_as_the_child_of_another_test", "--nocapture"])
                .env("TIDEGATE_TEST_CHILD", "1")
                .output()
                .expect("setpriv");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().find_map(|line| line.split_once("answer: ")).map(|(_, answer)| answer.to_owned()).expect(&text)
        };
        let all = answer("-all");
        for name in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "setcap"] {
            assert!(all.contains(name), "{all}");
        }
        let bpf = answer("-bpf,-sys_admin");
        assert!(bpf.contains("CAP_BPF") && !bpf.contains("CAP_NET_RAW to"), "{bpf}");
    });
}
