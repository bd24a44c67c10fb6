//! Reading files whose size is not known.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read.
pub(super) const LARGEST: u64 = 1 << 20;

/// The whole of a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe could wait forever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    let most = LARGEST + 1;
    let read = File::open(path)?.take(most).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read >= most) {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    Ok(bytes)
}
