//! What is refused, not known, or left to the registry.

use super::*;

#[tokio::test]
async fn what_the_token_service_refuses_is_relayed_and_redirects_are_not_followed() {
    let refusing = |asked: &Asked| {
        let credential = asked.headers.get(AUTHORIZATION);
        let credential = credential.and_then(|value| value.to_str().ok());
        match credential.and_then(|value| value.strip_prefix("Basic ")) {
            Some("wrong") => Reply(
                401,
                vec![
                    ("WWW-Authenticate", "Basic realm=\"t\"".to_owned()),
                    (
                        "WWW-Authenticate",
                        "Bearer realm=\"http://elsewhere\"".to_owned(),
                    ),
                    ("Set-Cookie", "a=b".to_owned()),
                ],
                json!({"errors": ["no"]}).to_string(),
            ),
            Some("moved") => {
                let location = "http://127.0.0.1:1/token".to_owned();
                Reply(307, vec![("Location", location)], String::new())
            }
            Some("busy") => Reply(429, vec![("Retry-After", "7".to_owned())], String::new()),
            Some("large") => Reply(200, vec![], "x".repeat(65 << 10)),
            _ => Reply(200, vec![], json!({"no": "token"}).to_string()),
        }
    };
    let world = World::with(&["kept/a"], None, registry(refusing)).await;
    let asked = |credential: &'static str| world.exchange(get(PULL, Some(credential)));
    let (status, headers, body) = asked("Basic wrong").await.unwrap();
    assert_eq!((status, body), (401, json!({"errors": ["no"]})));
    let challenges: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().collect();
    assert_eq!(challenges, ["Basic realm=\"t\""]);
    assert!(!headers.contains_key("set-cookie"));
    let (status, headers, _) = asked("Basic busy").await.unwrap();
    assert_eq!(
        (status, &headers["retry-after"]),
        (429, &HeaderValue::from_static("7"))
    );
    assert_eq!(asked("Basic odd").await.unwrap().2, json!({"no": "token"}));
    let moved = asked("Basic moved").await.unwrap_err();
    assert!(matches!(moved, RelayError::Redirected(_)), "{moved}");
    let large = asked("Basic large").await.unwrap_err();
    assert!(
        matches!(large, RelayError::TokenService(UpstreamError::TooLarge(_))),
        "{large}"
    );
    // One for the realm, and one for each attempt: a refusal is not tried again.
    assert_eq!(world.seen().len(), 6);
}

#[tokio::test]
async fn without_a_token_service_that_is_allowed_nothing_is_asked() {
    let off = World::with(&[], None, registry(by_claims)).await;
    let error = off
        .exchange(get(PULL, Some("Basic writer")))
        .await
        .unwrap_err();
    assert!(matches!(error, RelayError::Off), "{error}");
    assert_eq!(off.lines(), Vec::<String>::new());

    let foreign = World::with(&["kept/a"], None, |_, _| {
        challenge("http://elsewhere/token")
    })
    .await;
    for _ in 0..2 {
        let error = foreign
            .exchange(get(PULL, Some("Basic writer")))
            .await
            .unwrap_err();
        assert!(matches!(error, RelayError::NoRealm), "{error}");
    }
    assert_eq!(foreign.lines(), ["GET /v2/"]);

    let down = World::with(&["kept/a"], None, |_, _| Reply(503, vec![], String::new())).await;
    for _ in 0..2 {
        let error = down.exchange(get(PULL, None)).await.unwrap_err();
        assert!(matches!(error, RelayError::Unannounced(_)), "{error}");
    }
    assert_eq!(
        down.lines(),
        ["GET /v2/", "GET /v2/"],
        "an outage is not remembered"
    );
}

#[tokio::test]
async fn a_form_is_bounded_and_is_a_form() {
    let world = World::with(&["kept/a"], None, registry(by_claims)).await;
    let error = world
        .exchange(post(&"x".repeat(65 << 10)))
        .await
        .unwrap_err();
    assert!(matches!(error, RelayError::TooLarge { .. }), "{error}");
    let json = Request::post("/_regseal/token")
        .header(CONTENT_TYPE, "application/json")
        .body("{}".to_owned())
        .unwrap();
    let error = world.exchange(json).await.unwrap_err();
    assert!(matches!(error, RelayError::NotAForm), "{error}");
    assert_eq!(world.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_seal_decides_who_sees_what_is_kept_and_else_the_registry() {
    let rule = |asked: &Asked, _: &str| {
        let credential = asked.headers.get(AUTHORIZATION);
        match credential.and_then(|value| value.to_str().ok()) {
            Some("Basic writer") => Reply(201, vec![], String::new()),
            Some("Basic hidden") => Reply(404, vec![], String::new()),
            Some("Basic busy") => Reply(429, vec![], String::new()),
            Some("Basic broken") => Reply(503, vec![], String::new()),
            _ => challenge("http://elsewhere/token"),
        }
    };
    let world = World::with(&["kept/a"], None, rule).await;
    let repository = "kept/a".parse().unwrap();
    let other = "kept/b".parse().unwrap();
    let caller = |credential: &str| {
        let request = Request::get("/").header(AUTHORIZATION, credential);
        world.caller(&request.body(()).unwrap().into_parts().0)
    };
    let anonymous = world.caller(&Request::get("/").body(()).unwrap().into_parts().0);
    assert!(anonymous.is_anonymous() && !caller("Basic writer").is_anonymous());
    for (caller, expected, questions, why) in [
        (&caller("Basic writer"), Some(true), 1, "may push"),
        (&caller("Basic writer"), Some(true), 0, "remembered"),
        (&anonymous, Some(false), 1, "must say who it is"),
        (&anonymous, Some(false), 0, "remembered"),
        (&caller("Basic hidden"), Some(false), 1, "sees nothing"),
        (&caller("Basic hidden"), Some(false), 0, "remembered"),
        (&caller("Basic busy"), None, 1, "undecided"),
        (&caller("Basic busy"), None, 1, "asked again"),
        (&caller("Basic broken"), None, 1, "undecided"),
    ] {
        let decided = world.authorizer.may_push(caller, &repository).await;
        assert_eq!(decided.ok(), expected, "{why}");
        assert_eq!(world.seen().len(), questions, "{why}");
    }
    // What hides is not what refuses: a push is decided by the registry each time.
    let refused = world.authorizer.push(&anonymous, &repository, None).await;
    assert!(matches!(refused, Err(AuthError::Refused(_))));
    assert_eq!(world.seen().len(), 1);

    let repositories = [RepositoryName::clone(&repository)];
    let wrapping = world.relay.wrapping();
    let wrapped = wrapping
        .wrap("narrow", &repositories, Duration::from_secs(1))
        .unwrap();
    let sealed = caller(&format!("Bearer {wrapped}"));
    assert!(
        world
            .authorizer
            .may_push(&sealed, &repository)
            .await
            .unwrap()
    );
    assert_eq!(world.seen().len(), 0, "the seal says it");
    assert!(!world.authorizer.may_push(&sealed, &other).await.unwrap());
    let seen = world.seen();
    assert_eq!(seen[0].headers[AUTHORIZATION], "Bearer narrow", "stripped");
}
