//! `Packet::parse` against an independent decoder, packet by packet, over the captures of `TIDEGATE_DATA`.
//!
//! The decoder reads deeper than a bridge needs to. Every difference must fall under one line of [`EXPLAINED`]; one that
//! doesn't is a failure. `cargo test --test parse_oracle -- --nocapture` prints the counts of `docs/parsing.md`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use tidegate::wire::{Fragment, Network, Packet, protocol};

/// The oracle's columns that are compared; the first value of each, which is the outermost.
const FIELDS: [&str; 19] = [
    "eth_type",
    "vlan_etype",
    "vlan_id",
    "ip_ver",
    "ip_src",
    "ip_dst",
    "ip_proto",
    "ip_dsfield",
    "ip_frag_offset",
    "ip_mf",
    "ip6_src",
    "ip6_dst",
    "ip6_nxt",
    "ip6_tclass",
    "ip6_frag_offset",
    "tcp_sport",
    "tcp_dport",
    "udp_sport",
    "udp_dport",
];

type Values = [Option<u128>; FIELDS.len()];

/// One field in which the two differ, with all that may explain it.
struct Difference<'a> {
    frame: &'a [u8],
    packet: Packet,
    /// The oracle's protocol names, outermost first.
    layers: Vec<&'a str>,
    field: &'static str,
    ours: Option<u128>,
    theirs: Option<u128>,
}

/// What an explanation says in words, and when it holds.
type Explanation = (&'static str, fn(&Difference) -> bool);

const EXPLAINED: [Explanation; 10] = [
    ("tunnel: the oracle looks into IP-in-IP, IPComp, GRE, VXLAN, Geneve, GTP-U and Teredo", |d| {
        let outer_port = d.packet.protocol == protocol::UDP && d.field.starts_with("udp");
        d.ours.is_none() && d.packet.network != Network::Other && d.enters_tunnel() && !outer_port
    }),
    ("ICMP error: the oracle reads the packet that the message quotes", |d| {
        let icmp = matches!(d.packet.protocol, protocol::ICMP | protocol::ICMPV6);
        d.ours.is_none() && icmp && d.behind_ip(&["icmp", "icmpv6"], &["ip", "ipv6"])
    }),
    ("802.3 with LLC: the oracle reads IP behind a SNAP header", |d| {
        d.ours.is_none() && d.packet.ethertype < 0x600 && d.layers.contains(&"llc")
    }),
    ("other tags: the oracle reads on behind VN-tag, E-tag, FabricPath, Arista, Cisco, MACsec and NSH headers", |d| {
        let tags = [0x8903, 0x8909, 0x8926, 0x893f, 0x88e5, 0x894f, 0xd28b];
        let names = ["cfp", "cmd", "vntag", "etag", "macsec", "nsh", "avsp"];
        let tag = tags.iter().position(|tag| *tag == d.packet.ethertype);
        // FabricPath wraps a whole frame, whose type the oracle reports instead.
        let absent = d.ours.is_none() || d.field == "eth_type" && d.packet.ethertype == 0x8903;
        absent && tag.is_some_and(|tag| d.layers.contains(&names[tag]))
    }),
    ("pseudowire: the oracle reads Ethernet behind an MPLS control word", |d| {
        let control_word = d.announced().first().is_some_and(|byte| byte >> 4 == 0);
        d.ours.is_none() && d.packet.mpls_labels > 0 && control_word && d.layers.contains(&"pwethcw")
    }),
    ("cut header: the oracle gives those fields of an IP header that lie before the cut", |d| {
        let header = match d.announced() {
            [first, ..] if first >> 4 == 4 => (first & 0x0f) as usize * 4,
            _ => 40,
        };
        d.ours.is_none() && d.announces_ip() && d.announced().len() < header.max(20)
    }),
    ("contradictory header: the oracle gives fields of an IP header whose version or lengths can't be true", |d| {
        let ip = d.announced();
        let wrong_version = ip[0] >> 4 != if d.packet.ethertype == 0x86dd { 6 } else { 4 };
        let header = (ip[0] & 0x0f) as usize * 4;
        let total = u16::from_be_bytes([ip[2], ip[3]]) as usize;
        d.ours.is_none() && d.announces_ip() && (wrong_version || header < 20 || (1..header).contains(&total))
    }),
    (
        "security option: the oracle stops at an IPv4 security option that is too short, the header length leads us on",
        |d| {
            // RFC 1108, section 2.1: at least 3 bytes.
            let short = d.announced().get(20..22) == Some(&[130, 2]);
            d.theirs.is_none() && short && d.field.ends_with("port") && d.above_ip().is_empty()
        },
    ),
    (
        "length of zero: the oracle finds no payload in IPv6, which in a capture of large segments is really there",
        |d| {
            let zero = d.packet.network == Network::Ipv6 && d.announced().get(4..6) == Some(&[0, 0]);
            d.theirs.is_none() && zero && d.field.ends_with("port") && matches!(d.above_ip(), ["tcp" | "udp"])
        },
    ),
    ("atomic fragment: the oracle gives the offset of a fragment that is the whole packet (RFC 6946)", |d| {
        let whole = d.packet.network == Network::Ipv6 && d.packet.fragment == Fragment::Whole;
        d.field == "ip6_frag_offset" && d.theirs == Some(0) && whole && d.layers.contains(&"ipv6.fraghdr")
    }),
];

/// Captures with a broken record, which the oracle takes for the variant of pcap with record headers of 24 bytes.
///
/// For it every frame begins 8 bytes later, so there is nothing to compare.
const OTHER_VARIANT: [&str; 7] = [
    "ndpifuzz__2b704968a5c5217c.pcap",
    "ndpifuzz__5f3722c372995342.pcap",
    "ndpifuzz__6411ca4804a71559.pcap",
    "ndpifuzz__7ebaf4a69896bda9.pcap",
    "ndpifuzz__b4e9c892e36289e4.pcap",
    "ndpifuzz__b521a64435ab603a.pcap",
    "ndpifuzz__bf4f1c69a97d061f.pcap",
];

impl Difference<'_> {
    /// The oracle's layers behind the outermost IP layer and its extension headers.
    fn above_ip(&self) -> &[&str] {
        let Some(ip) = self.layers.iter().position(|layer| matches!(*layer, "ip" | "ipv6")) else { return &[] };
        let above = &self.layers[ip + 1..];
        let extensions = above.iter().take_while(|layer| layer.starts_with("ipv6.") || **layer == "ah").count();
        &above[extensions..]
    }

    /// Whether IP carries one of `first`, and anywhere behind that comes one of `then`.
    fn behind_ip(&self, first: &[&str], then: &[&str]) -> bool {
        match self.above_ip() {
            [layer, rest @ ..] => first.contains(layer) && rest.iter().any(|layer| then.contains(layer)),
            [] => false,
        }
    }

    /// Whether what our IP layer carries is, for the oracle too, a packet in a packet.
    fn enters_tunnel(&self) -> bool {
        let above = self.above_ip();
        match self.packet.protocol {
            4 => above.first() == Some(&"ip"),
            41 => above.first() == Some(&"ipv6"),
            47 => above.first() == Some(&"gre"),
            108 => above.first() == Some(&"ipcomp"),
            protocol::UDP => matches!(above, ["udp", "vxlan" | "geneve" | "gtp" | "teredo" | "gre", _, ..]),
            _ => false,
        }
    }

    /// The bytes where tags, labels and session headers end.
    fn announced(&self) -> &[u8] {
        let p = &self.packet;
        let at = 14 + 4 * p.vlan_tags as usize + 4 * p.mpls_labels as usize + 8 * p.pppoe as usize;
        self.frame.get(at..).unwrap_or_default()
    }

    /// Whether those should be an IP header that we refused.
    fn announces_ip(&self) -> bool {
        self.packet.network == Network::Other
            && (matches!(self.packet.ethertype, 0x0800 | 0x86dd) || self.packet.pppoe || self.packet.mpls_labels > 0)
    }
}

/// What we say about a frame, in the oracle's terms.
fn ours(packet: &Packet, frame: &[u8]) -> Values {
    let mut values = [None; FIELDS.len()];
    let mut set = |field, value: u128| values[column(field)] = Some(value);
    let type_at = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]).into();
    // A length isn't a type, but the oracle takes zero for one.
    let is_type = |value: u128| value == 0 || value >= 0x600;
    if frame.len() >= 14 && is_type(type_at(12)) {
        set("eth_type", type_at(12));
        // The columns are those of the first 802.1Q tag; the oracle keeps 802.1ad tags apart.
        let service = usize::from(type_at(12) == 0x88a8);
        if service < packet.vlan_tags.into() {
            set("vlan_id", packet.vlan[service].into());
            let behind =
                if service + 1 < packet.vlan_tags.into() { type_at(16 + 4 * service) } else { packet.ethertype.into() };
            if is_type(behind) {
                set("vlan_etype", behind);
            }
        }
    }
    let address = |octets: [u8; 16]| match IpAddr::from(octets).to_canonical() {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if let (Some(ip), Some((source, destination))) = (packet.ipv4(frame), packet.addresses(frame)) {
        set("ip_ver", 4);
        set("ip_src", address(source));
        set("ip_dst", address(destination));
        set("ip_proto", packet.protocol.into());
        set("ip_dsfield", packet.ds_field.into());
        set("ip_frag_offset", ip.fragment_offset().into());
        set("ip_mf", ip.more_fragments().into());
    }
    if let Some(ip) = packet.ipv6(frame) {
        set("ip_ver", 6);
        set("ip6_src", u128::from_be_bytes(ip.source()));
        set("ip6_dst", u128::from_be_bytes(ip.destination()));
        set("ip6_nxt", ip.next_header().into());
        set("ip6_tclass", packet.ds_field.into());
        if packet.fragment != Fragment::Whole {
            set("ip6_frag_offset", (packet.fragment == Fragment::Later).into());
        }
    }
    if packet.transport(frame).len() >= 4 {
        let ports = match packet.protocol {
            protocol::TCP => Some(("tcp_sport", "tcp_dport")),
            protocol::UDP => Some(("udp_sport", "udp_dport")),
            _ => None,
        };
        if let Some((source, destination)) = ports {
            set(source, packet.source_port.into());
            set(destination, packet.destination_port.into());
        }
    }
    values
}

fn column(field: &str) -> usize {
    FIELDS.iter().position(|name| *name == field).unwrap()
}

/// A number in any of the oracle's notations; IPv6 fragment offsets only as zero or not, which is what we keep.
fn theirs(field: &str, text: &str) -> Option<u128> {
    let value = match text.strip_prefix("0x") {
        _ if text.is_empty() => return None,
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if text.contains(':') => text.parse().ok().map(|ip: std::net::Ipv6Addr| ip.to_bits()),
        None if text.contains('.') => text.parse().ok().map(|ip: std::net::Ipv4Addr| ip.to_bits().into()),
        None => text.parse().ok(),
    };
    let value = value.unwrap_or_else(|| panic!("the oracle has {text:?} as {field}"));
    Some(if field == "ip6_frag_offset" { (value != 0).into() } else { value })
}

/// Each packet of a capture in order: its bytes, or `None` where the link type isn't Ethernet.
///
/// Ends early where a record is broken, as some of these are on purpose.
fn frames(path: &Path) -> Vec<Option<Vec<u8>>> {
    let mut bytes = fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        bytes = plain;
    }
    let capacity = bytes.len().max(1 << 16);
    let mut frames = Vec::new();
    let mut interfaces = Vec::new();
    let ethernet = |interfaces: &[Linktype], interface: usize, data: &[u8], len: u32| {
        (interfaces.get(interface) == Some(&Linktype::ETHERNET)).then(|| data[..data.len().min(len as usize)].to_vec())
    };
    let Ok(mut reader) = create_reader(capacity, Cursor::new(bytes)) else { return frames };
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    // The upper bits of the field say how long the frame check sequence is.
                    PcapBlockOwned::LegacyHeader(header) => {
                        interfaces = vec![Linktype(header.network.0 & 0x03ff_ffff)];
                    }
                    PcapBlockOwned::Legacy(packet) => {
                        frames.push(ethernet(&interfaces, 0, packet.data, packet.caplen));
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => interfaces.push(interface.linktype),
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        frames.push(ethernet(&interfaces, packet.if_id as usize, packet.data, packet.caplen));
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        frames.push(ethernet(&interfaces, 0, packet.data, packet.origlen));
                    }
                    // The obsolete packet block, which the crate doesn't read; here only around bare IP.
                    PcapBlockOwned::NG(Block::Unknown(block)) if matches!(block.block_type, 2 | 0x0200_0000) => {
                        frames.push(None);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() || reader.refill().is_err() {
                    return frames;
                }
            }
            Err(_) => return frames,
        }
    }
}

/// Where the data lies, or `None` with a loud line.
fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TIDEGATE_DATA").map_or("../shared".into(), PathBuf::from);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(folder);
    if path.join("packet_oracle.tsv.gz").exists() {
        return Some(path);
    }
    assert!(std::env::var_os("TIDEGATE_REQUIRE").is_none(), "TIDEGATE_DATA: no oracle in {}", path.display());
    println!("SKIPPED: needs TIDEGATE_DATA with {folder}/packet_oracle.tsv.gz, nothing at {}", path.display());
    None
}

fn agree(folder: &str) {
    let Some(base) = data(folder) else { return };
    let mut table = String::new();
    let file = File::open(base.join("packet_oracle.tsv.gz")).unwrap();
    MultiGzDecoder::new(file).read_to_string(&mut table).unwrap();
    let mut lines = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let columns = FIELDS.map(at);
    let mut captures: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for row in lines {
        captures.entry(row[at("file")]).or_default().push(row);
    }

    let mut uncompared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut explained = [(0, 0); EXPLAINED.len()];
    let mut unexplained = Vec::new();
    let (mut packets, mut fields) = (0, 0);
    for (name, rows) in captures {
        let path = base.join("pcap").join(name);
        if !path.exists() {
            *uncompared.entry("the capture isn't in the data").or_default() += rows.len();
            continue;
        }
        if OTHER_VARIANT.contains(&name) {
            *uncompared.entry("the oracle reads the broken capture as another variant of pcap").or_default() +=
                rows.len();
            continue;
        }
        let frames = frames(&path);
        for row in rows {
            let number: usize = row[at("frame")].parse().unwrap();
            let frame = match frames.get(number - 1) {
                Some(Some(frame)) if frame.len() == row[at("caplen")].parse::<usize>().unwrap() => frame,
                Some(None) => {
                    *uncompared.entry("not Ethernet").or_default() += 1;
                    continue;
                }
                _ => {
                    *uncompared.entry("the record is broken").or_default() += 1;
                    continue;
                }
            };
            packets += 1;
            let packet = Packet::parse(frame);
            let mut explanations = [false; EXPLAINED.len()];
            for ((&field, &column), ours) in FIELDS.iter().zip(&columns).zip(ours(&packet, frame)) {
                let theirs = theirs(field, row[column]);
                fields += usize::from(ours.is_some() && theirs.is_some());
                if ours == theirs {
                    continue;
                }
                let layers = row[at("protocols")].split(':').collect();
                let difference = Difference { frame, packet, layers, field, ours, theirs };
                match EXPLAINED.iter().position(|(_, holds)| holds(&difference)) {
                    Some(line) => {
                        explanations[line] = true;
                        explained[line].1 += 1;
                    }
                    None => unexplained.push(format!(
                        "{name} packet {number}: {field} is {ours:x?}, the oracle has {theirs:x?} in {}\n    {packet:?}",
                        row[at("protocols")],
                    )),
                }
            }
            for (count, seen) in explained.iter_mut().zip(explanations) {
                count.0 += usize::from(seen);
            }
        }
    }

    println!("{folder}: {packets} packets compared, {fields} fields given by both");
    for (why, rows) in uncompared {
        println!("{rows:6} packets not compared: {why}");
    }
    for ((packets, fields), (why, _)) in explained.iter().zip(EXPLAINED) {
        println!("{packets:6} packets, {fields:6} fields: {why}");
    }
    println!("{:6} fields unexplained", unexplained.len());
    assert!(packets > 10_000, "only {packets} packets could be compared");
    let shown = unexplained.len().min(20);
    assert!(
        unexplained.is_empty(),
        "{} unexplained differences:\n{}",
        unexplained.len(),
        unexplained[..shown].join("\n")
    );
}

#[test]
fn robust_captures() {
    agree("robust");
}

#[test]
fn application_captures() {
    agree("ndpi");
}
