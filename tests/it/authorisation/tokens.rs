//! Tokens of the relay, and what they are good for.

use super::{RULES, nothing_has_leaked, policed, with_own_tokens};
use crate::bypass::{Signed, assert_nothing_shown};
use crate::support::clients::Tool;
use crate::support::{ALICE, Auth, BOB, Http, Policed, Registry, TokenServer, User};

/// A wrapper is good where it was made for, with the token it was made around, in the header where tokens belong.
#[test]
fn a_wrapper_is_good_for_nothing_else() {
    let registry = Registry::with(Auth::Token);
    let rule = with_own_tokens(registry.tokens().issuer(), false);
    let (stage, gate) = policed(registry, rule);
    let [kept, other] = ["kept/a", "kept/b"].map(|name| {
        let repository = stage.repository(name);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        repository.path(&format!("manifests/{}", image.digest()))
    });
    let authority = &stage.regseal.endpoint.authority;
    let service = TokenServer::SERVICE.replace(' ', "+");
    let wrapped = |user: User, more: &str| {
        let http = Http::new(authority).basic(user.name, user.password);
        let path = format!("/_regseal/token?service={service}{more}");
        let answer = http.get(&path).expect(200).json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let read = |token: &str, path: &str| Http::new(authority).bearer(token).get(path).status;
    let of_a = wrapped(ALICE, "&scope=repository:kept/a:pull");
    let of_both = wrapped(
        ALICE,
        "&scope=repository:kept/a:pull+repository:kept/b:pull",
    );
    let repeated = wrapped(
        ALICE,
        "&scope=repository:kept/a:pull&scope=repository:kept/b:pull",
    );
    let of_bob = wrapped(
        BOB,
        "&scope=repository:kept/a:pull&scope=repository:kept/b:pull",
    );
    assert_eq!(read(&of_a, &kept), 200);
    for token in [&of_both, &repeated] {
        assert_eq!(
            (read(token, &kept), read(token, &other)),
            (200, 200),
            "two scopes"
        );
    }
    assert_eq!((read(&of_bob, &kept), read(&of_bob, &other)), (404, 404));
    let inner = |token: &str| token.splitn(3, '.').nth(2).unwrap().to_owned();
    let seal = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    for (token, expected, why) in [
        (
            inner(&of_a),
            404,
            "without its seal, which the registry does not let push",
        ),
        (
            format!("rs1.{}.{}", seal(&of_a), inner(&of_bob)),
            404,
            "around the token of another",
        ),
        (
            format!("rs1.{}.{}", seal(&of_bob), inner(&of_a)),
            404,
            "with the seal of another",
        ),
        (
            format!("rs1.{}.{}", &seal(&of_a)[1..], inner(&of_a)),
            404,
            "cut",
        ),
        (format!("rs1.{}.", seal(&of_a)), 401, "without its token"),
        (format!("rs1.{}", seal(&of_a)), 401, "the seal alone"),
        (
            of_a[..of_a.len() - 1].to_owned(),
            401,
            "with a token that was cut",
        ),
    ] {
        assert_eq!(read(&token, &kept), expected, "{why}");
    }
    assert_eq!(read(&of_a, &other), 401, "in another repository");
    for query in ["token", "access_token", "authorization"] {
        let path = format!("{kept}?{query}={of_a}");
        Http::new(authority).get(&path).expect(401);
    }
    nothing_has_leaked(&stage, &gate);
}

/// The grants of OAuth 2, with a token service on another host: what they give is as good as what a password gives.
#[test]
fn refresh_tokens_are_passed_on_and_tell_who_may_push() {
    let stage = Policed::with(Auth::Token, RULES);
    let repository = stage.repository("kept/a");
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let path = repository.path(&format!("manifests/{}", image.digest()));
    let nobody = Http::new(&stage.regseal.endpoint.authority);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let ask = |fields: String| {
        let fields = format!("service=s&client_id=c&scope=repository:kept/a:pull&{fields}");
        nobody.request("POST", "/_regseal/token", &form, fields)
    };
    let later = Http::new(nobody.authority()).basic(ALICE.name, ALICE.password);
    let later =
        later.get("/_regseal/token?service=s&offline_token=true&scope=repository:kept/a:pull");
    let later = later.expect(200).json();
    let refresh = later["refresh_token"].as_str().unwrap();
    assert!(
        !refresh.starts_with("rs1."),
        "it is the token service's own"
    );
    ask(format!("grant_type=refresh_token&refresh_token={refresh}")).expect(200);
    for (user, expected) in [(ALICE, 200), (BOB, 404)] {
        let password = format!(
            "grant_type=password&access_type=offline&username={}&password={}",
            user.name, user.password
        );
        let first = ask(password).expect(200).json();
        let refresh = first["refresh_token"].as_str().unwrap();
        let second = ask(format!("grant_type=refresh_token&refresh_token={refresh}"));
        let second = second.expect(200).json();
        for answer in [first.clone(), second] {
            let token = answer["access_token"].as_str().unwrap();
            assert_eq!(
                nobody.clone().bearer(token).get(&path).status,
                expected,
                "{user:?}"
            );
        }
        assert!(
            !stage.regseal.log().contains(refresh),
            "a refresh token is in the log"
        );
    }
    ask("grant_type=refresh_token&refresh_token=unknown".to_owned()).refused(401, "UNAUTHORIZED");
}

/// A client that has no name to give, where some repositories are for everybody.
#[test]
fn tokens_for_nobody_pull_what_is_public_and_push_nothing() {
    let stage = Policed::with(Auth::Token, RULES);
    let endpoint = &stage.regseal.endpoint;
    let names = ["public/app", "team/app"];
    let signed = names.map(|name| Signed::at(&stage.repository(name)));
    let anonymous = Tool::new("crane", endpoint);
    let copy = |name: &str| anonymous.reference(&format!("{name}:v1"));
    anonymous
        .run(["digest", "--insecure", &copy("public/app")])
        .success();
    anonymous
        .run(["digest", "--insecure", &copy("team/app")])
        .failure("UNAUTHORIZED");
    let refused = ["tag", "--insecure", &copy("public/app"), "v2"].map(str::to_owned);
    anonymous.run(refused).failure("UNAUTHORIZED");
    let nobody = endpoint.anonymous();
    for path in signed[0].paths() {
        nobody.get(&format!("/v2/public/app/{path}")).expect(200);
    }
    for path in signed[1].paths() {
        let reply = nobody.get(&format!("/v2/team/app/{path}")).expect(401);
        assert_nothing_shown(&reply, &signed[1]);
    }
}
