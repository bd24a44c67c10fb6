//! What is sent.

use aws_sdk_s3::presigning::PresigningConfig;
use futures_util::{StreamExt, stream};

use super::*;

const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[tokio::test]
async fn a_put_carries_its_hash_and_nothing_that_some_service_refuses() {
    let prefixed = |config: &mut Config| config.prefix = Some("prod/eu".to_owned());
    let (store, recorder) = store_with(vec![OK], prefixed).await;
    assert_eq!(create(&store).await.unwrap(), Written::Created);
    let bytes = Bytes::from_static(b"abc");
    store
        .put(&key("v1/a+b=c"), bytes, Condition::Always)
        .await
        .unwrap();
    let requests = recorder.requests();
    let lines = recorder.lines();
    assert_eq!(
        lines,
        [
            "PUT /signatures/prod/eu/v1/a?x-id=PutObject",
            "PUT /signatures/prod/eu/v1/a%2Bb%3Dc?x-id=PutObject"
        ]
    );
    for request in &requests {
        assert_eq!(request.body, b"abc");
        assert_eq!(request.header("content-length"), Some("3"));
        assert_eq!(request.header("x-amz-content-sha256"), Some(SHA256_OF_ABC));
        for refused in [
            "x-amz-checksum-",
            "x-amz-sdk-checksum-",
            "x-amz-trailer",
            "content-encoding",
            "transfer-encoding",
            "x-amz-server-side-encryption",
            "x-amz-decoded-content-length",
        ] {
            let sent = request
                .headers
                .iter()
                .find(|header| header.starts_with(refused));
            assert_eq!(sent, None);
        }
        let authorization = request.header("authorization").unwrap();
        assert!(authorization.contains("/eu-central-1/s3/aws4_request"));
    }
    assert_eq!(requests[0].header("if-none-match"), Some("*"));
    assert_eq!(requests[1].header("if-none-match"), None);
}

#[tokio::test]
async fn nothing_is_sent_when_the_store_is_opened() {
    let (_store, recorder) = store(vec![OK]).await;
    assert!(recorder.lines().is_empty());
}

#[tokio::test]
async fn encryption_is_asked_for_with_whatever_makes_an_object() {
    let kms = Encryption::Kms {
        key_id: Some("key-1".to_owned()),
    };
    for (encryption, expected, key_id) in [
        (Encryption::Aes256, "aes256", None),
        (kms, "aws:kms", Some("key-1")),
        (Encryption::Kms { key_id: None }, "aws:kms", None),
    ] {
        let replies = vec![OK, BEGUN, PART, PART, COMPLETED];
        let (store, recorder) = store_with(replies, |config| {
            config.encryption = encryption;
        })
        .await;
        create(&store).await.unwrap();
        let large = vec![Ok(Bytes::from(vec![0; 9 << 20]))];
        let large = stream::iter(large).boxed();
        let stored = store.put_stream(&key("v1/large"), large).await;
        assert_eq!(stored.unwrap(), 9 << 20);
        let requests = recorder.requests();
        let named = |text: &str| requests.iter().find(|request| request.line.contains(text));
        let (put, begin, part) = (
            &requests[0],
            named("?uploads").unwrap(),
            named("partNumber=1").unwrap(),
        );
        for request in [put, begin] {
            let header = |name| request.header(name);
            assert_eq!(header("x-amz-server-side-encryption"), Some(expected));
            let sent = header("x-amz-server-side-encryption-aws-kms-key-id");
            assert_eq!(sent, key_id);
        }
        assert_eq!(part.header("x-amz-server-side-encryption"), None);
        let checksum = |header: &&String| header.starts_with("x-amz-checksum-");
        assert_eq!(part.headers.iter().find(checksum), None);
        assert_eq!(part.body.len(), 8 << 20);
        assert_eq!(named("partNumber=2").unwrap().body.len(), 1 << 20);
    }
}

#[tokio::test]
async fn the_bucket_stands_in_the_path_or_in_the_host() {
    for (path_style, expected) in [
        (true, "https://s3.example.com/signatures/v1/a?"),
        (false, "https://signatures.s3.example.com/v1/a?"),
    ] {
        let config = Config {
            path_style,
            ..config("https://s3.example.com")
        };
        let store = S3BlobStore::open(config).await.unwrap();
        let expiry = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
        let get = store.client.get_object().bucket(&store.bucket).key("v1/a");
        let request = get.presigned(expiry).await.unwrap();
        assert!(request.uri().starts_with(expected), "{}", request.uri());
    }
}

#[tokio::test]
async fn without_conditional_writes_an_object_is_looked_for_and_then_written() {
    let off = |config: &mut Config| config.conditional_writes = ConditionalWrites::Off;
    let replies = vec![Reply::With(404, "", ""), EMPTY_PAGE, OK];
    let (store, recorder) = store_with(replies, off).await;
    assert_eq!(create(&store).await.unwrap(), Written::Created);
    for (line, method) in recorder.lines().iter().zip(["HEAD", "GET", "PUT"]) {
        assert!(line.starts_with(method), "{line}");
    }
    assert_eq!(recorder.requests()[2].header("if-none-match"), None);

    let there = "last-modified: Mon, 23 Nov 2026 09:00:00 GMT\r\n";
    let (store, _recorder) = store_with(vec![Reply::With(200, there, "abc")], off).await;
    assert_eq!(create(&store).await.unwrap(), Written::AlreadyThere);
}

#[tokio::test]
async fn what_fits_into_one_part_is_one_request() {
    for length in [0, 1, 8 << 20] {
        let (store, recorder) = store(vec![OK]).await;
        let whole = stream::iter(vec![Ok(Bytes::from(vec![0; length])), Ok(Bytes::new())]);
        let stored = store.put_stream(&key("v1/a"), whole.boxed()).await;
        assert_eq!(stored.unwrap(), length as u64);
        let requests = recorder.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].body.len(), length);
    }
}
