//! What is made of the pages of a listing.

use super::*;

fn page(keys: &[&str], next: &str) -> String {
    let contents: String = keys
        .iter()
        .map(|key| {
            format!("<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-23T09:00:00.500Z</LastModified></Contents>")
        })
        .collect();
    let more = !next.is_empty();
    format!(
        "<ListBucketResult>{contents}<IsTruncated>{more}</IsTruncated>{}</ListBucketResult>",
        if more {
            format!("<NextContinuationToken>{next}</NextContinuationToken>")
        } else {
            String::new()
        }
    )
}

fn answered(page: String) -> Reply {
    Reply::With(200, "", page.leak())
}

async fn listed(store: &S3BlobStore, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(key);
    let listed = store.list(&key("v1/f"), after.as_ref(), limit).await;
    let listed = listed.unwrap().into_iter();
    listed
        .map(|listed| listed.key.as_str().to_owned())
        .collect()
}

#[tokio::test]
async fn keys_of_others_are_passed_over() {
    let first = page(&["v1/f/", "v1/f/.c", "v1/f/a b"], "more");
    let second = page(&["v1/f/d", "v1/f/e//f"], "");
    let (store, recorder) = store(vec![answered(first), answered(second)]).await;
    assert_eq!(listed(&store, Some("v1/f"), 2).await, ["v1/f/d"]);
    let lines = recorder.lines();
    assert!(
        lines[0].contains("max-keys=2") && lines[0].contains("prefix=v1%2Ff%2F"),
        "{lines:?}"
    );
    assert!(lines[1].contains("continuation-token=more"), "{lines:?}");
}

#[tokio::test]
async fn a_listing_without_order_is_put_in_order() {
    let disordered = || answered(page(&["v1/f/c", "v1/f/a"], "more"));
    let rest = || answered(page(&["v1/f/d", "v1/f/b"], ""));
    let replies = vec![disordered(), disordered(), rest(), disordered(), rest()];
    let (store, recorder) = store(replies).await;
    assert_eq!(
        listed(&store, None, 3).await,
        ["v1/f/a", "v1/f/b", "v1/f/c"]
    );
    assert_eq!(
        listed(&store, Some("v1/f/b"), 9).await,
        ["v1/f/c", "v1/f/d"]
    );
    assert_eq!(
        recorder.lines().len(),
        5,
        "once it is known, it is not tried"
    );
    assert!(!recorder.lines()[3].contains("start-after"));
}

#[tokio::test]
async fn a_position_outside_of_the_folder_needs_no_request() {
    let (store, recorder) = store(vec![answered(page(&["v1/f/a"], ""))]).await;
    assert_eq!(listed(&store, Some("v1/g"), 1).await, Vec::<String>::new());
    assert_eq!(listed(&store, None, 0).await, Vec::<String>::new());
    assert!(recorder.lines().is_empty());
    assert_eq!(listed(&store, Some("v1/a"), 1).await, ["v1/f/a"]);
    assert!(!recorder.lines()[0].contains("start-after"));
}
