//! Frames leave with the marks that the policy says, and are otherwise as they came.

use std::sync::Arc;

use etherparse::{IpFragOffset, IpHeaders, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Header, PacketBuilder};
use tidegate::frame::Side;
use tidegate::units::Nanos;

use crate::bridge::{Bridge, Size, free_line, policy};
use crate::traffic::{BACKGROUND, FILE, Offer, VOICE, WEB};

const CS1: u8 = 8;
const CS5: u8 = 40;
const AF41: u8 = 34;
const EF: u8 = 46;
const LE: u8 = 1;

/// A way to carry an IP packet, between the MAC addresses and the packet.
#[derive(Clone, Copy, Debug)]
enum Within {
    Ethernet,
    Vlan,
    QinQ,
    Mpls,
    Pppoe,
    PppoeInVlan,
}

impl Within {
    const ALL: [Within; 6] =
        [Within::Ethernet, Within::Vlan, Within::QinQ, Within::Mpls, Within::Pppoe, Within::PppoeInVlan];

    /// `frame`, which is IP in Ethernet, carried this way.
    fn carry(self, frame: &[u8]) -> Vec<u8> {
        let (macs, ethertype, ip) = (&frame[..12], &frame[12..14], &frame[14..]);
        let ppp = if ethertype == [0x08, 0x00] { [0x00, 0x21] } else { [0x00, 0x57] };
        let len = (ip.len() as u16 + 2).to_be_bytes();
        let pppoe = [&[0x88, 0x64, 0x11, 0x00, 0x00, 0x07], &len[..], &ppp].concat();
        let between = match self {
            Within::Ethernet => ethertype.to_vec(),
            Within::Vlan => [&[0x81, 0x00, 0xa0, 0x07], ethertype].concat(),
            Within::QinQ => [&[0x88, 0xa8, 0xa0, 0x64, 0x81, 0x00, 0xa0, 0x07], ethertype].concat(),
            // Two labels, with a traffic class of their own; the second is the last.
            Within::Mpls => vec![0x88, 0x47, 0, 1, 0x0a, 64, 0, 2, 0x0b, 64],
            Within::Pppoe => pppoe,
            Within::PppoeInVlan => [&[0x81, 0x00, 0xa0, 0x07], &pppoe[..]].concat(),
        };
        [macs, &between, ip].concat()
    }
}

/// The last byte of the address of the client, and the port of the server.
#[derive(Clone, Copy, Debug)]
struct Udp {
    client: u8,
    server_port: u16,
}

impl Udp {
    fn to(server_port: u16) -> Udp {
        Udp { client: 1, server_port }
    }

    /// A frame that comes in at `side`, made by someone else with all its checksums.
    fn frame(self, ipv4: bool, side: Side, ds_field: u8) -> Vec<u8> {
        let (client, server) = ([10, 0, 0, self.client], [198, 18, 0, 1]);
        let (source, destination) = if side == Side::Inside { (client, server) } else { (server, client) };
        let ports = if side == Side::Inside { (50_000, self.server_port) } else { (self.server_port, 50_000) };
        let ip = if ipv4 {
            let mut header = Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, source, destination).unwrap();
            header.dscp = (ds_field >> 2).try_into().unwrap();
            header.ecn = (ds_field & 3).try_into().unwrap();
            header.identification = u16::from(ds_field) << 8 | 0x5a;
            header.options = Ipv4Options::try_from(&[0x94, 0x04, 0, 0][..]).unwrap();
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        } else {
            let mapped = |[.., last]: [u8; 4]| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            let header = Ipv6Header {
                traffic_class: ds_field,
                flow_label: 0xf_edcb_u32.try_into().unwrap(),
                hop_limit: 64,
                source: mapped(source),
                destination: mapped(destination),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        };
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip).udp(ports.0, ports.1);
        builder.write(&mut frame, b"what is carried").unwrap();
        frame
    }
}

/// What leaves of `frames` that come in at `side`, one after the other.
fn pass(bridge: &mut Bridge, side: Side, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let start = bridge.now;
    let mut offers = (1..).zip(frames).map(|(n, bytes)| Offer { at: start + Nanos(n * 1_000), bytes: bytes.clone() });
    let (mut nothing, mut left) = (std::iter::empty(), Vec::new());
    let offers: [&mut dyn Iterator<Item = Offer>; 2] = match side {
        Side::Inside => [&mut offers, &mut nothing],
        Side::Outside => [&mut nothing, &mut offers],
    };
    bridge.run(offers, Nanos::MAX, |by, frame| {
        assert_eq!(by, side.opposite());
        left.push(frame.bytes);
    });
    assert_eq!(left.len(), frames.len());
    left
}

/// Passes UDP frames of every DS field, carried in every way, to `server_port`; each must leave marked as `mark` says of the
/// mark with which it came, and otherwise be the same.
fn assert_marked(bridge: &mut Bridge, side: Side, talk: Udp, mark: impl Fn(u8) -> u8) {
    for (within, ipv4) in Within::ALL.into_iter().flat_map(|within| [(within, true), (within, false)]) {
        let came: Vec<_> = (0..=255).map(|ds_field| talk.frame(ipv4, side, ds_field)).collect();
        let carried: Vec<_> = came.iter().map(|frame| within.carry(frame)).collect();
        let left = pass(bridge, side, &carried);
        for (ds_field, left) in (0..=255).zip(left) {
            let marked = remade(&came[usize::from(ds_field)], mark(ds_field >> 2) << 2 | ds_field & 3);
            assert!(
                left == within.carry(&marked),
                "{talk:?} in {within:?}, ipv4 {ipv4}, with {ds_field:#04x} from {}:\n{left:02x?}",
                side.name()
            );
        }
    }
}

/// `frame`, which is IP in Ethernet, with another DS field and the checksum that etherparse finds for it.
fn remade(frame: &[u8], ds_field: u8) -> Vec<u8> {
    let (mut ip, ..) = IpHeaders::from_slice(&frame[14..]).unwrap();
    match &mut ip {
        IpHeaders::Ipv4(header, _) => {
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            header.dscp = (ds_field >> 2).try_into().unwrap();
            header.ecn = (ds_field & 3).try_into().unwrap();
            header.header_checksum = header.calc_header_checksum();
        }
        IpHeaders::Ipv6(header, _) => header.traffic_class = ds_field,
    }
    let mut remade = frame[..14].to_vec();
    let len = ip.header_len();
    ip.write(&mut remade).unwrap();
    remade.extend(&frame[14 + len..]);
    remade
}

fn bridge(text: &str) -> Bridge {
    Bridge::new(policy(text), &Size::default(), free_line)
}

#[test]
fn without_a_word_about_marks_every_byte_passes_unchanged() {
    for text in ["", "[[remark]]\nfrom = \"EF\"\nto = \"EF\"", "[[class]]\nname = \"voice\"\ndscp = \"keep\""] {
        let mut bridge = bridge(text);
        for (side, port) in [(Side::Inside, VOICE), (Side::Outside, WEB)] {
            assert_marked(&mut bridge, side, Udp::to(port), |came| came);
        }
        bridge.settled();
    }
}

#[test]
fn a_class_marks_in_both_directions() {
    let mut bridge = bridge(
        "[[class]]\nname = \"voice\"\ndscp = \"EF\"\n[[class]]\nname = \"background\"\ndscp = 1\n\
         [[class]]\nname = \"file\"\ndscp = \"wash\"",
    );
    for side in Side::BOTH {
        assert_marked(&mut bridge, side, Udp::to(VOICE), |_| EF);
        assert_marked(&mut bridge, side, Udp::to(BACKGROUND), |_| LE);
        assert_marked(&mut bridge, side, Udp::to(FILE), |_| 0);
        assert_marked(&mut bridge, side, Udp::to(WEB), |came| came);
    }
    bridge.settled();
}

#[test]
fn a_class_goes_before_a_remark_and_a_remark_before_the_wash() {
    let mut bridge = bridge(
        "wash = \"download\"\n[[class]]\nname = \"voice\"\ndscp = \"AF41\"\n\
         [[remark]]\nfrom = \"CS1\"\nto = \"LE\"\n\
         [[remark]]\nfrom = \"EF\"\nto = \"EF\"\ndirection = \"download\"\n\
         [[remark]]\nfrom = \"EF\"\nto = 0\ndirection = \"upload\"",
    );
    let (download, upload) = (Side::Outside, Side::Inside);
    assert_marked(&mut bridge, download, Udp::to(WEB), |came| match came {
        CS1 => LE,
        EF => EF,
        _ => 0,
    });
    assert_marked(&mut bridge, upload, Udp::to(WEB), |came| match came {
        CS1 => LE,
        EF => 0,
        other => other,
    });
    assert_marked(&mut bridge, download, Udp::to(VOICE), |_| AF41);
    assert_marked(&mut bridge, upload, Udp::to(VOICE), |_| AF41);
    bridge.settled();
}

/// Both directions of one flow, whose frames come with different marks; the class of each shows in its new mark.
#[test]
fn rules_see_the_mark_with_which_a_frame_came() {
    let mut bridge = bridge(
        "wash = \"both\"\n[[rule]]\nmatch = { dscp = \"EF\" }\nclass = \"voice\"\n\
         [[class]]\nname = \"voice\"\ndscp = \"CS5\"",
    );
    for side in [Side::Inside, Side::Outside, Side::Inside] {
        assert_marked(&mut bridge, side, Udp::to(40_000), |came| if came == EF { CS5 } else { 0 });
    }
    bridge.settled();
}

const EVERYTHING_MARKS: &str = "wash = \"both\"\n[[class]]\nname = \"voice\"\ndscp = \"EF\"\n";

#[test]
fn an_observing_wire_marks_nothing() {
    let mut bridge = bridge(&format!("mode = \"observe\"\n{EVERYTHING_MARKS}"));
    for side in Side::BOTH {
        assert_marked(&mut bridge, side, Udp::to(VOICE), |came| came);
        assert_marked(&mut bridge, side, Udp::to(WEB), |came| came);
    }
    bridge.settled();
}

#[test]
fn an_observed_subscriber_is_not_marked_beside_others_who_are() {
    let addresses = "[\"10.0.0.7\", \"2001:db8::7\"]";
    let mut bridge = bridge(&format!(
        "{EVERYTHING_MARKS}[[subscriber]]\nname = \"alice\"\naddresses = {addresses}\nmode = \"observe\""
    ));
    for side in Side::BOTH {
        for server_port in [VOICE, WEB] {
            assert_marked(&mut bridge, side, Udp { client: 7, server_port }, |came| came);
        }
        assert_marked(&mut bridge, side, Udp { client: 8, server_port: VOICE }, |_| EF);
        assert_marked(&mut bridge, side, Udp { client: 8, server_port: WEB }, |_| 0);
    }
    bridge.settled();
}

#[test]
fn control_keeps_its_marks() {
    const RIP: u16 = 520;
    let mut bridge = bridge(EVERYTHING_MARKS);
    for side in Side::BOTH {
        assert_marked(&mut bridge, side, Udp::to(RIP), |came| came);
    }
    bridge.settled();
}

#[test]
fn what_has_no_ip_header_is_left_alone() {
    let whole = Udp::to(VOICE).frame(true, Side::Inside, EF << 2);
    let mut frames = vec![
        [&whole[..12], &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], &[0x45; 40]].concat(),
        [&whole[..12], &[0x88, 0xcc], &[0x45; 46]].concat(),
        [&whole[..12], &[0x00, 0x2e], &[0x66; 46]].concat(),
        // A version that isn't what the type says, and a header that is longer than the packet.
        [&whole[..14], &[0x65], &whole[15..]].concat(),
        [&whole[..14], &[0x4f, 0xb8, 0x00, 0x1c], &whole[18..]].concat(),
    ];
    // IP headers that are cut short.
    frames.extend((14..14 + 24).map(|len| whole[..len].to_vec()));
    let mut bridge = bridge(EVERYTHING_MARKS);
    for side in Side::BOTH {
        assert_eq!(pass(&mut bridge, side, &frames), frames);
    }
    bridge.settled();
}

#[test]
fn fragments_are_marked_each_and_a_wrong_checksum_stays_wrong() {
    let mut bridge = bridge("wash = \"both\"");
    let whole = Udp::to(WEB).frame(true, Side::Outside, EF << 2 | 1);
    let fragment = |offset: u16, more: bool| {
        let (mut ip, payload) = Ipv4Header::from_slice(&whole[14..]).unwrap();
        ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        ip.more_fragments = more;
        ip.header_checksum = ip.calc_header_checksum();
        let mut frame = whole[..14].to_vec();
        ip.write_raw(&mut frame).unwrap();
        frame.extend(payload);
        frame
    };
    let fragments = [fragment(0, true), fragment(3, true), fragment(6, false)];
    let washed = fragments.each_ref().map(|frame| remade(frame, 1));
    assert_eq!(pass(&mut bridge, Side::Outside, &fragments), washed);

    let mut wrong = whole.clone();
    wrong[24] ^= 0x40;
    let left = pass(&mut bridge, Side::Outside, &[wrong.clone()]).remove(0);
    let error = |frame: &[u8]| {
        let (ip, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
        (i32::from(ip.header_checksum) - i32::from(ip.calc_header_checksum())).rem_euclid(0xffff)
    };
    assert_eq!((left[15], error(&left)), (1, error(&wrong)));
    assert_ne!(error(&left), 0);
    bridge.settled();
}

#[test]
fn a_new_policy_marks_the_next_frame_of_a_known_flow() {
    let mut bridge = bridge("");
    let frame = |ds_field| Udp::to(VOICE).frame(true, Side::Inside, ds_field);
    assert_eq!(pass(&mut bridge, Side::Inside, &[frame(3)]), [frame(3)]);
    for (epoch, text, mark) in
        [(2, "[[class]]\nname = \"voice\"\ndscp = \"EF\"", EF), (3, "", 0), (4, "[[remark]]\nfrom = 0\nto = 34", AF41)]
    {
        let mut changed = policy(text);
        changed.epoch = epoch;
        bridge.ingress.judge().adopt(Arc::new(changed));
        assert_eq!(pass(&mut bridge, Side::Inside, &[frame(3)]), [remade(&frame(3), mark << 2 | 3)]);
    }
    bridge.settled();
}
