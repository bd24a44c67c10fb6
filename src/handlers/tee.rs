//! Keeps a copy of a small body while it is streamed on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, BodyError};

/// The copy, readable once the body has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Copy {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    Growing(BytesMut),
    Whole(Bytes),
    Dropped,
}

impl Default for State {
    fn default() -> Self {
        Self::Growing(BytesMut::new())
    }
}

impl Copy {
    /// The whole body, if it ended and was not too large. An empty body has no copy.
    pub(super) fn take(&self) -> Option<Bytes> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Dropped) {
            State::Whole(bytes) if !bytes.is_empty() => Some(bytes),
            State::Whole(_) | State::Growing(_) | State::Dropped => None,
        }
    }

    fn update(&self, step: impl FnOnce(State) -> State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = step(std::mem::replace(&mut *state, State::Dropped));
    }
}

/// Splits `body` into the same body and a copy of at most `limit` bytes.
pub(super) fn tee(body: Body, limit: usize) -> (Body, Copy) {
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
    };
    (tee.boxed_unsync(), copy)
}

struct Tee {
    inner: Body,
    copy: Copy,
    limit: usize,
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let limit = self.limit;
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.copy.update(|state| match state {
                        State::Growing(mut kept) if kept.len() + bytes.len() <= limit => {
                            kept.extend_from_slice(bytes);
                            State::Growing(kept)
                        }
                        State::Growing(_) | State::Whole(_) | State::Dropped => State::Dropped,
                    });
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
        State::Growing(kept) => State::Whole(kept.freeze()),
        State::Whole(bytes) => State::Whole(bytes),
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
            let (streamed, copy) = tee(body::full(content), 4);
            if read {
                assert_eq!(streamed.collect().await.unwrap().to_bytes(), content);
            }
            assert_eq!(
                copy.take().as_deref(),
                expected.map(str::as_bytes),
                "{content:?} read: {read}"
            );
        }
    }
}
