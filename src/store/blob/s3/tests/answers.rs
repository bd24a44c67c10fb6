//! What is made of the answers, and of their absence.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::*;

#[tokio::test]
async fn a_creation_that_lost_its_reply_knows_its_own_object() {
    let refused = || Reply::With(412, "", "<Error><Code>PreconditionFailed</Code></Error>");
    let others = || Reply::With(200, "x-amz-meta-regseal-write: other\r\n", "abc");
    for (replies, expected, why) in [
        (
            vec![Reply::Hangup, refused(), Reply::FirstWrite],
            Written::Created,
            "our own",
        ),
        (
            vec![Reply::Hangup, refused(), others()],
            Written::AlreadyThere,
            "of equal bytes",
        ),
        (vec![refused(), OK], Written::AlreadyThere, "not of regseal"),
        (
            vec![refused(), Reply::With(404, "", ""), EMPTY_PAGE],
            Written::AlreadyThere,
            "deleted meanwhile",
        ),
        (
            vec![Reply::With(503, "", ""), OK],
            Written::Created,
            "only the second try",
        ),
    ] {
        let (store, _recorder) = store(replies).await;
        assert_eq!(create(&store).await.unwrap(), expected, "{why}");
    }
}

#[tokio::test]
async fn a_creation_in_the_way_of_another_is_tried_again() {
    let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    let conflict = || Reply::With(409, "", conflict);
    let (once, recorder) = store(vec![conflict(), OK]).await;
    assert_eq!(create(&once).await.unwrap(), Written::Created);
    assert_eq!(recorder.lines().len(), 2);
    let (always, _recorder) = store(vec![conflict()]).await;
    let error = create(&always).await.unwrap_err();
    assert!(
        chain(&error).contains("409 ConditionalRequestConflict"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_told_apart() {
    for (status, body) in [
        (501, ""),
        (400, "<Error><Code>NotImplemented</Code></Error>"),
        (
            400,
            "<Error><Code>InvalidArgument</Code><Message>If-None-Match?</Message></Error>",
        ),
    ] {
        let (store, _recorder) = store(vec![Reply::With(status, "", body)]).await;
        let error = chain(&create(&store).await.unwrap_err());
        assert!(
            error.contains("`storage.s3.conditional_writes: off`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_error_tells_code_and_request_and_no_secret() {
    let refused = Reply::With(
        403,
        "x-amz-request-id: R1\r\n",
        "<Error><Code>AccessDenied</Code><Message>not you</Message><RequestId>R1</RequestId></Error>",
    );
    let (store, _recorder) = store(vec![refused]).await;
    let error = store.get(&key("v1/a")).await.unwrap_err();
    let text = chain(&error);
    assert_eq!(
        text,
        "the object store cannot read v1/a: the store answered 403 AccessDenied: not you (request id R1)"
    );
    for shown in [format!("{error:?}"), format!("{store:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let config = config("http://127.0.0.1:1");
    assert!(!format!("{config:?}").contains(SECRET));
}

#[tokio::test]
async fn only_a_bucket_says_that_an_object_is_absent() {
    let page = || Reply::With(404, "", "<html>no such page</html>");
    for (replies, why) in [
        (vec![NO_SUCH_BUCKET], "no bucket"),
        (vec![page()], "no S3"),
        (
            vec![Reply::With(404, "", ""), NO_SUCH_BUCKET],
            "no bucket, and no body to say so",
        ),
    ] {
        let (store, _recorder) = store(replies).await;
        store.head(&key("v1/a")).await.expect_err(why);
        store.get(&key("v1/a")).await.expect_err(why);
        store.open(&key("v1/a")).await.err().expect(why);
        store.delete(&key("v1/a")).await.expect_err(why);
    }
    let (store, recorder) = store(vec![NO_SUCH_KEY, Reply::With(404, "", "")]).await;
    assert_eq!(store.get(&key("v1/a")).await.unwrap(), None);
    assert_eq!(store.head(&key("v1/a")).await.unwrap(), None);
    assert_eq!(recorder.lines().len(), 2, "the bucket was seen by then");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again() {
    let whole = || Reply::With(200, "", "abc");
    let (store, _recorder) = store(vec![Reply::Cut, Reply::Cut, whole()]).await;
    assert_eq!(store.get(&key("v1/a")).await.unwrap().unwrap(), "abc");
    let (store, recorder) = self::store(vec![Reply::Cut]).await;
    store.get(&key("v1/a")).await.unwrap_err();
    assert_eq!(recorder.lines().len(), 3);
    let (store, _recorder) = self::store(vec![Reply::Cut]).await;
    let object = store.open(&key("v1/a")).await.unwrap().unwrap();
    let read: Result<Vec<Bytes>, _> = object.stream.try_collect().await;
    read.unwrap_err();
}

#[tokio::test]
async fn a_completion_that_lost_its_reply_knows_its_own_object() {
    let gone = || Reply::With(404, "", "<Error><Code>NoSuchUpload</Code></Error>");
    for (found, is_ours) in [(Reply::FirstWrite, true), (OK, false)] {
        let replies = vec![BEGUN, PART, PART, Reply::Hangup, gone(), found];
        let (store, recorder) = store(replies).await;
        let large = stream::iter(vec![Ok(Bytes::from(vec![0; 9 << 20]))]).boxed();
        let stored = store.put_stream(&key("v1/large"), large).await;
        assert_eq!(stored.is_ok(), is_ours, "{:?}", recorder.lines());
    }
}

#[tokio::test]
async fn errors_of_the_service_do_not_open_the_breaker() {
    for status in [403, 404, 429, 500, 503] {
        let (store, _recorder) = store(vec![Reply::With(status, "", "")]).await;
        for _ in 0..2 {
            let error = create(&store).await.unwrap_err();
            assert!(!is_refused(&error), "{status}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_connection_opens_the_breaker() {
    // Nobody listens at the port of a socket that is bound and does not listen.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    let store = S3BlobStore::open(config(&endpoint)).await.unwrap();
    let error = store.get(&key("v1/a")).await.unwrap_err();
    assert!(
        !is_refused(&error) && chain(&error).contains("refused"),
        "{error:?}"
    );
    // At once, unless the machine took a second for it.
    let error = loop {
        let error = store.get(&key("v1/a")).await.unwrap_err();
        if is_refused(&error) {
            break error;
        }
    };
    assert!(chain(&error).contains("not been reachable"), "{error:?}");
}

#[tokio::test]
async fn a_missing_profile_is_named_and_no_request_is_made() {
    let named =
        |config: &mut Config| config.credentials = Credentials::Profile("nowhere".to_owned());
    let (store, recorder) = store_with(vec![OK], named).await;
    for _ in 0..2 {
        let error = chain(&store.get(&key("v1/a")).await.unwrap_err());
        assert!(error.contains("no credentials for S3"), "{error}");
        assert!(error.contains("profile \"nowhere\""), "{error}");
        assert!(
            error.contains("credential_process are not supported"),
            "{error}"
        );
    }
    assert!(recorder.lines().is_empty());
}
