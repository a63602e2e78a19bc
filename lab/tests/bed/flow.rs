//! Which frames belong together and must keep their order: those with the same key.

/// The key of a frame's flow: MAC addresses, tags, and the protocol, addresses and ports of the IP packet in it, inside
/// PPPoE and MPLS too. Without IP, it is all up to the type. A frame whose headers are broken or cut short is on its own: what a box
/// makes of it is the box's matter.
pub(crate) fn flow(frame: &[u8]) -> Vec<u8> {
    find(frame).unwrap_or_else(|| frame.to_vec())
}

fn find(frame: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    while matches!(word(frame, at)?, 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
    }
    let packet = match word(frame, at)? {
        0x0800 | 0x86dd => at + 2,
        // RFC 2516: version, code, session and length, then the PPP protocol.
        0x8864 if matches!(word(frame, at + 8)?, 0x0021 | 0x0057) => at + 10,
        0x8847 | 0x8848 => under_labels(frame, at + 2)?,
        _ => return Some(frame[..at + 2].to_vec()),
    };
    Some([&frame[..at + 2], &ip(frame.get(packet..)?)?].concat())
}

/// Where a stack of MPLS labels ends (RFC 3032).
fn under_labels(frame: &[u8], mut at: usize) -> Option<usize> {
    while frame.get(at + 2)? & 1 == 0 {
        at += 4;
    }
    Some(at + 4)
}

fn ip(packet: &[u8]) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let is_fragment = word(packet, 6)? & 0x3fff != 0;
            key(*packet.get(9)?, packet.get(12..20)?, if is_fragment { None } else { Some(packet.get(header..)?) })
        }
        6 => {
            let (protocol, payload) = behind_extensions(packet)?;
            key(protocol, packet.get(8..40)?, payload)
        }
        _ => None,
    }
}

/// The protocol behind the extension headers of IPv6 (RFC 8200; 51 is authentication, RFC 4302), and its bytes unless the
/// packet is a fragment.
fn behind_extensions(packet: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let (mut protocol, mut at, mut seen_fragment_header) = (*packet.get(6)?, 40, false);
    while matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135) {
        let units = usize::from(*packet.get(at + 1)?);
        let length = match protocol {
            // A fragment of a fragment has no meaning.
            44 if seen_fragment_header => return None,
            44 if word(packet, at + 2)? & 0xfff9 != 0 => return Some((packet[at], None)),
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        seen_fragment_header |= protocol == 44;
        (protocol, at) = (packet[at], at + length);
    }
    Some((protocol, Some(packet.get(at..)?)))
}

/// `payload` is none for a fragment, which has no ports that count.
fn key(protocol: u8, addresses: &[u8], payload: Option<&[u8]>) -> Option<Vec<u8>> {
    let first = match (protocol, payload) {
        // TCP, UDP, DCCP, SCTP, UDP-Lite: the ports.
        (6 | 17 | 33 | 132 | 136, Some(payload)) => payload.get(..4)?,
        // ICMPv6: the type, which tells pings from the link's own business.
        (58, Some(payload)) => payload.get(..1)?,
        _ => &[],
    };
    Some([&[protocol], addresses, first].concat())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}
