//! Keeps a copy of a small body while it is streamed on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, BodyError, Room, Taken};

/// Bytes that every copy may have, so that small uploads, which signatures are, are kept beside many large ones.
const SMALL: usize = 16 << 10;

/// The copy, readable once the body has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Copy {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    Growing(BytesMut, Option<Taken>),
    Whole(Bytes, Option<Taken>),
    Dropped,
}

impl Default for State {
    fn default() -> Self {
        Self::Growing(BytesMut::new(), None)
    }
}

impl State {
    /// With more bytes, of which those beyond the small ones take room.
    fn grown(self, bytes: &[u8], limit: usize, room: &Room) -> Self {
        let Self::Growing(mut kept, mut taken) = self else {
            return Self::Dropped;
        };
        let length = kept.len() + bytes.len();
        if length > limit {
            return Self::Dropped;
        }
        let beyond = length.saturating_sub(SMALL.max(kept.len()));
        if beyond > 0 {
            match (room.take(beyond), &mut taken) {
                (None, _) => return Self::Dropped,
                (Some(more), Some(taken)) => taken.join(more),
                (Some(more), taken) => *taken = Some(more),
            }
        }
        kept.extend_from_slice(bytes);
        Self::Growing(kept, taken)
    }
}

impl Copy {
    /// The whole body with the room it takes, if it ended and was not too large. An empty body has no copy.
    pub(super) fn take(&self) -> Option<(Bytes, Option<Taken>)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Dropped) {
            State::Whole(bytes, taken) if !bytes.is_empty() => Some((bytes, taken)),
            State::Whole(..) | State::Growing(..) | State::Dropped => None,
        }
    }

    fn update(&self, step: impl FnOnce(State) -> State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = step(std::mem::replace(&mut *state, State::Dropped));
    }
}

/// Splits `body` into the same body and a copy of at most `limit` bytes, if there is room.
pub(super) fn tee(body: Body, limit: usize, room: &Room) -> (Body, Copy) {
    let copy = Copy::default();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        copy.update(|_| State::Dropped);
        return (body, copy);
    }
    if body.is_end_stream() {
        return (body, copy);
    }
    let tee = Tee {
        inner: body,
        copy: copy.clone(),
        limit,
        room: room.clone(),
    };
    (tee.boxed_unsync(), copy)
}

struct Tee {
    inner: Body,
    copy: Copy,
    limit: usize,
    room: Room,
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let (limit, room) = (self.limit, &self.room);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.copy.update(|state| state.grown(bytes, limit, room));
                }
                if self.inner.is_end_stream() {
                    self.copy.update(whole);
                }
            }
            Some(Err(_)) => self.copy.update(|_| State::Dropped),
            None => self.copy.update(whole),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn whole(state: State) -> State {
    match state {
        State::Growing(kept, taken) => State::Whole(kept.freeze(), taken),
        State::Whole(bytes, taken) => State::Whole(bytes, taken),
        State::Dropped => State::Dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[tokio::test]
    async fn only_a_whole_small_body_leaves_a_copy() {
        for (content, read, expected) in [
            ("0123", true, Some("0123")),
            ("01234", true, None),
            ("", true, None),
            ("0123", false, None),
        ] {
            let (streamed, copy) = tee(body::full(content), 4, &Room::of(0));
            if read {
                assert_eq!(streamed.collect().await.unwrap().to_bytes(), content);
            }
            assert_eq!(
                copy.take().map(|(copy, _)| copy).as_deref(),
                expected.map(str::as_bytes),
                "{content:?} read: {read}"
            );
        }
    }

    #[tokio::test]
    async fn a_small_body_is_copied_without_room_and_a_larger_one_gives_its_room_back() {
        let large = vec![0; 3 * SMALL];
        for (content, room, expected, why) in [
            (&large[..SMALL], 0, true, "small"),
            (&large, 2 * SMALL, true, "there is room"),
            (&large, 2 * SMALL - 1, false, "one byte is missing"),
        ] {
            let room = Room::of(room);
            let (streamed, copy) = tee(body::full(content.to_vec()), large.len(), &room);
            streamed.collect().await.unwrap();
            let taken = copy.take();
            assert_eq!(taken.is_some(), expected, "{why}");
            drop((taken, copy));
            assert!(
                room.take(2 * SMALL - 1).is_some() || why == "small",
                "{why}"
            );
        }
    }
}
