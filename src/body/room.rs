//! Memory for bodies that are read whole.
//!
//! Manifests and answers in JSON are read whole, each under a limit of its own. How many are read at a time does not
//! bound their memory well, since most are small and some are not; so their bytes are counted, all together.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Body, ReadError};

/// A number of bytes that all who read bodies whole have together; clones share it.
///
/// Room is taken as the bytes come and never waited for: a body that finds none is given up
/// ([`RoomError::Full`]), so that those who hold some cannot wait for each other. It is given back when the last
/// clone of the bytes is dropped.
#[derive(Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Takes room for so many bytes, if it is there.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Taken> {
        let bytes = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?;
        Some(Taken(permit))
    }

    /// Reads a whole body of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`RoomError`].
    pub async fn read(&self, mut body: Body, limit: usize) -> Result<Bytes, RoomError> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(RoomError::Body(ReadError::TooLarge));
        }
        // What is announced is not there yet, so it takes no room before it comes.
        let mut taken = self.take(0).ok_or(RoomError::Full)?;
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| RoomError::Body(ReadError::Broken(error)))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if piece.len() > limit - read.len() {
                return Err(RoomError::Body(ReadError::TooLarge));
            }
            let more = self.take(piece.len()).ok_or(RoomError::Full)?;
            taken.join(more);
            if read.is_empty() {
                read.reserve(announced);
            }
            read.extend_from_slice(&piece);
        }
        Ok(Bytes::from_owner(Kept {
            bytes: read,
            _taken: taken,
        }))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.bytes.available_permits();
        formatter.debug_struct("Room").field("left", &left).finish()
    }
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub enum RoomError {
    /// There is no room for it beside the others that are read at the moment.
    Full,
    /// It is too large, or broke off.
    Body(ReadError),
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

impl Taken {
    /// Both together.
    pub fn join(&mut self, more: Self) {
        self.0.merge(more.0);
    }
}

/// Bytes with the room they take.
struct Kept {
    bytes: BytesMut,
    _taken: Taken,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[tokio::test]
    async fn bytes_take_room_until_the_last_of_them_is_dropped() {
        let room = Room::of(10);
        let read = room.read(body::full("123456"), 8).await.unwrap();
        let part = read.slice(2..4);
        drop(read);
        let refused = room.read(body::full("12345"), 8).await;
        assert!(matches!(refused, Err(RoomError::Full)), "{refused:?}");
        assert_eq!(part, "34");
        drop(part);
        assert_eq!(room.read(body::full("12345"), 8).await.unwrap(), "12345");
        assert_eq!(room.bytes.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_body_beyond_its_own_limit_is_too_large_whatever_room_there_is() {
        let room = Room::of(4);
        for (content, limit, why) in [("12345", 4, "announced"), ("12", 1, "no room is taken")] {
            let read = room.read(body::full(content), limit).await;
            assert!(
                matches!(read, Err(RoomError::Body(ReadError::TooLarge))),
                "{why}: {read:?}"
            );
        }
        assert_eq!(room.bytes.available_permits(), 4);
    }
}
