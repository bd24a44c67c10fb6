//! Challenges that name the relay, or do not.

use super::*;

#[tokio::test]
async fn challenges_of_its_own_token_service_name_the_relay() {
    let world = World::with(&["kept/a"], None, registry(by_claims)).await;
    let realm = format!("http://{}/token", world.authority);
    let bearer =
        format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"x\",error=\"insufficient_scope\"");
    let named = "Bearer realm=\"http://proxy:8080/_regseal/token\",service=\"s\",scope=\"x\",error=\"insufficient_scope\"";
    let both = format!("Basic realm=\"{realm}\", {bearer}");
    for (lines, expected, why) in [
        (vec![bearer.as_str()], vec![named.to_owned()], "one"),
        (
            vec!["Basic realm=\"b\"", bearer.as_str()],
            vec!["Basic realm=\"b\"".to_owned(), named.to_owned()],
            "two lines",
        ),
        (
            vec![both.as_str()],
            vec![format!("Basic realm=\"{realm}\", {named}")],
            "one line with two",
        ),
    ] {
        assert_eq!(world.announced(&lines).await, expected, "{why}");
    }
    for (line, why) in [
        ("Basic realm=\"b\"", "no token service"),
        ("Bearer realm=\"http://elsewhere/token\"", "another host"),
        ("Bearer realm=http://127.0.0.1/token", "not readable"),
        (
            "Bearer realm=\"http://127.0.0.1:1/token\"",
            "allowed, but not what is announced",
        ),
        ("Bearer service=\"s\"", "no realm"),
    ] {
        assert_eq!(world.announced(&[line]).await, [line], "{why}");
    }
    let encrypted = world.announced_over(Scheme::HTTPS, &[&bearer]).await;
    assert_eq!(encrypted, [named.replace("http:", "https:")]);
    // As a registry writes it that believes what it is told of its name.
    let own = "Bearer realm=\"https://proxy:8080/token\"";
    assert_eq!(
        world.announced(&[own]).await,
        ["Bearer realm=\"http://proxy:8080/_regseal/token\""]
    );
    assert_eq!(world.lines(), ["GET /v2/"], "asked once");
}

#[tokio::test]
async fn what_is_no_challenge_or_needs_no_relay_stays_as_it_is() {
    let public = Some("https://public.example");
    let world = World::with(&["kept/a"], public, registry(by_claims)).await;
    let line = format!("Bearer realm=\"http://{}/token\"", world.authority);
    assert_eq!(
        world.announced(&[&line]).await,
        ["Bearer realm=\"https://public.example/_regseal/token\""]
    );
    let mut headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, line.parse().unwrap())]);
    world
        .relay
        .announce(StatusCode::FORBIDDEN, &mut headers, &Scheme::HTTP, None)
        .await;
    assert_eq!(headers[WWW_AUTHENTICATE], *line);
    let off = World::with(&[], public, registry(by_claims)).await;
    assert_eq!(off.announced(&[&line]).await, [line]);
    let nameless = World::with(&["kept/a"], None, registry(by_claims)).await;
    let line = format!("Bearer realm=\"http://{}/token\"", nameless.authority);
    let mut headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, line.parse().unwrap())]);
    nameless
        .relay
        .announce(StatusCode::UNAUTHORIZED, &mut headers, &Scheme::HTTP, None)
        .await;
    assert_eq!(headers[WWW_AUTHENTICATE], *line);
    assert_eq!(off.lines(), Vec::<String>::new());
}
