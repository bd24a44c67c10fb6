//! Single byte ranges of a blob that regseal holds (RFC 9110 section 14).

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};
use http_body::Frame;

use crate::body::{Body, BodyError};

/// What a `Range` header asks of `size` bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Everything: no range, or one that is not understood and therefore ignored.
    Whole,
    /// These bytes.
    Part(RangeInclusive<u64>),
    /// Nothing that is there (416).
    Unsatisfiable,
}

pub(super) fn asked(headers: &HeaderMap, size: u64) -> Asked {
    if headers.contains_key(IF_RANGE) {
        return Asked::Whole;
    }
    let header = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = header
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let end = size.saturating_sub(1);
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Asked::Unsatisfiable,
        (Ok(first), Ok(last)) => first..=last.min(end),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..=end,
        (Err(_), Ok(0)) if first.trim().is_empty() => return Asked::Unsatisfiable,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => size.saturating_sub(suffix)..=end,
        _ => return Asked::Whole,
    };
    if *range.start() >= size {
        Asked::Unsatisfiable
    } else {
        Asked::Part(range)
    }
}

/// Passes only the bytes of a range, but reads the inner body to its end, where its digest is checked.
pub(super) struct Part {
    inner: Body,
    skip: u64,
    left: u64,
}

impl Part {
    pub(super) fn new(inner: Body, range: &RangeInclusive<u64>) -> Self {
        Self {
            inner,
            skip: *range.start(),
            left: range.end() - range.start() + 1,
        }
    }

    fn cut(&mut self, mut bytes: Bytes) -> Bytes {
        let skipped = self.skip.min(length(&bytes));
        bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
        self.skip -= skipped;
        let kept = self.left.min(length(&bytes));
        bytes.truncate(usize::try_from(kept).unwrap_or(bytes.len()));
        self.left -= kept;
        bytes
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl http_body::Body for Part {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let Ok(bytes) = frame?.into_data() else {
                continue;
            };
            let bytes = self.cut(bytes);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;
    use crate::body;

    #[test]
    fn ranges_follow_the_specification() {
        for (range, expected) in [
            ("bytes=0-0", Asked::Part(0..=0)),
            ("bytes=2-", Asked::Part(2..=9)),
            ("bytes=-3", Asked::Part(7..=9)),
            ("bytes=-30", Asked::Part(0..=9)),
            ("bytes=5-100", Asked::Part(5..=9)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=5-2", Asked::Unsatisfiable),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            assert_eq!(asked(&headers, 10), expected, "{range}");
        }
    }

    #[tokio::test]
    async fn a_part_has_exactly_its_bytes() {
        let part = Part::new(body::full("0123456789"), &(3..=5));
        assert_eq!(part.collect().await.unwrap().to_bytes(), "345");
    }
}
