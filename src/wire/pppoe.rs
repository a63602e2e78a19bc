//! PPP sessions over Ethernet (RFC 2516, section 4), with the PPP protocol field uncompressed as its section 7 advises.

use super::be16;

/// Values of the PPP protocol field ("Point-to-Point (PPP) Protocol Field Assignments" at IANA).
pub mod ppp {
    /// IPv4 (RFC 1332).
    pub const IPV4: u16 = 0x0021;
    /// IPv6 (RFC 5072).
    pub const IPV6: u16 = 0x0057;
}

/// The length of the PPPoE header and the PPP protocol field.
const LEN: usize = 8;
/// Of which the PPPoE length field doesn't count the first six.
const BEFORE_LENGTH: usize = 6;
const VERSION_AND_TYPE: usize = 0;
const CODE: usize = 1;
const SESSION: usize = 2;
const LENGTH: usize = 4;
const PROTOCOL: usize = 6;

/// A view of a packet in a PPPoE session (ethertype 0x8864).
#[derive(Clone, Copy, Debug)]
pub struct Pppoe<'a> {
    header: &'a [u8; LEN],
    bytes: &'a [u8],
}

impl<'a> Pppoe<'a> {
    /// The length of the PPPoE header and the PPP protocol field in bytes.
    pub const LEN: usize = LEN;

    /// The packet in `bytes`, if both headers are whole, version and type are 1, and the code says session data.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Pppoe<'a>> {
        let header: &[u8; LEN] = bytes.first_chunk()?;
        let session = header[VERSION_AND_TYPE] == 0x11 && header[CODE] == 0;
        let long_enough = be16(header, LENGTH) as usize >= LEN - BEFORE_LENGTH;
        (session && long_enough).then_some(Pppoe { header, bytes })
    }

    /// The session's identifier.
    pub fn session(&self) -> u16 {
        be16(self.header, SESSION)
    }

    /// The length of the whole packet, both headers included, as the header says; more than is here if it was cut short.
    #[inline]
    pub fn total_len(&self) -> usize {
        BEFORE_LENGTH + be16(self.header, LENGTH) as usize
    }

    /// The PPP protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u16 {
        be16(self.header, PROTOCOL)
    }

    /// The PPP payload as far as it is here, without the padding of the frame.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..self.total_len().min(self.bytes.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 12] = [0x11, 0, 0x12, 0x34, 0, 4, 0x00, 0x57, 0x60, 0x01, 0xee, 0xee];

    #[test]
    fn every_field_is_read() {
        let packet = Pppoe::new(&PACKET).unwrap();
        assert_eq!(packet.session(), 0x1234);
        assert_eq!(packet.protocol(), ppp::IPV6);
        assert_eq!(packet.total_len(), 10);
        assert_eq!(packet.payload(), [0x60, 0x01]);
        assert_eq!(Pppoe::new(&PACKET[..9]).unwrap().payload(), [0x60]);
    }

    #[test]
    fn what_does_not_hold_together_is_none() {
        assert!(Pppoe::new(&PACKET[..7]).is_none());
        for (offset, value) in [(0, 0x21), (1, 0x09), (5, 1)] {
            let mut broken = PACKET;
            broken[offset] = value;
            assert!(Pppoe::new(&broken).is_none(), "byte {offset} is {value:#x}");
        }
    }
}
