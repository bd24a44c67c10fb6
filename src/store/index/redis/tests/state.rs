//! What an index knows, before and after something happened to it.

use std::time::Duration;

use tokio::time::Instant;

use super::{absent, digest, found, link, referrer, repository};
use crate::store::index::redis::RedisIndex;
use crate::store::index::{IndexError, Lookup, ReferrersIndex};

/// Makes the one repository complete, with one referrer and one link.
pub(super) async fn fill(index: &RedisIndex) {
    let name = repository();
    let epoch = index.epoch().await.unwrap();
    let incarnation = index.begin_repository(&name).await.unwrap();
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    let row = [(digest("l"), link())];
    index.put_links(&name, &row).await.unwrap();
    assert!(index.complete_repository(&name, incarnation).await.unwrap());
    assert!(index.set_complete(epoch).await.unwrap());
    assert_eq!(found(index, "s").await, [referrer("s", "r")]);
    assert!(absent(index, "other").await);
}

/// Nothing of the one repository is known.
pub(super) async fn is_unknown(index: &RedisIndex) {
    let name = repository();
    let tag = "t".parse().unwrap();
    for subject in ["s", "other"] {
        let rows = index.referrers(&name, &digest(subject)).await.unwrap();
        assert_eq!(rows, Lookup::Unknown);
    }
    let row = index.link(&name, &digest("l")).await.unwrap();
    assert_eq!(row, Lookup::Unknown);
    let versions = index.tag_versions(&name, &tag).await.unwrap();
    assert_eq!(versions, Lookup::Unknown);
}

/// Waits until the index answers again.
pub(super) async fn back(index: &RedisIndex) {
    let begun = Instant::now();
    while let Err(error) = index.epoch().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error:?}");
        tokio::task::yield_now().await;
        let _ = index.redis.refreshed().await;
    }
}

/// The text of an error with all its causes.
pub(super) fn causes(error: &IndexError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
