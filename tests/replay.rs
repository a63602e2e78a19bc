//! `tidegate replay` and `tidegate check` as a person calls them: the program itself, its files, its words and its exit codes.

// Where captures are.
mod data;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etherparse::PacketBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tidegate::port::pcap::{Capture, MAX_FRAME, Writer};
use tidegate::units::{Nanos, Rate};

/// What the program said, and its exit code.
#[derive(Debug, PartialEq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn tidegate<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let Output { status, stdout, stderr } = command.args(arguments).env_remove("TIDEGATE_LOG").output().unwrap();
    let code = status.code().expect("the program exits by itself");
    let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
    Said { code, out: text(stdout), err: text(stderr) }
}

/// A folder for one test's files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).into_os_string().into_string().unwrap()
    }

    fn policy(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("[[wire]]\ninside = \"a\"\noutside = \"b\"\n{text}")).unwrap();
        path
    }

    fn capture(&self, name: &str, frames: &[Captured]) -> String {
        let path = self.path(name);
        let mut writer = Writer::create(path.as_ref()).unwrap();
        for Captured { time, data, wire_len } in frames {
            writer.write(*time, data, *wire_len).unwrap();
        }
        writer.finish().unwrap();
        path
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Captured {
    time: Nanos,
    data: Vec<u8>,
    wire_len: u32,
}

/// All frames of a capture as far as it can be read.
fn read(path: impl AsRef<Path>) -> Vec<Captured> {
    let mut capture = Capture::open(path.as_ref()).unwrap();
    let mut frames = Vec::new();
    while let Ok(Some(record)) = capture.next() {
        frames.push(Captured { time: record.time, data: record.data.to_vec(), wire_len: record.wire_len });
    }
    frames
}

const HOME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A UDP frame of `len` bytes at least, from 10.0.0.1 at home to 198.18.0.1 or back.
fn udp(up: bool, client_port: u16, server_port: u16, len: usize) -> Vec<u8> {
    let ends = [(HOME, [10, 0, 0, 1], client_port), (ROUTER, [198, 18, 0, 1], server_port)];
    let [from, to] = if up { ends } else { [ends[1], ends[0]] };
    let packet = PacketBuilder::ethernet2(from.0, to.0).ipv4(from.1, to.1, 64).udp(from.2, to.2);
    let mut frame = Vec::new();
    packet.write(&mut frame, &vec![0x5a; len.saturating_sub(42)]).unwrap();
    frame
}

/// Two seconds of 2 Mbit/s in either direction, of some fifty flows of all classes, and ARP; some frames at the same time.
fn mixed() -> Vec<Captured> {
    let servers = [443, 5060, 27015, 554, 6881, 53, 40_000];
    let frame = |n: usize| {
        let up = n.is_multiple_of(2);
        let data = match n % 50 {
            49 => [&[0xff; 6][..], &HOME, &[8, 6], &[0; 46]].concat(),
            _ => udp(up, 20_000 + (n % 8) as u16, servers[n % 7], [64, 300, 1_514, 590][n % 4]),
        };
        let time = Nanos(1_700_000_000_000_000_000 + n as u64 / 2 * 2_500_000);
        Captured { time, wire_len: data.len() as u32, data }
    };
    (0..1_600).map(frame).collect()
}

/// Frames as strange as a file can hold: of 0 bytes and more, the longest, cut ones, and one from the end of time.
fn odd() -> Vec<Captured> {
    let cut = |wire_len| Captured { time: Nanos(40), data: udp(true, 1, 2, 100), wire_len };
    let mut frames: Vec<_> =
        (0..20).map(|n| Captured { time: Nanos(n), data: vec![n as u8; n as usize], wire_len: n as u32 }).collect();
    frames.push(Captured { time: Nanos(30), data: vec![1; MAX_FRAME], wire_len: MAX_FRAME as u32 });
    frames.extend([cut(1_514), cut(MAX_FRAME as u32), cut(u32::MAX)]);
    frames.push(Captured { time: Nanos(4_294_967_295_999_999_999), data: vec![2; 60], wire_len: 60 });
    frames
}

/// Captures to replay: one made here, and several of the data folder's, if it is there.
fn captures(folder: &Folder) -> Vec<PathBuf> {
    let mut captures = vec![PathBuf::from(folder.capture("mixed.pcap", &mixed()))];
    let is_ethernet = |path: &PathBuf| Capture::open(path).is_ok_and(|mut capture| capture.ethernet_only().is_ok());
    captures.extend(data::files("ndpi/pcap").into_iter().filter(is_ethernet).step_by(20));
    captures
}

#[test]
fn two_runs_on_one_capture_are_the_same_to_the_bit() {
    let folder = Folder::new();
    let shaped = folder.policy("shaped.toml", "download = \"1mbit\"\nupload = \"512kbit\"\n");
    let observed = folder.policy("observed.toml", "download = \"1mbit\"\nmode = \"observe\"\n");
    let text = format!("download = \"1mbit\"\nupload = \"512kbit\"\n{OBSERVED}");
    let mixed = folder.policy("mixed.toml", &text);
    for capture in captures(&folder) {
        for policy in [None, Some(&shaped), Some(&observed), Some(&mixed)] {
            let run = |name: &str| {
                let output = folder.path(name);
                let mut arguments =
                    vec!["replay", capture.to_str().unwrap(), "-o", &output, "--flows", "json", "--json"];
                arguments.extend(policy.iter().flat_map(|policy| ["-c", policy]));
                let said = tidegate(arguments);
                assert_eq!(said.code, 0, "{}: {}", capture.display(), said.err);
                (said, fs::read(output).unwrap())
            };
            let (first, second) = (run("first.pcap"), run("second.pcap"));
            assert!(first.1 == second.1, "{} under {policy:?}: two outputs", capture.display());
            assert_eq!(first.0, second.0, "{} under {policy:?}", capture.display());
            assert!(first.0.out.lines().count() > 0, "{}", capture.display());
        }
    }
}

/// Fails unless `output` is what came in, each frame at its time or right behind the one before.
fn assert_unchanged(input: &[Captured], output: &[Captured], name: &str) {
    assert_eq!(input.len(), output.len(), "{name}");
    let mut earliest = Nanos::ZERO;
    for (number, (came, left)) in input.iter().zip(output).enumerate() {
        assert!(came.data == left.data, "{name}: bytes of frame {number}");
        assert_eq!(left.wire_len, came.wire_len.min(MAX_FRAME as u32), "{name}: length of frame {number}");
        assert_eq!(left.time, came.time.max(earliest), "{name}: time of frame {number}");
        earliest = left.time + Nanos(1);
    }
}

#[test]
fn without_a_limit_what_comes_in_goes_out_at_once() {
    let folder = Folder::new();
    let observing = folder.policy("observe.toml", "download = \"1mbit\"\nupload = \"1mbit\"\nmode = \"observe\"\n");
    let output = folder.path("out.pcap");
    let mut captures = captures(&folder);
    captures.push(folder.capture("odd.pcap", &odd()).into());
    captures.push(folder.capture("one.pcap", &odd()[5..6]).into());
    captures.push(folder.capture("empty.pcap", &[]).into());
    for capture in captures {
        let name = capture.to_str().unwrap();
        for arguments in [vec!["replay", name, "-o", &output], vec!["replay", name, "-o", &output, "-c", &observing]] {
            let said = tidegate(arguments);
            assert_eq!(said.code, 0, "{name}: {}", said.err);
            assert!(said.out.ends_with("in rings 0 + queued 0 + in transmit 0; unexplained 0\n"), "{}", said.out);
            assert_unchanged(&read(&capture), &read(&output), name);
        }
    }
}

#[test]
fn frames_leave_at_the_rate_of_the_policy() {
    let folder = Folder::new();
    let (input, output) = (folder.capture("in.pcap", &mixed()), folder.path("out.pcap"));
    let policy = folder.policy("policy.toml", "download = \"1mbit\"\nupload = \"1mbit\"\nqueue = \"200ms\"\n");
    let said = tidegate(["replay", &input, "-o", &output, "-c", &policy, "--json"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let (input, output) = (read(input), read(output));
    // Two full frames is the burst of a slow link.
    let (rate, start, burst, longest) = (Rate(1_000_000), input[0].time, 3_076, 1_538);
    for source in [HOME, ROUTER] {
        let mut sent = 0;
        for frame in output.iter().filter(|frame| frame.data[6..12] == source) {
            sent += u64::from(frame.wire_len.max(60) + 24);
            let due = rate.bytes_in(frame.time.since(start));
            assert!(sent <= due + burst + longest, "{sent} bytes by {}, {due} were due", frame.time);
        }
        assert!(sent > rate.bytes_in(Nanos::from_millis(1_900)), "{sent} bytes are less than the link carries");
    }
    let account: Value = serde_json::from_str(&said.out).unwrap();
    let of = |term: &str| account["balance"][term].as_u64().unwrap();
    assert_eq!((of("received"), of("completed")), (input.len() as u64, output.len() as u64));
    assert_eq!(of("received"), of("completed") + of("dropped"));
    assert!(of("dropped") > 0, "twice the rate can't all get through");
}

/// A subscriber who is only observed: the client of the captures that are made here.
const OBSERVED: &str = "[[subscriber]]\nname = \"home\"\naddresses = [\"10.0.0.1\"]\nmode = \"observe\"\n";

#[test]
fn what_belongs_to_an_observed_subscriber_passes_a_limit_as_if_there_were_none() {
    let folder = Folder::new();
    let (input, output) = (folder.capture("in.pcap", &mixed()), folder.path("out.pcap"));
    let text = format!("download = \"1mbit\"\nupload = \"1mbit\"\n{OBSERVED}");
    let policy = folder.policy("policy.toml", &text);
    let said = tidegate(["replay", &input, "-o", &output, "-c", &policy, "--flows", "json"]);
    assert_eq!(said.out, tidegate(["replay", &input, "--flows", "json"]).out, "flows are told as without a policy");
    let is_arp = |frame: &Captured| frame.data[12..14] == [8, 6];
    let own = |frames: Vec<Captured>| frames.into_iter().filter(|frame| !is_arp(frame)).collect::<Vec<_>>();
    let (input, output) = (own(read(input)), own(read(output)));
    assert_eq!(input.len(), output.len(), "{}", said.err);
    for (came, left) in input.iter().zip(&output) {
        // Of frames at the same time one is right behind the other.
        assert!(came.data == left.data && left.time.since(came.time) <= Nanos(2), "{came:?}, {left:?}");
    }
}

#[test]
fn strange_frames_pass_a_limit_in_their_time() {
    let folder = Folder::new();
    let (input, output) = (folder.capture("odd.pcap", &odd()), folder.path("out.pcap"));
    let policy = folder.policy("policy.toml", "download = \"1mbit\"\nupload = \"1mbit\"\nqueue = \"10s\"\n");
    let said = tidegate(["replay", &input, "-o", &output, "-c", &policy]);
    assert_eq!(said.code, 0, "{}", said.err);
    let (input, output) = (read(&input), read(&output));
    assert_eq!(input.len(), output.len(), "{}", said.out);
    assert!(output.is_sorted_by_key(|frame| frame.time));
    let bytes = |frames: &[Captured]| frames.iter().map(|frame| frame.data.clone()).collect::<HashSet<_>>();
    assert!(bytes(&input) == bytes(&output));
}

#[test]
fn a_damaged_capture_is_replayed_up_to_the_damage_and_fails() {
    let folder = Folder::new();
    let (input, output) = (folder.capture("in.pcap", &mixed()[..100]), folder.path("out.pcap"));
    let mut bytes = fs::read(&input).unwrap();
    let damage = bytes.len();
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 1, 2, 3]);
    fs::write(&input, bytes).unwrap();
    let said = tidegate(["replay", &input, "-o", &output]);
    let fault = "a frame of 2147483647 bytes, want at most 262144";
    assert_eq!(said.err, format!("tidegate: {input}: record 101 at byte {damage}: {fault}\n"));
    assert_eq!(said.code, 1);
    assert!(said.out.contains("received 100 = sent 100"), "the account stands: {}", said.out);
    assert_unchanged(&read(&input), &read(&output), "damaged");
}

#[test]
fn a_capture_cut_short_is_replayed_with_a_warning() {
    let folder = Folder::new();
    let (input, output) = (folder.capture("in.pcap", &mixed()[..100]), folder.path("out.pcap"));
    let bytes = fs::read(&input).unwrap();
    fs::write(&input, &bytes[..bytes.len() - 1]).unwrap();
    let said = tidegate(["replay", &input, "-o", &output]);
    assert_eq!(said.code, 0);
    assert!(
        said.err.contains("WARN") && said.err.contains(": ends within record 100, which begins at byte "),
        "{said:?}"
    );
    assert_unchanged(&mixed()[..99], &read(&output), "truncated");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let folder = Folder::new();
    let capture = folder.capture("in.pcap", &mixed()[..2]);
    let mut raw = fs::read(&capture).unwrap();
    raw[20] = 101;
    let (raw_ip, output) = (folder.path("raw.pcap"), folder.path("out.pcap"));
    fs::write(&raw_ip, raw).unwrap();
    let none = folder.path("none");
    let no_such_file = "No such file or directory (os error 2)";
    let not_ethernet = "has link type 101 (RAW) frames, and only Ethernet can be written back; leave out the output file to classify only";
    for (arguments, code, words) in [
        (vec!["replay", &none], 1, format!("tidegate: {none}: can't open: {no_such_file}\n")),
        (vec!["replay", &capture, "-o", &capture], 1, format!("{capture}: is the capture that is read; name another")),
        (vec!["replay", &raw_ip, "-o", &output], 1, format!("tidegate: {raw_ip}: {not_ethernet}\n")),
        (vec!["replay", &capture, "-o", "/nonexistent/out"], 1, format!("can't create: {no_such_file}\n")),
        (vec!["replay", &capture, "-c", &none], 2, format!("{none}: {no_such_file}\n")),
        (vec!["replay", &capture, "-c", &capture], 2, format!("{capture}:1: got bytes that aren't UTF-8")),
        (vec!["replay", &capture, "--inside", "10.0.0.0/33"], 2, "invalid value '10.0.0.0/33'".into()),
        (vec!["replay", &capture, "--flows", "xml"], 2, "possible values: json".into()),
        (vec!["replay"], 2, "<IN>".into()),
    ] {
        let before = fs::read(&capture).unwrap();
        let said = tidegate(&arguments);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(&words), "{arguments:?}: got {:?}, want {words:?}", said.err);
        assert_eq!(fs::read(&capture).unwrap(), before, "{arguments:?} left the capture alone");
    }
    assert!(!Path::new(&output).exists(), "what is refused leaves no file");
    assert_eq!(tidegate(["replay", &raw_ip]).code, 0, "it can be classified all the same");
}

#[test]
fn the_prefixes_of_the_inside_decide_the_direction() {
    let folder = Folder::new();
    let frame = |up| Captured { time: Nanos(1), data: udp(up, 20_000, 443, 100), wire_len: 100 };
    // The server speaks first, so that without prefixes it is taken for the inside.
    let capture = folder.capture("in.pcap", &[frame(false), frame(true), frame(false)]);
    for (inside, expected) in [
        (&[][..], [2, 1]),
        (&["10.0.0.0/8"], [1, 2]),
        (&["198.18.0.0/15"], [2, 1]),
        (&["2001:db8::/32", "10.0.0.1/32"], [1, 2]),
        (&["192.0.2.0/24"], [2, 1]),
    ] {
        let prefixes = inside.iter().flat_map(|prefix| ["--inside", prefix]);
        let said = tidegate(["replay", &capture, "--json"].into_iter().chain(prefixes));
        let account: Value = serde_json::from_str(&said.out).unwrap();
        let received = [0, 1].map(|port| account["ports"][port]["received_frames"].as_u64().unwrap());
        assert_eq!(received, expected, "{inside:?}");
    }
}

#[test]
fn a_flow_line_has_the_fields_that_are_promised() {
    let folder = Folder::new();
    let frames = [(true, 5060), (false, 5060), (true, 5060), (false, 40_000), (true, 5060)];
    let frames = (0..).zip(frames).map(|(n, (up, server_port))| {
        let data = udp(up, 60_000, server_port, 200);
        Captured { time: Nanos(n), wire_len: 250, data }
    });
    let capture = folder.capture("in.pcap", &frames.collect::<Vec<_>>());
    let said = tidegate(["replay", &capture, "--flows", "json"]);
    let expected = concat!(
        r#"{"l4":"udp","src":"10.0.0.1","sport":60000,"dst":"198.18.0.1","dport":5060,"vlan":null,"app":"sip","#,
        r#""class":"voice","class_after":{"1":"voice","3":"voice"},"host":null,"reason":"port","confidence":0.9,"#,
        r#""packets":4,"bytes":1000}"#,
        "\n",
        r#"{"l4":"udp","src":"198.18.0.1","sport":40000,"dst":"10.0.0.1","dport":60000,"vlan":null,"app":null,"#,
        r#""class":"web","class_after":{"1":"web","3":"web"},"host":null,"reason":"default","confidence":0.0,"#,
        r#""packets":1,"bytes":250}"#,
        "\n",
    );
    assert_eq!(said.out, expected);
    assert!(said.err.ends_with("unexplained 0\n"), "the accounts go elsewhere: {}", said.err);
}

#[test]
fn every_packet_is_in_one_flow_line_however_many_flows_there_are() {
    let folder = Folder::new();
    let flow = |n: u32| udp(true, n as u16, 10_000 + (n >> 16) as u16, 60);
    let count = 150_000;
    // Each flow speaks twice, far apart, and there are more of them than the table holds.
    let frames: Vec<_> = (0..2 * count)
        .map(|n| Captured { time: Nanos(u64::from(n) * 1_000), data: flow(n % count), wire_len: 60 })
        .collect();
    let said = tidegate(["replay", &folder.capture("in.pcap", &frames), "--flows", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let packets: u64 = lines.iter().map(|line| line["packets"].as_u64().unwrap()).sum();
    assert_eq!(packets, 2 * u64::from(count));
    let flows: HashSet<_> = lines.iter().map(|line| (line["sport"].as_u64(), line["dport"].as_u64())).collect();
    println!("{} flows in {} lines", flows.len(), lines.len());
    assert_eq!(flows.len(), count as usize);
}

#[test]
fn check_tells_a_policy_by_its_exit_code() {
    let folder = Folder::new();
    let right = folder.policy("right.toml", "download = \"10mbit\"\n");
    assert_eq!(tidegate(["check", "-c", &right]), Said { code: 0, out: format!("{right}: ok\n"), err: String::new() });
    let wrong = folder.policy("wrong.toml", "download = \"10mb\"\nuplaod = \"1mbit\"\n");
    let said = tidegate(["check", "-c", &wrong]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.err.lines().count() == 2 && said.err.contains(&format!("{wrong}:4:12: wire.download: got")),
        "{said:?}"
    );
    assert_eq!(tidegate(["check"]).code, 2);
}
