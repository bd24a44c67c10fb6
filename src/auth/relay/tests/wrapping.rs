//! Tokens that say what their holder may do.

use super::*;

#[tokio::test]
async fn the_token_that_was_asked_for_comes_with_what_its_holder_may_do() {
    let world = World::with(&["kept/a"], None, registry(by_claims)).await;
    for (request, questions, expected, why) in [
        (
            get(PULL, Some("Basic writer")),
            2,
            vec!["kept/a"],
            "one who may push",
        ),
        (
            get(PULL, Some("Basic reader")),
            2,
            vec![],
            "one who may not",
        ),
        (get(PULL, None), 2, vec![], "nobody"),
        (
            get(&format!("{PULL}%2Cpush"), Some("Basic writer")),
            1,
            vec!["kept/a"],
            "push was asked for",
        ),
        (
            get(&format!("{PULL}%2Cpush"), Some("Basic reader")),
            1,
            vec![],
            "and was not granted",
        ),
        (
            post(&format!(
                "grant_type=password&username=writer&password=p&access_type=offline&{PULL}"
            )),
            2,
            vec!["kept/a"],
            "by form",
        ),
    ] {
        let (status, headers, answer) = world.exchange(request).await.unwrap();
        assert_eq!(status, 200, "{why}");
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!headers.contains_key("set-cookie"), "{why}");
        assert_eq!(
            answer["token"].as_str().unwrap().split('.').next(),
            Some("rs1")
        );
        assert!(answer["access_token"].as_str().unwrap().starts_with("rs1."));
        assert_eq!(answer["expires_in"], 300, "as long as its seal");
        let (token, may_push) = world.opened(&answer);
        assert!(token.starts_with("Bearer h."), "{why}");
        assert_eq!(may_push, expected, "{why}");
        let seen = world.seen();
        let to_service = seen.iter().filter(|asked| asked.line.contains("/token"));
        assert_eq!(to_service.count(), questions, "{why}");
    }
    // The right ends, and the token does not.
    let (_, _, answer) = world
        .exchange(get(PULL, Some("Basic writer")))
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(world.opened(&answer).1, ["kept/a"]);
    world.clock.advance(Duration::from_secs(1));
    let (token, may_push) = world.opened(&answer);
    assert!(token.starts_with("Bearer h.") && may_push.is_empty());
}

#[tokio::test]
async fn the_token_service_is_asked_with_the_credential_and_the_parameters_of_the_protocol() {
    let world = World::with(&["kept/a"], None, registry(by_claims)).await;
    let query = format!("realm=http%3A%2F%2Fevil&{PULL}&account=u&offline_token=true&x=y");
    world
        .exchange(get(&query, Some("Basic writer")))
        .await
        .unwrap();
    let seen = world.seen();
    let lines: Vec<&str> = seen.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /v2/",
            &format!("GET /token?{PULL}&account=u&offline_token=true"),
            "GET /token?service=s&account=u&scope=repository%3Akept%2Fa%3Apull%2Cpush",
        ]
    );
    assert!(!seen[0].headers.contains_key(AUTHORIZATION));
    for asked in &seen[1..] {
        assert_eq!(asked.headers[AUTHORIZATION], "Basic writer");
        assert_eq!(asked.headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(asked.headers["x-forwarded-host"], "proxy:8080");
        assert_eq!(asked.headers[HOST], *world.authority);
        assert!(!asked.headers.contains_key("cookie"));
    }
}

#[tokio::test]
async fn where_nothing_is_kept_tokens_pass_as_they_are() {
    let world = World::with(&["other"], None, registry(by_claims)).await;
    let (_, _, answer) = world
        .exchange(get(PULL, Some("Basic writer")))
        .await
        .unwrap();
    assert!(answer["token"].as_str().unwrap().starts_with("h."));
    assert_eq!(answer["expires_in"], 3600);
    let (_, _, answer) = world.exchange(get("service=s", None)).await.unwrap();
    assert!(answer["token"].as_str().unwrap().starts_with("h."));
    assert_eq!(
        world.seen().len(),
        3,
        "one question each, and one for the realm"
    );
}

#[tokio::test]
async fn of_a_token_that_says_nothing_the_registry_tells_whether_it_may_push() {
    let opaque = |asked: &Asked| {
        let wide = asked.line.contains("pull%2Cpush");
        let body = json!({"token": if wide { "wide" } else { "narrow" }});
        Reply(200, vec![], body.to_string())
    };
    for (allowed, expected) in [("wide", vec!["kept/a"]), ("none", vec![])] {
        let service = registry(opaque);
        let rule = move |asked: &Asked, authority: &str| {
            let is_allowed = asked
                .headers
                .get(AUTHORIZATION)
                .is_some_and(|value| value.to_str().unwrap() == format!("Bearer {allowed}"));
            match asked.line.as_str() {
                "POST /v2/kept/a/blobs/uploads/" if is_allowed => {
                    let location = "/v2/kept/a/blobs/uploads/u".to_owned();
                    Reply(202, vec![("Location", location)], String::new())
                }
                "POST /v2/kept/a/blobs/uploads/" => challenge("http://elsewhere/token"),
                _ => service(asked, authority),
            }
        };
        let world = World::with(&["kept/a"], None, rule).await;
        let (_, _, answer) = world.exchange(get(PULL, Some("Basic x"))).await.unwrap();
        assert_eq!(
            answer["token"].as_str().unwrap().rsplit('.').next(),
            Some("narrow")
        );
        let (token, may_push) = world.opened(&answer);
        assert_eq!(token, "Bearer narrow");
        assert_eq!(may_push, expected, "{allowed}");
        let lines = world.lines();
        let cancelled = lines.contains(&"DELETE /v2/kept/a/blobs/uploads/u".to_owned());
        assert_eq!(cancelled, !expected.is_empty(), "{lines:?}");
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_replaced_is_not_shown_again() {
    for (given, questions) in [("new", 1), ("old", 2)] {
        let service = move |_: &Asked| {
            let body = json!({"access_token": "opaque", "refresh_token": given});
            Reply(200, vec![], body.to_string())
        };
        let world = World::with(&["kept/a"], None, registry(service)).await;
        let form = format!("grant_type=refresh_token&refresh_token=old&{PULL}");
        let (_, _, answer) = world.exchange(post(&form)).await.unwrap();
        assert_eq!(answer["refresh_token"], given);
        let lines = world.lines();
        let to_service = lines.iter().filter(|line| line.contains("/token"));
        assert_eq!(to_service.count(), questions, "{given}");
    }
}
