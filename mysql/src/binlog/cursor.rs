//! Reading integers and strings from the front of a byte slice, with bounds checks.

/// The unread bytes.
#[derive(Debug, Clone, Copy)]
pub struct ByteCursor<'a>(&'a [u8]);

impl<'a> ByteCursor<'a> {
    /// Starts at the beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The unread bytes.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether all bytes are read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// The next `n` bytes (at most 8) as a little-endian integer.
    pub fn fixed_int(&mut self, n: usize) -> Option<u64> {
        let bytes = self.take(n)?;
        let mut wide = [0; 8];
        wide.get_mut(..n)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(wide))
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.fixed_int(2)
            .and_then(|number| u16::try_from(number).ok())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.fixed_int(4)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.fixed_int(8)
    }

    /// A length-encoded integer of the client protocol: one byte, or a prefix byte and 2, 3 or 8 bytes.
    pub fn length_encoded_int(&mut self) -> Option<u64> {
        match self.u8()? {
            0xfc => self.fixed_int(2),
            0xfd => self.fixed_int(3),
            0xfe => self.fixed_int(8),
            0xfb | 0xff => None,
            small => Some(u64::from(small)),
        }
    }

    /// A variable-length integer of the serialization library of newer events: the number of further bytes in ones,
    /// from the lowest bit of the first byte on, then the value.
    pub fn variable_length_int(&mut self) -> Option<u64> {
        let further = self.0.first()?.trailing_ones() as usize;
        if further == 8 {
            self.u8()?;
            return self.u64();
        }
        Some(self.fixed_int(further + 1)? >> (further + 1))
    }

    /// Bytes up to a zero byte, which is consumed too.
    pub fn null_terminated(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.take(end)?;
        self.u8()?;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_are_read_and_none_beyond_the_end() {
        let mut cursor = ByteCursor::new(&[1, 2, 0, 3, 0, 0, 0, 0xfc, 1, 2, 9]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16(), Some(2));
        assert_eq!(cursor.u32(), Some(3));
        assert_eq!(cursor.length_encoded_int(), Some(0x201));
        assert_eq!(cursor.u64(), None);
        assert_eq!(cursor.rest(), [9]);
    }

    #[test]
    fn serialized_numbers_say_their_own_length() {
        assert_eq!(ByteCursor::new(&[0b10]).variable_length_int(), Some(1));
        assert_eq!(
            ByteCursor::new(&[0b01, 0b1]).variable_length_int(),
            Some(64)
        );
        let mut all = vec![0xff];
        all.extend(u64::MAX.to_le_bytes());
        assert_eq!(ByteCursor::new(&all).variable_length_int(), Some(u64::MAX));
        assert_eq!(ByteCursor::new(&[0b01]).variable_length_int(), None);
    }
}
