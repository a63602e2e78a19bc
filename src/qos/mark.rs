//! With which mark (DSCP) a frame leaves, by its class and the mark with which it came.

use crate::frame::Side;
use crate::wire::dscp;

/// The number of code points.
pub const CODE_POINTS: usize = dscp::MAX as usize + 1;

/// What a class means to the marks of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A frame leaves as it came, whatever the map says.
    Leave,
    /// What the map makes of the mark with which the frame came.
    Map,
    /// This code point.
    Set(u8),
}

/// The marks of both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks<const CLASSES: usize> {
    classes: [Mark; CLASSES],
    maps: [[u8; CODE_POINTS]; 2],
}

impl<const CLASSES: usize> Marks<CLASSES> {
    /// What `classes` mean, by slot, where `maps` tell what becomes of each code point, by the side at which frames come in;
    /// `None` if nothing is changed by it.
    pub fn new(classes: [Mark; CLASSES], maps: [[u8; CODE_POINTS]; 2]) -> Option<Marks<CLASSES>> {
        let maps_change = maps.iter().any(|map| map.iter().zip(0..).any(|(to, from)| *to != from));
        let changes = |class| match class {
            Mark::Leave => false,
            Mark::Map => maps_change,
            Mark::Set(_) => true,
        };
        classes.iter().any(|class| changes(*class)).then_some(Marks { classes, maps })
    }

    /// The mark with which a frame of class slot `class` leaves that came in at `side` with the mark `dscp`.
    #[inline]
    pub fn of(&self, class: u8, side: Side, dscp: u8) -> u8 {
        match self.classes[usize::from(class)] {
            Mark::Leave => dscp,
            Mark::Map => self.maps[side as usize][usize::from(dscp)],
            Mark::Set(mark) => mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_THEY_ARE: [u8; CODE_POINTS] = {
        let mut map = [0; CODE_POINTS];
        let mut dscp = 0;
        while dscp < CODE_POINTS {
            map[dscp] = dscp as u8;
            dscp += 1;
        }
        map
    };

    #[test]
    fn a_class_goes_before_the_map_of_the_direction() {
        let mut upload = AS_THEY_ARE;
        upload[8] = 1;
        let marks = Marks::new([Mark::Leave, Mark::Map, Mark::Set(46)], [upload, AS_THEY_ARE]).unwrap();
        for dscp in 0..CODE_POINTS as u8 {
            let upload = if dscp == 8 { 1 } else { dscp };
            assert_eq!([0, 1, 2].map(|class| marks.of(class, Side::Inside, dscp)), [dscp, upload, 46]);
            assert_eq!([0, 1, 2].map(|class| marks.of(class, Side::Outside, dscp)), [dscp, dscp, 46]);
        }
    }

    #[test]
    fn what_changes_nothing_is_nothing() {
        let mut map = AS_THEY_ARE;
        assert_eq!(Marks::new([Mark::Leave, Mark::Map], [map; 2]), None);
        assert!(Marks::new([Mark::Leave, Mark::Set(0)], [map; 2]).is_some());
        map[63] = 0;
        assert!(Marks::new([Mark::Leave, Mark::Map], [AS_THEY_ARE, map]).is_some());
        assert_eq!(Marks::new([Mark::Leave], [map; 2]), None);
    }
}
