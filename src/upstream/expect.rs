//! `Expect: 100-continue` (RFC 9110 section 10.1.1), from the client to the registry behind: the body is asked for when
//! the registry asks for it, so that a refusal costs no upload.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderValue, Request, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use crate::body::{Body, BodyError};

/// How long the registry may take to ask for the body; many servers never do, and take it all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Passes the expectation on: what is sent to the registry waits for its `100 Continue`, or for a second.
#[must_use]
pub fn pass_on(mut request: Request<Body>) -> Request<Body> {
    if request.body().is_end_stream() {
        return request;
    }
    let expectation = HeaderValue::from_static("100-continue");
    request.headers_mut().insert(EXPECT, expectation);
    let asked = Arc::new(Notify::new());
    let waiting = Box::pin(Arc::clone(&asked).notified_owned());
    hyper::ext::on_informational(&mut request, move |informational| {
        if informational.status() == StatusCode::CONTINUE {
            asked.notify_one();
        }
    });
    request.map(|inner| {
        let waiting = Some(Waiting {
            asked: waiting,
            patience: None,
        });
        Expected { inner, waiting }.boxed_unsync()
    })
}

/// A body that is not read before it is asked for.
struct Expected {
    inner: Body,
    waiting: Option<Waiting>,
}

struct Waiting {
    asked: Pin<Box<OwnedNotified>>,
    /// Runs from the moment that the body is wanted, when the head of the request is on its way.
    patience: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Expected {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(Waiting { asked, patience }) = &mut self.waiting {
            let patience = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            if asked.as_mut().poll(context).is_pending() {
                ready!(patience.as_mut().poll(context));
            }
            self.waiting = None;
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
