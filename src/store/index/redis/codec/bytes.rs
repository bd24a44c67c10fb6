//! The bytes that rows are made of.

/// A row shorter than this has a length of one byte; the scripts read it too.
const LONG: u8 = 255;

/// Appends seven bits a byte, lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends `row` with its length before it.
pub(super) fn put_framed(out: &mut Vec<u8>, row: &[u8]) {
    match u8::try_from(row.len()) {
        Ok(length) if length < LONG => out.push(length),
        Ok(_) | Err(_) => {
            let length = u32::try_from(row.len()).expect("a manifest is smaller than 4 GiB");
            out.push(LONG);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend(row);
}

/// Reads from the front; `None` where the bytes end or are none of ours.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn framed(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            LONG => {
                let length: [u8; 4] = self.take(4)?.try_into().ok()?;
                usize::try_from(u32::from_be_bytes(length)).ok()?
            }
            length => usize::from(length),
        };
        self.take(length)
    }
}
