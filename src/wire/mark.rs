//! The DS field changed in place (DSCP: RFC 2474; ECN: RFC 3168), and IPv4's checksum with it (RFC 1624).
//!
//! Where the header is comes from [`Packet::ip_offset`](super::Packet::ip_offset). With another frame the field may be
//! anything, but nothing is written that doesn't look like an IP header, nothing outside the frame, and nothing panics.

use std::num::NonZeroU16;

/// Not ECN-capable transport.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable transport, low latency (L4S, RFC 9331).
pub const ECT_1: u8 = 0b01;
/// ECN-capable transport, classic.
pub const ECT_0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// What both headers have at least, all of what is changed included.
const LEN: usize = 20;
const CHECKSUM: usize = 10;

/// Sets the code point of the packet whose IP header begins at `ip`, 6 bits, and leaves its ECN bits as they are; says
/// whether the frame is another now.
#[inline]
pub fn set_dscp(frame: &mut [u8], ip: NonZeroU16, dscp: u8) -> bool {
    let Some(mut header) = Header::at(frame, ip) else { return false };
    let before = header.ds_field();
    header.replace(before, dscp << 2 | before & CE)
}

/// Tells an ECN-capable packet whose IP header begins at `ip` of congestion; says whether it knows now: one that isn't
/// ECN-capable stays as it is, and must be dropped instead.
#[inline]
pub fn set_ce(frame: &mut [u8], ip: NonZeroU16) -> bool {
    let Some(mut header) = Header::at(frame, ip) else { return false };
    let before = header.ds_field();
    if before & CE == NOT_ECT {
        return false;
    }
    header.replace(before, before | CE);
    true
}

/// The front of an IP header.
enum Header<'a> {
    V4(&'a mut [u8; LEN]),
    V6(&'a mut [u8; LEN]),
}

impl<'a> Header<'a> {
    #[inline]
    fn at(frame: &'a mut [u8], ip: NonZeroU16) -> Option<Header<'a>> {
        let header: &mut [u8; LEN] = frame.get_mut(usize::from(ip.get())..)?.first_chunk_mut()?;
        match header[0] >> 4 {
            4 => Some(Header::V4(header)),
            6 => Some(Header::V6(header)),
            _ => None,
        }
    }

    #[inline]
    fn ds_field(&self) -> u8 {
        match self {
            Header::V4(header) => header[1],
            Header::V6(header) => header[0] << 4 | header[1] >> 4,
        }
    }

    /// Writes `after` where `before` stands; says whether that makes a difference.
    #[inline]
    fn replace(&mut self, before: u8, after: u8) -> bool {
        if after == before {
            return false;
        }
        match self {
            Header::V4(header) => {
                header[1] = after;
                let checksum = u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]]);
                // The upper byte of the word that the field is in stays, and cancels out.
                let checksum = updated(checksum, before, after);
                [header[CHECKSUM], header[CHECKSUM + 1]] = checksum.to_be_bytes();
            }
            Header::V6(header) => {
                header[0] = header[0] & 0xf0 | after >> 4;
                header[1] = header[1] & 0x0f | after << 4;
            }
        }
        true
    }
}

/// The checksum of a header in which the lower byte of a word was `before` and is `after`, by equation 3 of RFC 1624: by how
/// much it was wrong, it still is.
///
/// Only a sum of zeros would make 0xffff of what should be 0x0000. The complement of a word below 256 is none, so what was
/// right becomes what a computation over the whole header gives.
#[inline]
fn updated(checksum: u16, before: u8, after: u8) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!u16::from(before)) + u32::from(after);
    // Three words carry at most 2, and adding that may carry once more.
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What is around the header in a frame, before and behind.
    const AROUND: usize = 18;
    const IP: NonZeroU16 = NonZeroU16::new(AROUND as u16).unwrap();

    /// The one's complement sum of the words of `header`, by the definition of RFC 1071.
    fn sum(header: &[u8]) -> u16 {
        let mut sum: u64 = header.chunks(2).map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum of an IPv4 header, over all of it.
    fn computed(header: &[u8]) -> u16 {
        let mut header = header.to_vec();
        header[CHECKSUM..CHECKSUM + 2].fill(0);
        !sum(&header)
    }

    fn checksum(header: &[u8]) -> u16 {
        u16::from_be_bytes([header[CHECKSUM], header[CHECKSUM + 1]])
    }

    /// An IPv4 header of any length with the right checksum.
    fn ipv4() -> impl Strategy<Value = Vec<u8>> {
        (5_usize..=15).prop_flat_map(|words| vec(any::<u8>(), words * 4)).prop_map(|mut header| {
            header[0] = 0x40 | (header.len() / 4) as u8;
            let checksum = computed(&header);
            header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
            header
        })
    }

    fn ipv6() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 40).prop_map(|mut header| {
            header[0] = 0x60 | header[0] & 0x0f;
            header
        })
    }

    fn framed(header: &[u8]) -> Vec<u8> {
        [&[0x45; AROUND], header, &[0x45; AROUND]].concat()
    }

    /// `header` after `change` was made to it within a frame, and what `change` said; nothing around it has changed.
    fn changed(header: &[u8], change: impl Fn(&mut [u8]) -> bool) -> (Vec<u8>, bool) {
        let mut frame = framed(header);
        let said = change(&mut frame);
        let after = frame[AROUND..AROUND + header.len()].to_vec();
        assert_eq!(frame, framed(&after), "only the header");
        (after, said)
    }

    /// `header` with another DS field and whatever checksum belongs to it, byte by byte.
    fn rewritten(header: &[u8], ds_field: u8) -> Vec<u8> {
        let mut header = header.to_vec();
        if header[0] >> 4 == 4 {
            header[1] = ds_field;
            let checksum = computed(&header);
            header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let word = u16::from_be_bytes([header[0], header[1]]) & 0xf00f | u16::from(ds_field) << 4;
            header[..2].copy_from_slice(&word.to_be_bytes());
        }
        header
    }

    proptest! {
        #[test]
        fn a_code_point_is_written_and_nothing_else(header in prop_oneof![ipv4(), ipv6()]) {
            for before in 0..=255_u8 {
                let header = rewritten(&header, before);
                for dscp in 0..64_u8 {
                    let (after, said) = changed(&header, |frame| set_dscp(frame, IP, dscp));
                    prop_assert_eq!(&after, &rewritten(&header, dscp << 2 | before & 3), "{:#x} to {}", before, dscp);
                    prop_assert_eq!(said, dscp != before >> 2);
                }
            }
        }

        #[test]
        fn congestion_is_told_to_who_can_hear_of_it(header in prop_oneof![ipv4(), ipv6()]) {
            for before in 0..=255_u8 {
                let header = rewritten(&header, before);
                let (after, said) = changed(&header, |frame| set_ce(frame, IP));
                prop_assert_eq!(said, before & 3 != NOT_ECT);
                prop_assert_eq!(&after, &rewritten(&header, if said { before | CE } else { before }));
            }
        }

        /// The sum of a header with its checksum is 0xffff where that is right, and says by how much it is wrong.
        #[test]
        fn a_wrong_checksum_is_wrong_by_as_much_as_before(header in ipv4(), wrong: u16, before: u8, dscp in 0..64_u8) {
            let mut header = header;
            header[1] = before;
            header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&wrong.to_be_bytes());
            let (after, _) = changed(&header, |frame| set_dscp(frame, IP, dscp));
            prop_assert_eq!(sum(&after), sum(&header));
            let (after, _) = changed(&header, |frame| set_ce(frame, IP));
            prop_assert_eq!(sum(&after), sum(&header));
        }

        #[test]
        fn any_bytes_and_any_offset_are_safe(bytes in vec(any::<u8>(), 0..120), ip: NonZeroU16, near in 1..130_u16, dscp: u8) {
            for ip in [ip, NonZeroU16::new(near).unwrap()] {
                let at = usize::from(ip.get());
                let is_ip = bytes.len() >= at + LEN && matches!(bytes[at] >> 4, 4 | 6);
                let mut frame = bytes.clone();
                prop_assert!(is_ip || !set_dscp(&mut frame, ip, dscp) && !set_ce(&mut frame, ip));
                set_dscp(&mut frame, ip, dscp);
                set_ce(&mut frame, ip);
                for (i, (before, after)) in bytes.iter().zip(&frame).enumerate() {
                    let may = is_ip && (at..at + LEN).contains(&i);
                    prop_assert!(may || before == after, "byte {} with the header at {}", i, at);
                }
            }
        }
    }

    /// Where one's complement has two zeros (RFC 1624, section 3): a checksum of 0x0000 is that, and never 0xffff.
    #[test]
    fn the_two_zeros_of_ones_complement() {
        let mut header = [0; 20];
        header[0] = 0x45;
        // Adds up to 0xffff with a DS field of 0xb8, so that the checksum is 0.
        header[2..4].copy_from_slice(&(0xffff - 0x45b8_u16).to_be_bytes());
        let header = rewritten(&header, 0xb8);
        assert_eq!(checksum(&header), 0);
        for before in 0..=255 {
            let before = rewritten(&header, before);
            let (after, _) = changed(&before, |frame| set_dscp(frame, IP, 0xb8 >> 2));
            assert_eq!(after, rewritten(&header, 0xb8 | before[1] & CE));
            assert_ne!(checksum(&after), 0xffff);
        }
        // Some senders write 0xffff for it, which adds up as well; that's put right in passing.
        let mut other_zero = header.clone();
        other_zero[CHECKSUM..CHECKSUM + 2].fill(0xff);
        assert_eq!((sum(&header), sum(&other_zero)), (0xffff, 0xffff));
        let (after, _) = changed(&other_zero, |frame| set_dscp(frame, IP, 0));
        assert_eq!(after, rewritten(&header, 0));
    }

    /// All of what the update can meet, as a header is only 16 bits to it.
    #[test]
    fn the_update_is_right_for_every_sum() {
        for rest in 0x4500..=0xffff_u16 {
            for (before, after) in [(0, 1), (1, 0), (0, 0xff), (0xff, 0), (0xb8, 0x04), (0xfe, 0xff)] {
                let sums = [before, after].map(|field| sum(&[rest.to_be_bytes(), [0, field]].concat()));
                assert_eq!(updated(!sums[0], before, after), !sums[1], "{rest:#x} {before} {after}");
            }
        }
    }
}
